"""How a row read the test images of its block: its runs aligned, folds joined."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.evaluation.clusters import ClusteredImages, confusion_by_cluster
from benchmark.evaluation.metrics import Floats, confusion_matrix, decide, macro_f1
from benchmark.records.record import Predictions

Folds = Mapping[str, Sequence[Predictions]]  # a row's runs by split, each with one run for each seed, in order


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
        found = []
        for fold in range(self.images.n_folds):
            mine = self.images.folds == fold
            matrices = [
                confusion_matrix(self.images.labels[mine], decide(probabilities[mine]), classes)
                for probabilities in self.probabilities
            ]
            found.append(macro_f1(np.stack(matrices)).mean())
        return np.array(found)
