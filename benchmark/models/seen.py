"""What a network makes of images: logits, distances of their features, and what was told of them before."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from benchmark.models.feature_distance import Features, TrainingFeatures
from benchmark.models.prepared import OF_NONE, Facts

Logits = npt.NDArray[np.float32]
Distances = npt.NDArray[np.float64]
Progress = Callable[[int, int], None]  # images done, images in all

_COMPARED_TOGETHER = 2048  # images whose features are held


@dataclass(frozen=True)
class Seen:
    """What a network makes of some images; those that could not be read are not among them.

    Args:
        logits: float32, shape (N, C).
        distances: of their features to those of training images, float64, shape (N,); ``nan`` where unknown.
        grey: bool, shape (N,), whether the three channels are equal.
        sides: int64, shape (N, 2), height and width before resizing.
        trained_on: bool, shape (N,), whether the network was trained or chosen on this very image.
        read: bool, shape (M,), which of the M images could be read.
        problems: a sentence for each that could not.
    """

    logits: npt.NDArray[np.float32]
    distances: npt.NDArray[np.float64]
    grey: npt.NDArray[np.bool_]
    sides: npt.NDArray[np.int64]
    trained_on: npt.NDArray[np.bool_]
    read: npt.NDArray[np.bool_]
    problems: tuple[str, ...]

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all of it as arrays by name, for another process."""
        return {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)} | {
            "problems": np.array(self.problems, dtype=np.str_)
        }

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Return what :meth:`arrays` were made of; further arrays are left alone."""
        values: dict[str, Any] = {field.name: arrays[field.name] for field in fields(cls)}
        return cls(**{**values, "problems": tuple(arrays["problems"].tolist())})


class SeenParts:
    """What a network makes of one batch after the other, put together at the end.

    Features are compared with those of the training images many at a time and never while the network computes:
    NumPy's threads would compete with the network's for the processors.

    Args:
        num_classes: number of logits of an image.
        training: the features of the training images, ``None`` where they were not kept.
    """

    def __init__(self, num_classes: int, training: TrainingFeatures | None) -> None:
        self._training = training
        self._logits: list[Logits] = [np.zeros((0, num_classes), dtype=np.float32)]
        self._features: list[Features] = []  # that are still to be compared
        self._distances: list[Distances] = [np.zeros(0)]
        self._facts = [OF_NONE]
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, facts: Facts, logits: Logits, features: Features) -> None:
        """Take what is told of a batch and what the network made of it; features have no length where they can't be
        had.
        """
        self._logits.append(logits)
        self._features.append(features)
        self._facts.append(facts)
        self._count += len(facts.read)
        if sum(map(len, self._features)) >= _COMPARED_TOGETHER:
            self._compare()

    def _compare(self) -> None:
        """Compare the features that were added with those of the training images."""
        features = [part for part in self._features if len(part)]  # of a batch that can't be read they have no length
        self._features = []
        if not features:
            return
        together = np.concatenate(features)
        if self._training is None or not together.shape[1]:
            self._distances.append(np.full(len(together), np.nan))
        else:
            self._distances.append(self._training.distances(together))

    def together(self) -> Seen:
        """Return all."""
        self._compare()
        trained_on = frozenset() if self._training is None else self._training.trained_on
        facts = Facts.together(self._facts)
        return Seen(
            logits=np.concatenate(self._logits),
            distances=np.concatenate(self._distances),
            grey=facts.grey,
            sides=facts.sides,
            trained_on=np.array([digest in trained_on for digest in facts.digests], dtype=bool),
            read=facts.read,
            problems=tuple(facts.problems),
        )
