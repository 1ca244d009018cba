"""Clusters: test images that are not independent of each other (slices of one patient, copies of one image), and how
a row read them: its runs aligned, folds joined.

Everything that is resampled or compared is a sum over the images of each cluster: patients are drawn, not slices.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.evaluation.calibration import BINS, place_in_bins
from benchmark.evaluation.metrics import Counts, Floats, confusion_matrix, decide, macro_f1
from benchmark.records.record import Predictions

Folds = Mapping[str, Sequence[Predictions]]  # a row's runs by split, each with one run for each seed, in order


@dataclass(frozen=True)
class ClusteredImages:
    """The test images that rows are compared on, in one order for all; folds of a cross-validation joined.

    Args:
        image_ids: str, shape (N,), ascending within each fold.
        labels: int64, shape (N,).
        groups: str, shape (N,): as in :class:`~benchmark.records.record.Predictions`.
        folds: int64, shape (N,), from 0: the fold that tests the image; all 0 without folds.
        clusters: int64, shape (N,), from 0 to ``count`` - 1.
        count: number of clusters.
    """

    image_ids: npt.NDArray[np.str_]
    labels: Counts
    groups: npt.NDArray[np.str_]
    folds: Counts
    clusters: Counts
    count: int

    @classmethod
    def of(cls, tests: Sequence[Predictions]) -> "ClusteredImages":
        """Return the test images of one run for each fold; images without a group are clusters of their own."""
        orders = [np.argsort(test.image_ids) for test in tests]
        ids, labels, groups = (
            np.concatenate([getattr(test, name)[order] for test, order in zip(tests, orders, strict=True)])
            for name in ("image_ids", "labels", "groups")
        )
        clusters, count = numbered_clusters(ids, groups)
        folds = np.repeat(np.arange(len(tests)), [len(test.labels) for test in tests])
        return cls(ids, labels, groups, folds.astype(np.int64), clusters, count)

    @classmethod
    def of_row(cls, row: Folds) -> "ClusteredImages":
        """Return the test images of a row's runs by split; runs of one split have the same."""
        return cls.of([row[name][0].part("test") for name in sorted(row)])

    @property
    def n_folds(self) -> int:
        """Number of folds, 1 without cross-validation."""
        return int(self.folds.max()) + 1

    def aligned(self, tests: Sequence[Predictions]) -> npt.NDArray[np.float32] | None:
        """Return the probabilities, one run for each fold, in the order of these images: shape (N, C).

        ``None`` where images or labels are others.
        """
        orders = [np.argsort(test.image_ids) for test in tests]
        ordered = [(test.image_ids[order], test.labels[order]) for test, order in zip(tests, orders, strict=True)]
        ids, labels = (np.concatenate(column) for column in zip(*ordered, strict=True))
        if not np.array_equal(ids, self.image_ids) or not np.array_equal(labels, self.labels):
            return None
        return np.concatenate([test.probabilities[order] for test, order in zip(tests, orders, strict=True)])

    def containing(self, chosen: npt.NDArray[np.bool_]) -> int:
        """Return how many clusters have one of the chosen images, bool of shape (N,)."""
        return len(np.unique(self.clusters[chosen]))

    def sums(self, cells: Counts, size: int, weights: Floats | None = None) -> Floats:
        """Return the number (or weight) of images in each cluster and each of ``size`` cells: shape (G, size)."""
        flat = np.bincount(self.clusters * size + cells, weights, self.count * size)
        return flat.reshape(self.count, size).astype(np.float64)


def numbered_clusters(ids: npt.NDArray[np.str_], groups: npt.NDArray[np.str_]) -> tuple[Counts, int]:
    """Return the number of each image's cluster, int64 of shape (N,), and how many there are.

    Args:
        ids, groups: str, shape (N,); an image without a group is a cluster of its own.
    """
    names = np.where(groups == "", np.char.add("\n", ids), groups)  # no group has a line break
    distinct, clusters = np.unique(names, return_inverse=True)
    return clusters.astype(np.int64), len(distinct)


def confusion_by_cluster(images: ClusteredImages, probabilities: npt.NDArray[np.floating]) -> Floats:
    """Return confusion matrices per cluster: float64, shape (G, C, C); their sum is the whole one."""
    classes = probabilities.shape[1]
    sums = images.sums(images.labels * classes + decide(probabilities), classes**2)
    return sums.reshape(images.count, classes, classes)


def gaps_by_cluster(images: ClusteredImages, probabilities: npt.NDArray[np.floating]) -> Floats:
    """Return what the calibration error is made of: float64, shape (G, BINS, 2).

    For each cluster and bin, the sum of right (0 or 1) less confidence, and the number of images.
    """
    confidence, right, place = place_in_bins(images.labels, probabilities, BINS)
    return np.stack([images.sums(place, BINS, right - confidence), images.sums(place, BINS)], axis=-1)


def mean_of(sums: npt.NDArray[np.generic]) -> Floats:
    """Return the mean from a sum and a number of images, (..., 2) to (...)."""
    values = np.asarray(sums, dtype=np.float64)
    return np.asarray(values[..., 0] / values[..., 1])


def means_by_cluster(images: ClusteredImages, values: Floats) -> Floats:
    """Return what a mean over images is made of, the sum of values and the number: float64, shape (G, 2)."""
    nowhere = np.zeros(len(values), dtype=np.int64)
    return np.concatenate([images.sums(nowhere, 1, values), images.sums(nowhere, 1)], axis=1)


@dataclass(frozen=True)
class Readings:
    """A row's predictions for the common images. A training is a run, or one run in each fold.

    Args:
        images: those that all rows read.
        probabilities: float32, shape (S, N, C), of S trainings, for the N test images.
        validation: for each training, and each of its folds, the predictions of its validation images.
        trained_shares: float64, shape (C,), of the classes in training as the loss weighs them; ``None`` where they
            are not known.
    """

    images: ClusteredImages
    probabilities: npt.NDArray[np.float32]
    validation: tuple[tuple[Predictions, ...], ...]
    trained_shares: Floats | None = None

    @classmethod
    def of(cls, row: Folds, images: ClusteredImages, trained_shares: Floats | None = None) -> "Readings | None":
        """Return a row's readings, ``None`` where its folds, images or labels are others."""
        if len(row) != images.n_folds:
            return None
        probabilities, validation = [], []
        for runs in zip(*(row[name] for name in sorted(row)), strict=False):  # as many trainings as all folds have
            aligned = images.aligned([run.part("test") for run in runs])
            if aligned is None:
                return None
            probabilities.append(aligned)
            validation.append(tuple(run.part("validation") for run in runs))
        return cls(images, np.stack(probabilities), tuple(validation), trained_shares)

    @property
    def trainings(self) -> int:
        """Number of trainings: of seeds."""
        return len(self.probabilities)

    def constant(self) -> bool:
        """Return whether every network answers one class for every image that it reads, of several classes."""
        if len(np.unique(self.images.labels)) < 2:
            return False
        for probabilities in self.probabilities:
            predicted = decide(probabilities)
            if any(len(np.unique(predicted[self.images.folds == fold])) > 1 for fold in range(self.images.n_folds)):
                return False
        return True

    def confusions(self) -> Floats:
        """Return confusion matrices by training and cluster: shape (S, G, C, C)."""
        return np.stack([confusion_by_cluster(self.images, probabilities) for probabilities in self.probabilities])

    def right(self) -> Floats:
        """Return for each image the share of trainings that read it right: shape (N,)."""
        return np.asarray(np.mean([decide(each) == self.images.labels for each in self.probabilities], axis=0))

    def right_by_cluster(self) -> Floats:
        """Return how many answers are right, over the trainings and the images of each cluster: shape (G,)."""
        right = np.sum([decide(each) == self.images.labels for each in self.probabilities], axis=0)
        return np.asarray(np.bincount(self.images.clusters, right, self.images.count))

    def macro_f1_by_fold(self) -> Floats:
        """Return the mean macro-F1 of the trainings in each fold: shape (F,)."""
        classes = self.probabilities.shape[2]
        means = []
        for fold in range(self.images.n_folds):
            mine = self.images.folds == fold
            matrices = [
                confusion_matrix(self.images.labels[mine], decide(probabilities[mine]), classes)
                for probabilities in self.probabilities
            ]
            means.append(macro_f1(np.stack(matrices)).mean())
        return np.array(means)
