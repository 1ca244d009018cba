"""Copies: groups of images that show the same slice, and where they stand."""

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from benchmark.data.dataset import DataSet, Labels, Positions
from benchmark.data.duplicates.near_duplicates import TURNS, NearPairs, near_duplicates

SHOWN_WORST = 12


class AuditPart(BaseModel):
    """A part of an audit."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Duplicates(AuditPart):
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


class NearKinds(AuditPart):
    """How images that show one slice are connected: a near-duplicate of a near-duplicate need not be one itself.

    Args:
        groups_unturned: groups of at least two images where turned and mirrored images do not count.
        beside_direct: images outside test that are identical to a test image, or its near-duplicate themselves.
        beside_chained: those that are connected with a test image by other images only.
        pairs: pairs of distinct images in groups of three and more.
        pairs_below: those of them that are no near-duplicates by themselves.
    """

    groups_unturned: int
    beside_direct: int
    beside_chained: int
    pairs: int
    pairs_below: int


class Pair(AuditPart):
    """Two images that show the same slice."""

    first: str
    second: str
    first_class: str
    second_class: str
    first_part: str
    second_part: str
    correlation: float
    turn: str


def joined(cluster: Labels, near: NearPairs) -> Labels:
    """Return clusters of identical images with those joined that near-duplicates connect, directly or by others.

    Args:
        cluster: int64, shape (N,), equal for identical images.

    Returns:
        int64, shape (N,), equal for images of one slice.
    """
    _, number = np.unique(cluster, return_inverse=True)
    return components(number[near.first], number[near.second], int(number.max()) + 1)[number]


def near_kinds(cluster: Labels, near: NearPairs, part: npt.NDArray[np.str_]) -> NearKinds:
    """Count how near-duplicates are connected.

    Args:
        cluster: int64, shape (N,), equal for identical images.
        near: their pairs, among the first of each cluster.
        part: str, shape (N,), ``train``, ``validation``, ``test`` or empty.
    """
    _, number, sizes = np.unique(cluster, return_inverse=True, return_counts=True)
    n = len(sizes)
    first, second, as_is = number[near.first], number[near.second], near.turn == 0
    group = components(first, second, n)
    distinct = np.bincount(group)  # images that differ, in each group
    large = distinct[distinct > 2]
    inside = int((distinct[group[first]] > 2).sum())
    possible = int((large * (large - 1) // 2).sum())
    images_of = np.bincount(components(first[as_is], second[as_is], n), sizes)
    tested = any_of(number, part == "test", n)
    direct = tested.copy()
    direct[second[tested[first]]] = True
    direct[first[tested[second]]] = True
    shown = np.bincount(group[tested], minlength=len(distinct)) > 0
    outside = part != "test"
    return NearKinds(
        groups_unturned=int((images_of > 1).sum()),
        beside_direct=int((outside & direct[number]).sum()),
        beside_chained=int((outside & shown[group][number] & ~direct[number]).sum()),
        pairs=possible,
        pairs_below=possible - inside,
    )


def components(first: Labels, second: Labels, n: int) -> Labels:
    """Return the number of the connected component of each of ``n`` nodes, joined pair by pair."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(first), dtype=np.int8), (first, second)), shape=(n, n))
    _, component = connected_components(graph, directed=False)
    return np.asarray(component, dtype=np.int64)


def same_slice(data: DataSet) -> Labels:
    """Return a number for each image, equal for images of one slice: identical, or connected by near-duplicates.

    int64, shape (N,). The near-duplicates are searched for once and kept beside the prepared images.
    """
    return joined(data.identical, near_duplicates(data))


def independent_units(data: DataSet) -> Labels:
    """Return a number for each image, equal for images that must not be parted: int64, shape (N,).

    Images of one patient are one unit, and so are images of one slice (identical, or near-duplicates: see
    :func:`same_slice`). Units that share an image are one unit (connected components): where a slice stands under two
    patients, both patients stay together. Where patients are unknown, the slices alone are the units; the next slice
    of a patient is often among its near-duplicates.
    """
    slices = same_slice(data)
    if data.groups is None:
        return slices
    _, group = np.unique(data.groups, return_inverse=True)
    # a graph of images, patients and slices: each image is joined to its patient and to its slice
    n, first_slice = len(data), len(data) + int(group.max()) + 1
    images = np.arange(n)
    ends = np.concatenate([n + group, first_slice + slices])
    nodes = first_slice + int(slices.max()) + 1
    return components(np.concatenate([images, images]), ends, nodes)[:n]


def count_duplicates(cluster: Labels, labels: Labels, part: npt.NDArray[np.str_]) -> Duplicates:
    """Count copies.

    Args:
        cluster: int64, shape (N,), equal for copies, whatever a copy is.
        labels: int64, shape (N,).
        part: str, shape (N,), ``train``, ``validation``, ``test`` or empty.
    """
    names, group, sizes = np.unique(cluster, return_inverse=True, return_counts=True)
    n = len(names)
    test, validation, train = (part == name for name in ("test", "validation", "train"))
    in_train = any_of(group, train, n)
    learned = any_of(group, train | validation, n)
    lowest, highest = np.full(n, np.iinfo(np.int64).max), np.full(n, -1)
    np.minimum.at(lowest, group, labels)
    np.maximum.at(highest, group, labels)
    return Duplicates(
        groups=int((sizes > 1).sum()),
        images=int(sizes[sizes > 1].sum()),
        across=int((learned & any_of(group, test, n)).sum()),
        test_images=int((test & learned[group]).sum()),
        validation_images=int((validation & in_train[group]).sum()),
        conflicting=int((lowest < highest).sum()),
    )


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
    # how many of the same badness and kind come before: sorted, that is the distance from the first of them
    order = np.lexsort((-correlation, kind, -badness))
    fresh = np.diff(badness[order] * 10 + kind[order], prepend=-100) != 0
    places = np.arange(len(order))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = places - np.maximum.accumulate(np.where(fresh, places, 0))
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
