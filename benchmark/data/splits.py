"""Splits: which images train, which choose, which judge. Patients and copies of one image are kept together.

What decides is a hash of the image ids, so that a split depends on no generator and no library version, and
an image stays where it is when others come or go.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from benchmark.data.dataset import DataSet, Positions, Split
from benchmark.errors import UserError
from benchmark.hashing import hash_json

Labels = npt.NDArray[np.int64]


def make_split(
    data: DataSet,
    *,
    seed: int,
    validation_fraction: float,
    limit: int | None = None,
    test_fraction: float = 0.2,
) -> Split:
    """Return the official split where the source has one, else a hold-out by patient, stratified by class.

    Validation is cut from training images, never from test; a patient and a cluster of identical images lie in
    one of the two. The hold-out too keeps them together. An official test set is left as it is: what it shares
    with training images is told in ``Split.leaks``.

    Args:
        data: the images.
        seed: moves the validation images. The test images never move, so that seeds can be compared.
        validation_fraction: of the training images of each class.
        limit: keep this many images: chosen before validation is cut and whatever the seed, proportionally by
            class and part with at least one of each; those of a smaller limit are among those of a larger one.
        test_fraction: of the hold-out, used where there is no official split.

    Raises:
        UserError: a class without training or test images, too few patients to split, a limit too small.
    """
    for name, fraction in (("validation", validation_fraction), ("test", test_fraction)):
        if not 0 < fraction < 1:
            raise UserError(f"The {name} fraction must lie between 0 and 1, not {fraction}.")
    everything = np.arange(len(data), dtype=np.int64)
    units = independent_units(data)
    if data.parts is not None:
        name, in_test = "official", data.parts == "test"
        _require_classes(data, everything[~in_test], "training")
        _require_classes(data, everything[in_test], "test")
    else:
        name, in_test = "holdout", cut(data, units, everything, test_fraction, "holdout test", "test images")
    chosen = limited(data, in_test, limit) if limit is not None else everything
    training, test = chosen[~in_test[chosen]], chosen[in_test[chosen]]
    return with_validation(data, name, training, test, seed, validation_fraction, limit)


def with_validation(
    data: DataSet,
    name: str,
    training: Positions,
    test: Positions,
    seed: int,
    validation_fraction: float,
    limit: int | None = None,
) -> Split:
    """Cut validation from ``training`` and return the split, with what ``test`` shares with the rest."""
    units = independent_units(data)
    in_validation = cut(data, units, training, validation_fraction, f"validation {seed}", "validation images")
    parts = (training[~in_validation], training[in_validation], test)
    return Split(
        name,
        *parts,
        hash=hash_json([data.image_ids[part].tolist() for part in parts]),
        limited_to=limit,
        leaks=find_leaks(data, training, test),
    )


def independent_units(data: DataSet) -> Labels:
    """Return a number for each image, equal for images that must not be parted.

    Images of one patient are one unit, and so are identical images; where copies join two patients, both
    patients are one unit (connected components).
    """
    if data.groups is None:
        return data.identical
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(data)
    _, group = np.unique(data.groups, return_inverse=True)
    _, copies = np.unique(data.identical, return_inverse=True)
    # a graph of images, patients and clusters: each image is joined to its patient and to its cluster
    images = np.arange(n)
    rows = np.concatenate([images, images])
    columns = np.concatenate([n + group, n + group.max() + 1 + copies])
    nodes = n + int(group.max()) + int(copies.max()) + 2
    graph = coo_matrix((np.ones(2 * n, dtype=np.int8), (rows, columns)), shape=(nodes, nodes))
    _, component = connected_components(graph, directed=False)
    return np.asarray(component[:n], dtype=np.int64)


def cut(
    data: DataSet, units: Labels, positions: Positions, fraction: float, purpose: str, wanted: str
) -> npt.NDArray[np.bool_]:
    """Choose about ``fraction`` of the images of each class, in whole units.

    Units are taken in an order given by a hash of ``purpose`` and their first image's id; a unit is chosen when
    that brings the classes' counts nearer to what is wanted. scikit-learn has no grouped and stratified
    hold-out of any fraction.

    Returns:
        bool, shape of ``positions``: chosen or not. Each class has units on both sides.

    Raises:
        UserError: a class with fewer than two units.
    """
    names, member = np.unique(units[positions], return_inverse=True)
    counts = np.zeros((len(names), len(data.class_names)), dtype=np.int64)
    np.add.at(counts, (member, data.labels[positions]), 1)
    for number, class_name in enumerate(data.class_names):
        _require_units(class_name, int((counts[:, number] > 0).sum()), data.groups is not None, wanted)
    target = fraction * counts.sum(axis=0)
    order = _hashed_order(purpose, _first_ids(data.image_ids[positions], member, len(names)))
    taken = np.zeros(len(names), dtype=bool)
    missing = target.copy()
    for unit in order:
        gain = counts[unit]
        # taking the unit brings the counts nearer, in squared distance
        if gain @ (2 * missing - gain) > 0:
            taken[unit] = True
            missing -= gain
    _balance(counts, taken, order)
    return np.asarray(taken[member], dtype=bool)


def _balance(counts: Labels, taken: npt.NDArray[np.bool_], order: Positions) -> None:
    """Give each class at least one unit on either side: moves the smallest that does it."""
    for number in range(counts.shape[1]):
        holders = order[counts[order, number] > 0]
        for side in (True, False):
            if not (taken[holders] == side).any():
                smallest = holders[np.argmin(counts[holders].sum(axis=1))]
                taken[smallest] = side


def _require_units(class_name: str, found: int, grouped: bool, wanted: str) -> None:
    unit = "patient" if grouped else "distinct image"
    if found < 2:
        raise UserError(
            f"Class '{class_name}' has {found} {unit}{'' if found == 1 else 's'} to cut {wanted} from and needs at "
            "least 2: add images, or raise --limit."
        )


def _require_classes(data: DataSet, positions: Positions, what: str) -> None:
    present = set(np.unique(data.labels[positions]).tolist())
    for number, class_name in enumerate(data.class_names):
        if number not in present:
            raise UserError(f"Class '{class_name}' of '{data.name}' has no {what} images.")


def _first_ids(ids: npt.NDArray[np.str_], member: npt.NDArray[np.int64], n_units: int) -> Sequence[str]:
    """Return the smallest image id of each unit."""
    order = np.argsort(ids, kind="stable")
    first = np.full(n_units, -1, dtype=np.int64)
    first[member[order[::-1]]] = order[::-1]  # the last to be written is the smallest
    return [str(name) for name in ids[first]]


def _hashed_order(purpose: str, names: Sequence[str]) -> Positions:
    """Return positions of ``names`` in the order of their hashes: random to the eye, the same everywhere."""
    keys = [hashlib.sha256(f"{purpose}\0{name}".encode()).digest() for name in names]
    return np.array(sorted(range(len(names)), key=keys.__getitem__), dtype=np.int64)


def limited(data: DataSet, in_test: npt.NDArray[np.bool_], limit: int) -> Positions:
    """Choose ``limit`` images, proportionally by class and part, nested, independent of any seed.

    Places are given one by one by Webster's method (Sainte-Lague), after one for each class and part: unlike
    largest remainders it never takes a place back when the number grows. Within a class and part the images
    stand in the order of a hash of their ids.

    Returns:
        Ascending positions; all of them where ``limit`` is not smaller.
    """
    stratum = 2 * data.labels + in_test
    present = np.unique(stratum)
    if limit < len(present):
        raise UserError(
            f"--limit {limit} is too small: at least {len(present)} images are needed, one of each class and part."
        )
    order = _hashed_order("limit", data.image_ids.tolist())
    sizes = np.bincount(stratum)
    rank = np.empty(len(data), dtype=np.int64)
    for value in present:
        inside = order[stratum[order] == value]
        rank[inside] = np.arange(len(inside))
    claim = np.where(rank == 0, -1.0, (rank + 0.5) / sizes[stratum])
    chosen = np.lexsort((stratum, claim))[:limit]
    return np.sort(chosen).astype(np.int64)


def find_leaks(data: DataSet, training: Positions, test: Positions) -> tuple[str, ...]:
    """Say in which ways test images are not independent of the images that train or choose."""
    leaks = []
    copies = np.isin(data.identical[test], data.identical[training])
    if copies.any():
        shared = len(np.unique(data.identical[test[copies]]))
        leaks.append(
            f"{copies.sum()} of {len(test)} test images are identical to training images "
            f"({shared} groups of copies stand in both)"
        )
    if data.groups is not None:
        known = np.isin(data.groups[test], data.groups[training])
        if known.any():
            patients = len(np.unique(data.groups[test[known]]))
            leaks.append(f"{patients} patients of {known.sum()} test images have training images too")
    return tuple(leaks)
