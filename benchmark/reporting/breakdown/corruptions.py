"""Spoilt images on the board: what the rows of a comparison group lose by corruption and severity."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.draws.corruptions import CORRUPTIONS, SEVERITIES
from benchmark.evaluation.bootstrap import Bootstrap, Estimate
from benchmark.evaluation.clusters import ClusteredImages
from benchmark.evaluation.intervals import named_ends
from benchmark.evaluation.metrics import decide
from benchmark.evaluation.robustness.corruption_error import Beside, CorruptionScores, beside, corruption_scores
from benchmark.records.corrupted import Corrupted
from benchmark.reporting.board.board import BoardRow
from benchmark.reporting.board.column import WHO, Values
from benchmark.reporting.board.folds import predictions_by_fold, trainings
from benchmark.reporting.board.image_cases import scored_rows
from benchmark.reporting.board.rows import Result
from benchmark.reporting.figures.labels import full_names

COLUMNS = {  # of corruptions.csv, and what each means
    **WHO,
    "corruption": "How images were spoilt; 'all': the mean over corruptions.",
    "severity": "How strongly, 1 to 5; 'all': the mean over severities.",
    "n_images": "Spoilt images that were read.",
    "macro_f1": "Macro-F1 on the spoilt images.",
    "macro_f1_low": "Lower end of its 95 % interval, of means only.",
    "macro_f1_high": "Upper end of its 95 % interval, of means only.",
    "error": "Share of spoilt images that are read wrongly.",
    "error_low": "Lower end of its 95 % interval, of means only.",
    "error_high": "Upper end of its 95 % interval, of means only.",
    "reference": "The row beside which the errors stand.",
    "corruption_error": "Sum of the errors over severities, over that of the reference (CE; Hendrycks & Dietterich "
    "2019). Of 'all': the mean over corruptions (mCE).",
    "corruption_error_low": "Lower end of the 95 % interval of mCE.",
    "corruption_error_high": "Upper end of the 95 % interval of mCE.",
    "relative_corruption_error": "The same of what the spoilt images add to the error on the images as they are "
    "(relative CE, and of 'all' relative mCE); empty where the reference loses nothing.",
}
ALL = "all"  # of corruptions, of severities: the mean over them
BASELINE = "baseline_cnn"  # the network that others stand beside, where it is on the board


@dataclass(frozen=True)
class Robustness:
    """What rows of a comparison group make of spoilt images.

    Args:
        rows: those that read them, the highest macro-F1 first.
        names: of these rows.
        corruptions: names, the same for all rows.
        scores: one for each row.
        reference: position of the row that others stand beside.
        beside: each row beside the reference.
        others: names of scored rows that read none of these images, or others.
    """

    rows: tuple[BoardRow, ...]
    names: tuple[str, ...]
    corruptions: tuple[str, ...]
    scores: tuple[CorruptionScores, ...]
    reference: int
    beside: tuple[Beside, ...]
    others: tuple[str, ...] = ()

    @property
    def titles(self) -> list[str]:
        """The corruptions for people."""
        return [CORRUPTIONS[name].title for name in self.corruptions]

    @property
    def whole(self) -> bool:
        """Whether every image was shown each corruption at each severity."""
        return bool((self.scores[0].images == self.scores[0].images.max()).all())

    @property
    def same_pixels(self) -> bool:
        """Whether all rows saw the same bytes: they may read images at different sizes."""
        seen: dict[str, set[str]] = {}
        for result in (result for row in self.rows for result in row.results):
            if result.corrupted is not None and result.record.corruption is not None:
                seen.setdefault(result.record.data.split_hash, set()).add(result.record.corruption.pixels_hash)
        return all(len(hashes) == 1 for hashes in seen.values())


def robustness_of(rows: Sequence[BoardRow]) -> Robustness | None:
    """Return what the rows of a comparison group make of spoilt images, ``None`` where no row read any.

    The reference is the baseline network of the lowest macro-F1 where there is one, else the row of the lowest
    macro-F1 among those that are better than guessing.
    """
    scored = scored_rows(rows)
    names = dict(zip(map(id, scored), full_names(scored), strict=True))
    read = {id(row): _corruptions(row) for row in scored}
    counted = Counter(each for each in read.values() if each)
    if not counted:
        return None
    corruptions = max(counted, key=lambda each: (counted[each], len(each)))
    asked = [row for row in scored if read[id(row)] == corruptions]
    images = ClusteredImages.of_row(predictions_by_fold(asked[0].results))
    aligned = {id(row): decisions for row in asked if (decisions := _decisions(row, corruptions, images)) is not None}
    comparable = tuple(row for row in asked if id(row) in aligned)
    if not comparable:
        return None
    bootstrap, classes = Bootstrap(images.count), len(comparable[0].first.record.data.class_names)
    scores = tuple(
        corruption_scores(*aligned[id(row)], images, classes, bootstrap, number)
        for number, row in enumerate(comparable)
    )
    reference = _reference(comparable)
    return Robustness(
        comparable,
        tuple(names[id(row)] for row in comparable),
        corruptions,
        scores,
        reference,
        tuple(beside(each, scores[reference]) for each in scores),
        tuple(names[id(row)] for row in scored if id(row) not in aligned),
    )


def robustness_lines(robustness: Robustness) -> list[Values]:
    """Return a line for each row, corruption and severity, and for the means over them, under :data:`COLUMNS`."""
    lines: list[Values] = []
    for row, scores, against in zip(robustness.rows, robustness.scores, robustness.beside, strict=True):
        beside_row = {"reference": robustness.names[robustness.reference]}
        for k, name in enumerate(robustness.corruptions):
            who = {**row.who, "corruption": name}
            lines += [
                {**who, "severity": s + 1, "n_images": int(scores.images[k, s]),
                 "macro_f1": float(scores.macro_f1[k, s]), "error": float(scores.errors[k, s])}
                for s in range(SEVERITIES)
            ]  # fmt: skip
            lines.append(
                {
                    **who,
                    "severity": ALL,
                    "n_images": int(scores.images[k].sum()),
                    **_with_ends("macro_f1", scores.macro_f1_estimates[k]),
                    **_with_ends("error", scores.error_estimates[k]),
                    **beside_row,
                    "corruption_error": float(against.errors[k]),
                    "relative_corruption_error": float(against.relative[k]),
                }
            )
        lines.append(
            {
                **row.who,
                "corruption": ALL,
                "severity": ALL,
                "n_images": int(scores.images.sum()),
                **_with_ends("macro_f1", scores.mean_macro_f1),
                **_with_ends("error", scores.mean_error),
                **beside_row,
                "corruption_error": against.mean,
                **named_ends("corruption_error", against.interval),
                "relative_corruption_error": against.relative_mean,
            }
        )
    return lines


def _with_ends(name: str, estimate: Estimate) -> Values:
    return {name: estimate.value, **named_ends(name, estimate.interval())}


def _corruptions(row: BoardRow) -> tuple[str, ...]:
    """Return the corruptions that a row's trainings read, empty where no training read any in every fold."""
    common = [_common(training) for training in trainings(row.results)]
    return next((each for each in common if each), ())


def _common(training: Sequence[Result]) -> tuple[str, ...]:
    """Return the corruptions that every fold of a training read, empty where folds differ."""
    read = {tuple(run.corrupted.names.tolist()) if run.corrupted is not None else () for run in training}
    return read.pop() if len(read) == 1 else ()


def _decisions(
    row: BoardRow, corruptions: tuple[str, ...], images: ClusteredImages
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int64]] | None:
    """Return a row's decisions of spoilt images, shape (S, K, 5, N), and of images as they are, shape (S, N).

    ``None`` where it read other images.
    """
    spoilt, clean = [], []
    for training in trainings(row.results):
        if _common(training) != corruptions:
            continue
        runs = sorted(training, key=lambda run: run.record.data.split_hash)
        tests = [run.predictions.part("test") for run in runs if run.predictions is not None]
        probabilities = images.aligned(tests) if len(tests) == images.n_folds else None
        decided = [_in_order(run.corrupted) for run in runs if run.corrupted is not None]
        if probabilities is None or not np.array_equal(np.concatenate([ids for ids, _ in decided]), images.image_ids):
            return None
        spoilt.append(np.concatenate([each for _, each in decided], axis=-1))
        clean.append(decide(probabilities))
    return np.stack(spoilt), np.stack(clean)


def _in_order(corrupted: Corrupted) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.int16]]:
    """Return image ids, ascending, and the decisions of each."""
    order = np.argsort(corrupted.image_ids)
    return corrupted.image_ids[order], corrupted.decisions[..., order]


def _reference(rows: Sequence[BoardRow]) -> int:
    baselines = [k for k, row in enumerate(rows) if str(row.values["backbone"]).endswith(BASELINE)]
    able = [k for k, row in enumerate(rows) if not row.guessed]
    return (baselines or able or [len(rows) - 1])[-1]
