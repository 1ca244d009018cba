"""Copies: groups of images that show the same slice, and where they stand."""

from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from benchmark.data.cutting import components
from benchmark.data.dataset import DataSet, Labels, Positions
from benchmark.data.near import TURNS, NearPairs

SHOWN_WORST = 12


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Duplicates(_Part):
    """Images that are copies of each other, by one definition of a copy.

    Args:
        groups: of at least two images.
        images: in these groups.
        across: groups with images in test and in training or validation.
        test_images: test images with a copy in training or validation.
        validation_images: validation images with a copy in training.
        conflicting: groups whose images carry different labels.
    """

    groups: int
    images: int
    across: int
    test_images: int
    validation_images: int
    conflicting: int


class Pair(_Part):
    """Two images that show the same slice."""

    first: str
    second: str
    first_class: str
    second_class: str
    first_part: str
    second_part: str
    correlation: float
    turn: str


@dataclass(frozen=True)
class Clusters:
    """Images that are copies of each other, whatever a copy is.

    Args:
        cluster: int64, shape (N,), equal for copies.
        labels: int64, shape (N,).
        part: str, shape (N,), ``train``, ``validation``, ``test`` or empty.
        first, second: clusters that are copies of each other as well, pair by pair.
    """

    cluster: Labels
    labels: Labels
    part: npt.NDArray[np.str_]
    first: Positions = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    second: Positions = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def joined(self, near: NearPairs) -> "Clusters":
        """Return these clusters with near-duplicates joined."""
        return replace(self, first=self.cluster[near.first], second=self.cluster[near.second])

    def duplicates(self) -> Duplicates:
        """Count groups of copies (connected clusters), and images with a direct copy in another part."""
        n = int(self.cluster.max()) + 1
        group = components(self.first, self.second, n)[self.cluster]
        sizes = np.bincount(group)
        several = sizes > 1
        test, training = self.part == "test", np.isin(self.part, ("train", "validation"))
        across = several & any_of(group, test, len(sizes)) & any_of(group, training, len(sizes))
        lowest, highest = np.full(len(sizes), np.iinfo(np.int64).max), np.full(len(sizes), -1)
        np.minimum.at(lowest, group, self.labels)
        np.maximum.at(highest, group, self.labels)
        return Duplicates(
            groups=int(several.sum()),
            images=int(sizes[several].sum()),
            across=int(across.sum()),
            test_images=int((test & self._beside(training)).sum()),
            validation_images=int(((self.part == "validation") & self._beside(self.part == "train")).sum()),
            conflicting=int((several & (lowest < highest)).sum()),
        )

    def _beside(self, chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Return which images have a chosen image in their cluster or in one that is paired with it."""
        has = any_of(self.cluster, chosen, int(self.cluster.max()) + 1)
        beside = has.copy()
        beside[self.first[has[self.second]]] = True
        beside[self.second[has[self.first]]] = True
        return np.asarray(beside[self.cluster])


def any_of(group: Labels, chosen: npt.NDArray[np.bool_], n: int) -> npt.NDArray[np.bool_]:
    """Return for each of ``n`` groups whether one of its images is chosen."""
    return np.asarray(np.bincount(group[chosen], minlength=n) > 0)


def byte_clusters(data: DataSet) -> Labels:
    """Return a number for each image, equal for equal stored bytes; images that are made are all distinct."""
    alone = np.arange(len(data), dtype=np.int64)
    if data.hashes is None:
        return alone
    stored = np.ascontiguousarray(data.hashes[:, 0])
    _, first, inverse = np.unique(stored.view("V32").ravel(), return_index=True, return_inverse=True)
    return np.where(stored.any(axis=1), first[inverse], alone).astype(np.int64)


def worst_pairs(data: DataSet, part: npt.NDArray[np.str_], near: NearPairs) -> tuple[Pair, ...]:
    """Return the worst offenders: pairs under two labels first, then those across test and training.

    Exact copies and each way of turning take turns, so that a few pairs show every kind there is.
    """
    n_copies, first, second = _copies(data, part)
    first, second = np.concatenate([first, near.first]), np.concatenate([second, near.second])
    correlation = np.concatenate([np.ones(n_copies, np.float32), near.correlation])
    turn = np.concatenate([np.zeros(n_copies, np.int64), near.turn])
    kind = np.concatenate([np.full(n_copies, -1, np.int64), near.turn])
    conflicting = data.labels[first] != data.labels[second]
    across = (part[first] == "test") ^ (part[second] == "test")
    badness = 2 * conflicting + across
    order = np.lexsort((-correlation, -badness))
    rank = np.zeros(len(order), dtype=np.int64)  # how many of the same badness and kind come before
    seen: Counter[tuple[int, int]] = Counter()
    for k in order:
        rank[k] = seen[int(badness[k]), int(kind[k])]
        seen[int(badness[k]), int(kind[k])] += 1
    shown = np.lexsort((kind, rank, -badness))[:SHOWN_WORST]
    return tuple(
        Pair(
            first=str(data.image_ids[first[k]]),
            second=str(data.image_ids[second[k]]),
            first_class=data.class_names[data.labels[first[k]]],
            second_class=data.class_names[data.labels[second[k]]],
            first_part=str(part[first[k]]),
            second_part=str(part[second[k]]),
            correlation=round(float(correlation[k]), 4),
            turn=TURNS[turn[k]],
        )
        for k in shown
    )


def _copies(data: DataSet, part: npt.NDArray[np.str_]) -> tuple[int, Positions, Positions]:
    """Return exact copies as pairs: how many, and two arrays of positions.

    Each image of a cluster is paired with the cluster's first in another part, or else with its first.
    """
    pairs = []
    order = np.argsort(data.identical, kind="stable")
    starts = np.flatnonzero(np.diff(data.identical[order], prepend=-1))
    for members in np.split(order, starts[1:]):
        for k in members[1:]:
            elsewhere = members[part[members] != part[k]]
            pairs.append((int(elsewhere[0] if len(elsewhere) else members[0]), int(k)))
    table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return len(table), table[:, 0], table[:, 1]
