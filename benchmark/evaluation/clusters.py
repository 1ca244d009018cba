"""Clusters: test images that are not independent of each other (slices of one patient, copies of one image).

Everything that is resampled or compared is a confusion matrix per cluster: patients are drawn, not slices.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.evaluation.scoring import Counts, Floats, decide, macro_f1
from benchmark.record import Predictions


@dataclass(frozen=True)
class ClusteredImages:
    """The test images that rows are compared on, in one order for all.

    Args:
        image_ids: str, shape (N,), ascending.
        labels: int64, shape (N,).
        clusters: int64, shape (N,), from 0 to ``count`` - 1.
        count: number of clusters.
    """

    image_ids: npt.NDArray[np.str_]
    labels: Counts
    clusters: Counts
    count: int

    @classmethod
    def of(cls, test: Predictions) -> "ClusteredImages":
        """Return the images of predictions; each image is a cluster of its own where no groups are known."""
        order = np.argsort(test.image_ids)
        groups = test.groups[order]
        alone = groups == ""
        names = np.where(alone, np.char.add("\n", test.image_ids[order]), groups)  # no group has a line break
        known, clusters = np.unique(names, return_inverse=True)
        return cls(test.image_ids[order], test.labels[order], clusters.astype(np.int64), len(known))

    def aligned(self, test: Predictions) -> npt.NDArray[np.float32] | None:
        """Return the probabilities in the order of these images, ``None`` where images or labels are others."""
        order = np.argsort(test.image_ids)
        if not np.array_equal(test.image_ids[order], self.image_ids):
            return None
        return test.probabilities[order] if np.array_equal(test.labels[order], self.labels) else None


def confusion_by_cluster(images: ClusteredImages, probabilities: npt.NDArray[np.floating]) -> Counts:
    """Return confusion matrices per cluster: int64, shape (G, C, C); their sum is the whole one."""
    classes = probabilities.shape[1]
    cells = (images.clusters * classes + images.labels) * classes + decide(probabilities)
    return np.bincount(cells, minlength=images.count * classes**2).reshape(images.count, classes, classes)


@dataclass(frozen=True)
class Readings:
    """How one row read its test images: confusion matrices by fold, seed and cluster.

    Args:
        folds: for each fold (one without cross-validation) int64 of shape (S, G, C, C): S seeds, G clusters.
    """

    folds: tuple[Counts, ...]

    @property
    def seeds(self) -> int:
        """The least number of seeds in a fold."""
        return min(len(fold) for fold in self.folds)

    @property
    def clusters(self) -> int:
        """Number of clusters over all folds."""
        return sum(fold.shape[1] for fold in self.folds)

    def scores(self) -> list[Floats]:
        """Return macro-F1 of each run: for each fold, shape (S,)."""
        return [macro_f1(fold.sum(axis=1)) for fold in self.folds]
