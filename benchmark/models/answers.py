"""What one model, or several together, say of images: probabilities, decisions, doubts, and scores by labels."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from benchmark.data.sources.files import suffix_of
from benchmark.errors import UserError
from benchmark.evaluation.calibration import by_patient, reliability, reports
from benchmark.evaluation.metrics import Scores, decide, score
from benchmark.evaluation.temperature import softmax
from benchmark.models.description import Model
from benchmark.models.images import AskedImage
from benchmark.models.seen import Seen

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
Unlike = Literal["abstain", "warn"]

_FAR_SIZE = 2.0  # an image this much smaller or larger than any that was trained on is of another kind
_MOSTLY_GREY = 0.99


def entropy(probabilities: Floats) -> Floats:
    """Return the entropy of distributions as a share of the greatest possible, 0 (sure) to 1: shape (N,)."""
    logs = np.log(np.maximum(probabilities, 1e-300))
    return np.asarray(-(probabilities * logs).sum(axis=1) / math.log(probabilities.shape[1]))


def disagreement(members: Floats) -> Floats:
    """Return how far the members of an ensemble are apart: their mutual information, as a share of log C.

    The entropy of the mean less the mean entropy (Depeweg et al. 2018; "knowledge uncertainty").

    Args:
        members: probabilities, shape (M, N, C).
    """
    each = np.stack([entropy(member) for member in members])
    return np.asarray(np.maximum(entropy(members.mean(axis=0)) - each.mean(axis=0), 0))


@dataclass(frozen=True)
class Answers:
    """What is said of N images.

    Args:
        class_names: C names, in the order of the probabilities.
        negative_class: the class without a tumour, ``None`` where there is none.
        image_ids, patients: str, shape (N,); the patient is empty where unknown.
        labels: int64, shape (N,), -1 where unknown.
        probabilities: float64, shape (N, C), at the models' temperatures; of several models the mean; ``nan`` where
            an image could not be read.
        threshold: a tumour is reported from this probability on; ``None`` where there is none.
        uncertainty: entropy of the probabilities, 0 to 1.
        disagreement: of the members, 0 to 1; ``None`` for one model.
        distances: of features, as multiples of the threshold: over 1 an image is unlike the training images; ``nan``
            where unknown. Of several models the largest.
        abstained: bool, shape (N,): no decision is given.
        trained_on: bool, shape (N,): a network was trained or chosen on this very image.
        warnings: a text for each image, empty where there is nothing to say.
    """

    class_names: tuple[str, ...]
    negative_class: str | None
    image_ids: npt.NDArray[np.str_]
    patients: npt.NDArray[np.str_]
    labels: npt.NDArray[np.int64]
    probabilities: Floats
    threshold: float | None
    uncertainty: Floats
    disagreement: Floats | None
    distances: Floats
    abstained: npt.NDArray[np.bool_]
    trained_on: npt.NDArray[np.bool_]
    warnings: tuple[str, ...]

    @property
    def negative(self) -> int | None:
        """Index of the class without a tumour."""
        return None if self.negative_class is None else self.class_names.index(self.negative_class)

    @property
    def read(self) -> npt.NDArray[np.bool_]:
        """Which images could be read."""
        return np.asarray(np.isfinite(self.probabilities).all(axis=1))

    @cached_property
    def predicted(self) -> npt.NDArray[np.int64]:
        """The most probable class of each image, -1 where it could not be read; whether or not it is given."""
        classes = np.full(len(self.image_ids), -1, dtype=np.int64)
        classes[self.read] = decide(self.probabilities[self.read])
        return classes

    def tumour(self) -> npt.NDArray[np.bool_] | None:
        """Return which images are reported as tumours at the chosen specificity; ``None`` where that is not known."""
        if self.threshold is None or self.negative is None:
            return None
        reported = np.zeros(len(self.image_ids), dtype=bool)
        reported[self.read] = reports(self.probabilities[self.read], self.negative, self.threshold)
        return reported

    def columns(self) -> dict[str, Any]:
        """Return the columns of ``predictions.csv`` by their names: arrays with a value for each image."""
        names = np.array([*self.class_names, ""])
        decisions = np.where(self.abstained, -1, self.predicted)
        columns: dict[str, Any] = {"image": self.image_ids, "patient": self.patients, "decision": names[decisions]}
        columns |= {f"p_{name}": self.probabilities[:, c] for c, name in enumerate(self.class_names)}
        tumour = self.tumour()
        if tumour is not None and self.negative is not None:
            yes_no = np.where(tumour, "yes", "no")
            columns["tumour"] = np.where(self.abstained | ~self.read, "", yes_no)
            columns["p_tumour"] = 1 - self.probabilities[:, self.negative]
        columns["uncertainty"] = self.uncertainty
        if self.disagreement is not None:
            columns["disagreement"] = self.disagreement
        columns["distance"] = self.distances
        columns["abstained"] = self.abstained
        columns["trained_on"] = self.trained_on
        columns["warning"] = list(self.warnings)
        if (self.labels >= 0).any():
            columns["label"] = names[self.labels]
        return columns

    def frame(self) -> "pd.DataFrame":
        """Return a table with a row for each image; the columns of ``predictions.csv``."""
        import pandas as pd

        return pd.DataFrame(self.columns())

    def patient_frame(self) -> "pd.DataFrame | None":
        """Return a table with a row for each patient, whose answered slices are pooled; ``None`` without patients.

        Probabilities are means over slices. Whether a patient has a tumour is not said: the threshold was chosen for
        single slices, of which a volume has so many that some are reported by chance.
        """
        usable = np.flatnonzero(self.read & (self.patients != ""))
        if not len(usable):
            return None
        import pandas as pd

        rows = []
        tumour = self.tumour()
        patients, numbers = np.unique(self.patients[usable], return_inverse=True)
        order = np.argsort(numbers, kind="stable")
        slices = np.split(usable[order], np.cumsum(np.bincount(numbers))[:-1])
        for patient, mine in zip(patients, slices, strict=True):
            answered = mine[~self.abstained[mine]]
            row: dict[str, Any] = {"patient": patient, "slices": len(mine), "answered": len(answered)}
            if len(answered):
                mean = self.probabilities[answered].mean(axis=0)
                row["decision"] = self.class_names[int(mean.argmax())]
                row |= {f"p_{name}": mean[c] for c, name in enumerate(self.class_names)}
                if tumour is not None and self.negative is not None:
                    row["slices_with_tumour"] = int(tumour[answered].sum())
                    row["highest_p_tumour"] = float((1 - self.probabilities[answered, self.negative]).max())
            labels = self.labels[mine]
            if (labels >= 0).all():
                kinds = {self.class_names[k] for k in labels.tolist() if k != self.negative}
                if len(kinds) <= 1:
                    row["label"] = next(iter(kinds), self.negative_class or "")
            rows.append(row)
        return pd.DataFrame(rows)


@dataclass(frozen=True)
class Judged:
    """Answers, scored on images with a label on which no network was trained.

    Args:
        images: number of images that are scored.
        all: scores of all of them, as on the board, whether or not a decision was given.
        answered: number of those that were not abstained from.
        of_answered: their scores; ``None`` where none was answered.
        ece: expected calibration error of all.
        sensitivity, specificity: for tumours, at the threshold; ``nan`` where not known.
        patients: number of patients with one clear label, and the macro-F1 of their pooled slices; ``None`` where
            patients are not known.
        trained_on: number of labelled images that were left out because a network was trained or chosen on them.
    """

    images: int
    all: Scores
    answered: int
    of_answered: Scores | None
    ece: float
    sensitivity: float
    specificity: float
    patients: tuple[int, float] | None
    trained_on: int


def judge(answers: Answers) -> Judged | None:
    """Return scores; ``None`` where no image has a label that may be scored."""
    labelled = answers.read & (answers.labels >= 0)
    mine = labelled & ~answers.trained_on
    if not mine.any():
        return None
    names, negative = answers.class_names, answers.negative_class
    labels, probabilities = answers.labels[mine], answers.probabilities[mine]
    answered = mine & ~answers.abstained
    tumour = answers.tumour()
    ill = answers.labels != answers.negative
    rates = [math.nan, math.nan]
    if tumour is not None:
        for place, chosen, right in ((0, mine & ill, tumour), (1, mine & ~ill, ~tumour)):
            rates[place] = float(right[chosen].mean()) if chosen.any() else math.nan
    patients = None
    if (answers.patients[mine] != "").all():
        truth, pooled, _ = by_patient(labels, probabilities, answers.patients[mine], answers.negative)
        if len(truth):
            patients = len(truth), score(truth, pooled, names, negative).macro_f1
    return Judged(
        images=int(mine.sum()),
        all=score(labels, probabilities, names, negative),
        answered=int(answered.sum()),
        of_answered=score(answers.labels[answered], answers.probabilities[answered], names, negative)
        if answered.any()
        else None,
        ece=reliability(labels, probabilities).error,
        sensitivity=rates[0],
        specificity=rates[1],
        patients=patients,
        trained_on=int((labelled & answers.trained_on).sum()),
    )


def answers(
    members: Sequence[tuple[Model, Seen]], asked: Sequence[AskedImage], unlike: Unlike = "abstain"
) -> Answers:
    """Return what models say of images together.

    Args:
        members: each model with what its network made of the same images.
        asked: the images.
        unlike: what is done where an image is unlike the training images: no decision, or a warning.

    Raises:
        UserError: the models know different classes.
    """
    first = members[0][0]
    for model, _ in members[1:]:
        if set(model.class_names) != set(first.class_names) or model.data.negative_class != first.data.negative_class:
            raise UserError(
                f"The models of {first.backbone.name} and {model.backbone.name} know different classes "
                f"({', '.join(first.class_names)}; {', '.join(model.class_names)}): they can't answer together."
            )
    count = len(asked)
    read = np.logical_and.reduce([seen.read for _, seen in members])
    stacked = np.full((len(members), count, len(first.class_names)), np.nan)
    distances = np.full((len(members), count), np.nan)
    trained_on = np.zeros(count, dtype=bool)
    for number, (model, seen) in enumerate(members):
        order = [model.class_names.index(name) for name in first.class_names]
        stacked[number, seen.read] = softmax(seen.logits, model.calibration.temperature)[:, order]
        trained_on[seen.read] |= seen.trained_on
        if model.calibration.distance:
            distances[number, seen.read] = seen.distances / model.calibration.distance
    mean = stacked.mean(axis=0)
    measured = ~np.isnan(distances).all(axis=0)
    farthest = np.full(count, np.nan)
    farthest[measured] = np.nanmax(distances[:, measured], axis=0)
    far = np.where(np.isnan(farthest), 0.0, farthest) > 1
    thresholds = [model.calibration.threshold for model, _ in members]
    numbers = {name: place for place, name in enumerate(first.class_names)}
    return Answers(
        class_names=first.class_names,
        negative_class=first.data.negative_class,
        image_ids=np.array([image.image_id for image in asked], dtype=np.str_),
        patients=np.array([image.patient or "" for image in asked], dtype=np.str_),
        labels=np.array([numbers.get(image.class_name or "", -1) for image in asked], dtype=np.int64),
        probabilities=mean,
        threshold=None if None in thresholds else float(np.mean([each for each in thresholds if each is not None])),
        uncertainty=_where(read, lambda: entropy(mean[read])),
        disagreement=_where(read, lambda: disagreement(stacked[:, read])) if len(members) > 1 else None,
        distances=farthest,
        abstained=far if unlike == "abstain" else np.zeros(count, dtype=bool),
        trained_on=trained_on,
        warnings=_warnings(members, asked, farthest),
    )


def _where(read: npt.NDArray[np.bool_], compute: Any) -> Floats:
    values = np.full(len(read), np.nan)
    if read.any():
        values[read] = compute()
    return values


def _warnings(
    members: Sequence[tuple[Model, Seen]], asked: Sequence[AskedImage], distances: Floats
) -> tuple[str, ...]:
    """Return what a reader of each answer must know."""
    by_image: dict[int, list[str]] = {}  # most images have none

    def warn(numbers: npt.NDArray[np.int64], texts: Iterable[str]) -> None:
        for number, text in zip(numbers.tolist(), texts, strict=True):
            by_image.setdefault(number, []).append(text)

    far = np.flatnonzero(distances > 1)
    more = "times as far from theirs as is usual"
    warn(far, [f"unlike the training images (its features are {each:.1f} {more})" for each in distances[far]])
    named = any(model.training_images.suffixes for model, _ in members)
    suffixes = np.array([suffix_of(image.image_id) if named else "" for image in asked], dtype=np.str_)
    for model, seen in members:
        warn(np.flatnonzero(~seen.read), seen.problems)
        numbers = np.flatnonzero(seen.read)
        for places, texts in _odd(model, seen, suffixes[numbers]):
            warn(numbers[places], texts)
    return tuple(
        "; ".join(dict.fromkeys(by_image[number])) if number in by_image else "" for number in range(len(asked))
    )


def _odd(
    model: Model, seen: Seen, suffixes: npt.NDArray[np.str_]
) -> Iterator[tuple[npt.NDArray[np.int64], Sequence[str]]]:
    """Yield in what images differ from all training images, before any network looks at them, or are among them.

    Args:
        model: knows what its training images look like.
        seen: what is told of the N images that could be read.
        suffixes: of their files, str, shape (N,).

    Yields:
        Places among the N images, int64 of shape (K,), and a text for each.
    """
    look = model.training_images
    if look.grey > _MOSTLY_GREY:
        yield _alike(~seen.grey, "in colour, and the training images are grey")
    if look.grey < 1 - _MOSTLY_GREY:
        yield _alike(seen.grey, "grey, and the training images are in colour")
    if look.sides is not None:
        low, high = look.sides
        smaller, larger = seen.sides.min(axis=1) * _FAR_SIZE < low, seen.sides.max(axis=1) > high * _FAR_SIZE
        for word, places in (("smaller", np.flatnonzero(smaller)), ("larger", np.flatnonzero(larger))):
            sides = [f"{width} x {height} pixels" for height, width in seen.sides[places].tolist()]
            yield places, [f"much {word} ({each}) than any training image" for each in sides]
    if look.suffixes:
        places = np.flatnonzero((suffixes != "") & ~np.isin(suffixes, look.suffixes))
        formats = ", ".join(look.suffixes)
        yield places, [f"a {suffix} file, and the training images are {formats}" for suffix in suffixes[places]]
    yield _alike(seen.trained_on, "a network was trained or chosen on this image")


def _alike(chosen: npt.NDArray[np.bool_], text: str) -> tuple[npt.NDArray[np.int64], Sequence[str]]:
    places = np.flatnonzero(chosen)
    return places, [text] * len(places)
