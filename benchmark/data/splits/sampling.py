"""Choosing images by class, part and patient: pure functions, decided by hashes of image ids."""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from benchmark.data.dataset import DataSet, Positions
from benchmark.errors import UserError

Labels = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def cut(data: DataSet, units: Labels, positions: Positions, fraction: float, purpose: str, what: str) -> Mask:
    """Choose about ``fraction`` of the images of each class, in whole units.

    Units are taken in an order given by a hash of ``purpose`` and their first image's id; a unit is chosen when
    that brings the classes' counts nearer to what is wanted. scikit-learn has no grouped and stratified
    hold-out of any fraction.

    Args:
        units: of all images.
        positions: to choose from.
        what: is cut, for messages.

    Returns:
        bool, shape of ``positions``: chosen or not. Each class has units on both sides.

    Raises:
        UserError: a class with fewer than two units.
    """
    counts, member = require_units(data, units, positions, 2, what)
    order = _hashed_order(purpose, _first_ids(data.image_ids[positions], member, len(counts)))
    taken = np.zeros(len(counts), dtype=bool)
    missing = fraction * counts.sum(axis=0)
    for unit in order:
        gain = counts[unit]
        if gain @ (2 * missing - gain) > 0:  # with the unit the counts are nearer, in squared distance
            taken[unit] = True
            missing -= gain
    _balance(counts, taken, order)
    return np.asarray(taken[member], dtype=bool)


def _balance(counts: Labels, taken: Mask, order: Positions) -> None:
    """Give each class at least one unit on either side: moves the smallest that does it."""
    for number in np.flatnonzero(counts.any(axis=0)):
        holders = order[counts[order, number] > 0]
        for side in (True, False):
            if not (taken[holders] == side).any():
                smallest = holders[np.argmin(counts[holders].sum(axis=1))]
                taken[smallest] = side


def require_units(
    data: DataSet, units: Labels, positions: Positions, at_least: int, what: str
) -> tuple[Labels, Labels]:
    """Return the number of images of each unit and class, and the unit of each position.

    Returns:
        int64 of shape (units, classes), int64 of the shape of ``positions``.

    Raises:
        UserError: a class with fewer units than ``at_least``.
    """
    names, member = np.unique(units[positions], return_inverse=True)
    counts = np.zeros((len(names), len(data.class_names)), dtype=np.int64)
    np.add.at(counts, (member, data.labels[positions]), 1)
    unit = "patient" if data.groups is not None else "distinct slice"
    advice = "" if data.groups is not None else " Near-duplicates count as one unless a manifest names patients."
    for number, class_name in enumerate(data.class_names):
        n_units = int((counts[:, number] > 0).sum())
        if n_units < at_least:
            raise UserError(
                f"Class '{class_name}' has {n_units} {unit}{'' if n_units == 1 else 's'} to cut {what} from and "
                f"needs at least {at_least}: add images, or raise --limit.{advice}"
            )
    return counts, member


def _first_ids(ids: npt.NDArray[np.str_], member: Labels, n_units: int) -> Sequence[str]:
    """Return the smallest image id of each unit."""
    order = np.argsort(ids, kind="stable")
    first = np.full(n_units, -1, dtype=np.int64)
    first[member[order[::-1]]] = order[::-1]  # the last to be written is the smallest
    return [str(name) for name in ids[first]]


def _hashed_order(purpose: str, names: Sequence[str]) -> Positions:
    """Return positions of ``names`` in the order of their hashes: random to the eye, the same everywhere."""
    keys = [hashlib.sha256(f"{purpose}\0{name}".encode()).digest() for name in names]
    return np.array(sorted(range(len(names)), key=keys.__getitem__), dtype=np.int64)


def limited(data: DataSet, in_test: Mask, in_validation: Mask | None, eligible: Positions, limit: int) -> Positions:
    """Choose ``limit`` images, proportionally by class and part, nested, independent of any seed.

    Places are given one by one by Webster's method (Sainte-Lague), after one for each class and part: unlike
    largest remainders it never takes a place back when the number grows. Within a class and part the images
    stand in the order of a hash of their ids.

    Args:
        in_test: bool, shape (N,).
        in_validation: bool, shape (N,): the official validation images; ``None`` where there are none.
        eligible: positions to choose from.

    Returns:
        Ascending positions; all of ``eligible`` where ``limit`` is not smaller.

    Raises:
        UserError: fewer than one image for each class and part.
    """
    part = in_test.astype(np.int64) if in_validation is None else in_test + 2 * in_validation
    stratum = (3 * data.labels + part)[eligible]
    present = np.unique(stratum)
    if limit < len(present):
        raise UserError(
            f"--limit {limit} is too small: at least {len(present)} images are needed, one of each class and part."
        )
    order = _hashed_order("limit", data.image_ids[eligible].tolist())
    sizes = np.bincount(stratum)
    rank = np.empty(len(eligible), dtype=np.int64)
    for value in present:
        inside = order[stratum[order] == value]
        rank[inside] = np.arange(len(inside))
    claim = np.where(rank == 0, -1.0, (rank + 0.5) / sizes[stratum])
    return np.sort(eligible[np.lexsort((stratum, claim))[:limit]])
