"""What a network makes of images: logits, distances of their features, and what was told of them before."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.models.prepared import Batch, Look

Logits = npt.NDArray[np.float32]
Distances = npt.NDArray[np.float64]
Progress = Callable[[int, int], None]  # images done, images in all


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


class SeenParts:
    """What a network makes of one batch after the other, put together at the end."""

    def __init__(self, num_classes: int) -> None:
        self._logits: list[Logits] = [np.zeros((0, num_classes), dtype=np.float32)]
        self._distances: list[Future[Distances] | None] = []
        self._looks: list[Look] = []
        self._read: list[npt.NDArray[np.bool_]] = [np.zeros(0, dtype=bool)]
        self._problems: list[str] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, batch: Batch, logits: Logits, distances: Future[Distances] | None) -> None:
        """Take what the network made of a batch."""
        self._logits.append(logits)
        self._distances.append(distances)
        self._looks += batch.looks
        self._read.append(batch.read)
        self._problems += batch.problems
        self._count += len(batch.read)

    def together(self, trained_on: frozenset[bytes]) -> Seen:
        """Return all; ``trained_on`` are the beginnings of the hashes of the images that the network knows."""
        distances = [
            np.full(len(logits), np.nan) if future is None else future.result()
            for logits, future in zip(self._logits[1:], self._distances, strict=True)
        ]
        return Seen(
            logits=np.concatenate(self._logits),
            distances=np.concatenate([np.zeros(0), *distances]),
            grey=np.array([look.grey for look in self._looks], dtype=bool),
            sides=np.array([look.sides for look in self._looks], dtype=np.int64).reshape(-1, 2),
            trained_on=np.array([look.digest in trained_on for look in self._looks], dtype=bool),
            read=np.concatenate(self._read),
            problems=tuple(self._problems),
        )
