"""Labels dealt anew among patients: what chance alone would give, for permutation tests."""

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]


class Deal:
    """Labels that move with their patient, or cluster of copies: each gets those of another, repeated or cut to its
    number of images.

    Args:
        labels: int64, shape (N,).
        clusters: int64, shape (N,), from 0, each with an image.
    """

    def __init__(self, labels: Labels, clusters: Labels) -> None:
        order = np.argsort(clusters, kind="stable")
        self._labels = labels[order]
        self._clusters = clusters
        self._sizes = np.bincount(clusters)
        self._starts = np.concatenate([[0], np.cumsum(self._sizes)[:-1]])
        self._place = np.empty(len(order), dtype=np.int64)  # of each image within its cluster
        self._place[order] = np.arange(len(order)) - np.repeat(self._starts, self._sizes)

    def labels(self, generator: np.random.Generator) -> Labels:
        """Return the labels of another deal: int64, shape (N,)."""
        giver = generator.permutation(len(self._sizes))
        shift = generator.integers(0, self._sizes[giver])  # where a cluster has several labels, any may come first
        giver_of_image = giver[self._clusters]
        within = (self._place + shift[self._clusters]) % self._sizes[giver_of_image]
        return np.asarray(self._labels[self._starts[giver_of_image] + within], dtype=np.int64)
