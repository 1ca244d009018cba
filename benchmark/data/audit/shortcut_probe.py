"""The shortcut probe: how well trivial features, without any network, predict the class of the test images.

Where image size, brightness, border, file type or histogram give the class away, a network may learn the scanner
or the source instead of the disease, and its score says little (Zech et al. 2018; Geirhos et al. 2020). Size and
file type know nothing of a tumour; brightness and histogram are of the whole image and contain the lesion's pixels,
so that a part of what they tell may be the tumour itself.
"""

import base64

import numpy as np
import numpy.typing as npt

from benchmark.data.dataset import DataSet, Labels, Positions, Split
from benchmark.data.dealt_labels import Deal
from benchmark.data.duplicates.groups import AuditPart, independent_units
from benchmark.data.duplicates.near_duplicates import thumbnails_of
from benchmark.data.sources.files import suffix_of
from benchmark.data.splits.sampling import limited

MAX_IMAGES = 2000  # to fit to: enough to see what a trivial feature tells
SUSPICIOUS, SIGNIFICANT = 0.10, 0.05  # above chance; of the permutation test
HISTOGRAM, EVERYTHING = "histogram", "all of them together"
_PERMUTATIONS = 999
_LEAST = 3  # training images of a class
_BINS = 16
_RING = 0.06  # width of the border, as a share of the side

Features = npt.NDArray[np.float64]


class ProbeRow(AuditPart):
    """What one kind of feature tells.

    Args:
        features: which.
        target: ``class``, or the negative class against the rest.
        balanced_accuracy: mean recall over classes of the test images, of a random forest that was fitted to training
            images, 0-1.
        chance: what guessing gives.
        p: of as high a balanced accuracy by guessing, by a permutation of labels among patients (Ojala & Garriga
            2010); ``None`` in audits of before it was computed.
    """

    features: str
    target: str
    balanced_accuracy: float
    chance: float
    p: float | None = None

    @property
    def suspicious(self) -> bool:
        """Whether it is clearly above chance."""
        sure = self.p is None or self.p < SIGNIFICANT
        return sure and self.balanced_accuracy > self.chance + SUSPICIOUS


class ReferencePredictions(AuditPart):
    """What a forest on trivial features says of the test images: a row of the board without a network.

    Args:
        features: which.
        probabilities: base64 of uint8, shape (N, C), of the N test images in the order of their ids; 255 is 1.
    """

    features: str
    probabilities: str

    def decoded(self, images: int, classes: int) -> npt.NDArray[np.float32] | None:
        """Return them as float32 of shape (N, C), rows sum to 1; ``None`` where they are of another shape."""
        try:
            flat = np.frombuffer(base64.b64decode(self.probabilities, validate=True), dtype=np.uint8)
        except ValueError:
            return None
        if len(flat) != images * classes:
            return None
        table = flat.reshape(images, classes).astype(np.float32)
        totals = table.sum(axis=1, keepdims=True)
        return None if (totals == 0).any() else table / totals


class Probe(AuditPart):
    """What trivial features tell, and what some of them say of each test image."""

    rows: tuple[ProbeRow, ...] = ()
    references: tuple[ReferencePredictions, ...] = ()


def shortcut_probe(data: DataSet, split: Split) -> Probe:
    """Predict the class, and the negative class alone, from each kind of trivial feature and from all.

    Forests are fitted to training images, at most 2,000 of them, chosen proportionally by class, and judged on the
    test images, as networks are.

    Returns:
        Empty where a class has fewer than three training images.
    """
    nowhere = np.zeros(len(data), dtype=bool)
    fitted = limited(data, nowhere, None, split.train, MAX_IMAGES)
    if np.bincount(data.labels[fitted], minlength=len(data.class_names)).min() < _LEAST:
        return Probe()
    tested = split.test[np.argsort(data.image_ids[split.test])]
    units = np.unique(independent_units(data)[tested], return_inverse=True)[1]
    families = trivial_features(data, np.concatenate([fitted, tested]))
    families[EVERYTHING] = np.concatenate(list(families.values()), axis=1)
    targets = {"class": data.labels}
    if data.negative_class is not None and len(data.class_names) > 2:
        targets[data.negative_class] = (data.labels == data.class_names.index(data.negative_class)).astype(np.int64)
    rows, references = [], []
    for target, labels in targets.items():
        present = len(np.unique(labels[tested]))
        if present < 2:
            continue
        for name, values in families.items():
            probabilities = _forest(values[: len(fitted)], labels[fitted], values[len(fitted) :])
            reached, p = _tested(labels[tested], probabilities.argmax(axis=1), units)
            rows.append(ProbeRow(features=name, target=target, balanced_accuracy=reached, chance=1 / present, p=p))
            if target == "class" and name in (HISTOGRAM, EVERYTHING):
                packed = np.round(probabilities * 255).astype(np.uint8).tobytes()
                references.append(
                    ReferencePredictions(features=name, probabilities=base64.b64encode(packed).decode("ascii"))
                )
    return Probe(rows=tuple(rows), references=tuple(references))


def trivial_features(data: DataSet, positions: Positions) -> dict[str, Features]:
    """Return features that no network is needed for, by kind, each of shape (number of positions, ...).

    They are taken from thumbnails, and so do not depend on the size that is trained on.
    """
    images = np.asarray(thumbnails_of(data)[positions], dtype=np.float64)
    side = images.shape[1]
    ring = np.ones((side, side), dtype=bool)
    width = max(1, round(_RING * side))
    ring[width:-width, width:-width] = False
    grey, border = images.reshape(len(images), -1), images[:, ring]
    moments = [
        grey.mean(axis=1),
        grey.std(axis=1),
        border.mean(axis=1),
        border.std(axis=1),
        (border == 0).mean(axis=1),
    ]
    steps = np.minimum(grey * _BINS // 255, _BINS - 1).astype(np.int64)
    histogram = [(steps == step).mean(axis=1) for step in range(_BINS)]
    table = np.stack([*moments, *histogram], axis=1)
    suffixes = np.array([suffix_of(name) for name in data.image_ids[positions].tolist()])
    families = {
        "mean and contrast": table[:, :2],
        "border brightness": table[:, 2:5],
        HISTOGRAM: table[:, 5:],
        "file type": (suffixes[:, None] == np.unique(suffixes)[None]).astype(np.float64),
    }
    if data.native_sizes is not None:
        height, width_px = data.native_sizes[positions].T.astype(np.float64)
        families = {"image size": np.stack([height, width_px, height / width_px], axis=1), **families}
    return families


def _forest(fitted: Features, labels: Labels, tested: Features) -> Features:
    """Return probabilities of classes, shape (N, C), by a random forest; where nothing varies all are alike."""
    from sklearn.ensemble import RandomForestClassifier

    classes = int(labels.max()) + 1
    if (fitted == fitted[0]).all():
        return np.full((len(tested), classes), 1 / classes)
    forest = RandomForestClassifier(
        n_estimators=50, min_samples_leaf=5, class_weight="balanced", random_state=0, n_jobs=1
    )
    return np.asarray(forest.fit(fitted, labels).predict_proba(tested), dtype=np.float64)


def _tested(labels: Labels, predicted: Labels, units: Labels) -> tuple[float, float]:
    """Return the balanced accuracy, and its p by a permutation of labels among units."""
    deal, generator = Deal(labels, units), np.random.default_rng(0)
    observed = _balanced_accuracy(labels, predicted)
    dealt = [_balanced_accuracy(deal.labels(generator), predicted) for _ in range(_PERMUTATIONS)]
    return observed, float((np.sum(np.array(dealt) >= observed - 1e-9) + 1) / (_PERMUTATIONS + 1))


def _balanced_accuracy(labels: Labels, predicted: Labels) -> float:
    """Return the mean recall over the classes that have images."""
    counts = np.bincount(labels)
    hits = np.bincount(labels, predicted == labels)
    return float((hits[counts > 0] / counts[counts > 0]).mean())
