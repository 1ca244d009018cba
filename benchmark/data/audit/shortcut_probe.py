"""The shortcut probe: how well features that know nothing of tumours predict the class.

Where image size, brightness, border, file type or histogram give the class away, a network may learn the scanner
or the source instead of the disease, and its score says little (Zech et al. 2018; Geirhos et al. 2020).
"""

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from benchmark.data.dataset import DataSet, Positions
from benchmark.data.duplicates.groups import independent_units
from benchmark.data.duplicates.near_duplicates import thumbnails_of
from benchmark.data.sources.files import suffix_of
from benchmark.data.splits.sampling import limited

MAX_IMAGES = 2000  # enough to see what a trivial feature tells
SUSPICIOUS = 0.10  # above chance
_FOLDS = 3
_BINS = 16
_RING = 0.06  # width of the border, as a share of the side

Features = npt.NDArray[np.float64]


class ProbeRow(BaseModel):
    """What one kind of feature tells.

    Args:
        features: which.
        target: ``class``, or the negative class against the rest.
        balanced_accuracy: mean recall over classes of a random forest, cross-validated by patient, 0-1.
        chance: what guessing gives.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: str
    target: str
    balanced_accuracy: float
    chance: float

    @property
    def suspicious(self) -> bool:
        """Whether it is clearly above chance."""
        return self.balanced_accuracy > self.chance + SUSPICIOUS


def shortcut_probe(data: DataSet) -> tuple[ProbeRow, ...]:
    """Predict the class, and the negative class alone, from each kind of trivial feature and from all.

    At most 2,000 images, chosen proportionally by class. Patients, copies and near-duplicates stay on one side of
    the cross-validation, so that recognising an image again does not count.

    Returns:
        Empty where a class has fewer than three independent images.
    """
    chosen = limited(data, np.zeros(len(data), dtype=bool), None, np.arange(len(data), dtype=np.int64), MAX_IMAGES)
    units = independent_units(data)[chosen]
    labels = data.labels[chosen]
    if min(len(np.unique(units[labels == number])) for number in range(len(data.class_names))) < _FOLDS:
        return ()
    families = trivial_features(data, chosen)
    families["all of them together"] = np.concatenate(list(families.values()), axis=1)
    targets = {"class": labels}
    if data.negative_class is not None and len(data.class_names) > 2:
        targets[data.negative_class] = (labels == data.class_names.index(data.negative_class)).astype(np.int64)
    return tuple(
        ProbeRow(
            features=name,
            target=target,
            balanced_accuracy=_cross_validated(values, target_labels, units),
            chance=1 / len(np.unique(target_labels)),
        )
        for target, target_labels in targets.items()
        for name, values in families.items()
    )


def trivial_features(data: DataSet, positions: Positions) -> dict[str, Features]:
    """Return features that know nothing of tumours, by kind, each of shape (number of positions, ...).

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
        "histogram": table[:, 5:],
        "file type": (suffixes[:, None] == np.unique(suffixes)[None]).astype(np.float64),
    }
    if data.native_sizes is not None:
        height, width_px = data.native_sizes[positions].T.astype(np.float64)
        families = {"image size": np.stack([height, width_px, height / width_px], axis=1), **families}
    return families


def _cross_validated(values: Features, labels: Positions, units: Positions) -> float:
    """Return the balanced accuracy of a random forest on images of units that it was not fitted to."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import recall_score
    from sklearn.model_selection import StratifiedGroupKFold

    if (values == values[0]).all():
        return 1 / len(np.unique(labels))  # nothing varies: guessing
    predicted = np.empty_like(labels)
    folds = StratifiedGroupKFold(n_splits=_FOLDS, shuffle=True, random_state=0)
    for fitted, judged in folds.split(values, labels, units):
        forest = RandomForestClassifier(
            n_estimators=50, min_samples_leaf=5, class_weight="balanced", random_state=0, n_jobs=1
        )
        predicted[judged] = forest.fit(values[fitted], labels[fitted]).predict(values[judged])
    return float(recall_score(labels, predicted, average="macro"))
