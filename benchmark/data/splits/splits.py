"""Splits: which images train, which choose, which judge. Patients, and copies of one image, are kept together.

Hold-out and validation are decided by a hash of the image ids, so that they depend on no generator and no library
version, and an image stays where it is when others come or go. Folds are scikit-learn's.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from benchmark.data.dataset import DataSet, Positions, Split
from benchmark.data.duplicates.groups import any_of, independent_units, same_slice
from benchmark.data.patients import without_letter
from benchmark.data.splits.sampling import cut, limited, require_units
from benchmark.errors import UserError
from benchmark.hashing import hash_json

Kind = Literal["auto", "official", "holdout", "folds", "regroup", "slice"]
KINDS: tuple[Kind, ...] = ("auto", "official", "holdout", "folds", "regroup", "slice")
Mask = npt.NDArray[np.bool_]
SLICE_LEAK = "split by slice, as asked: patients are not kept apart"


@dataclass(frozen=True)
class SplitOptions:
    """How a data set is split.

    ``auto`` is folds where ``folds`` are given, else the official split where there is one, else a hold-out.
    Official validation images, where a source has them, validate in the official split and nowhere else.

    Args:
        kind: ``official``; ``holdout`` by patient, stratified by class; ``folds``: the source's official ones
            where they keep every patient in one fold, else stratified folds by patient; ``regroup``: the source's
            own parts are put together and cut anew, stratified by class and with patients and near-duplicates kept
            together, into a test part of the source's share or, with ``folds``, into folds; ``slice``: stratified
            folds that part patients, which leak.
        folds: which of them, from 1; ``None`` is all where the kind has folds.
        n_folds: where the harness cuts them.
        seed: moves the validation images and nothing else.
        validation_fraction: of the training images of each class.
        test_fraction: of the hold-out.
        limit: keep this many images: chosen before validation is cut and whatever the seed, proportionally by class
            and part with at least one of each; those of a smaller limit are among those of a larger one.
        dedupe: leave out training images that also stand in test, exactly or nearly.

    Raises:
        UserError: a value that makes no sense.
    """

    kind: Kind = "auto"
    folds: tuple[int, ...] | Literal["all"] | None = None
    n_folds: int = 5
    seed: int = 0
    validation_fraction: float = 0.1
    test_fraction: float = 0.2
    limit: int | None = None
    dedupe: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"Unknown split '{self.kind}': {', '.join(KINDS)} are known.")
        for name, fraction in (("validation", self.validation_fraction), ("test", self.test_fraction)):
            if not 0 < fraction < 1:
                raise UserError(f"The {name} fraction must lie between 0 and 1, not {fraction}.")
        if not 2 <= self.n_folds <= 100:
            raise UserError(f"The number of folds must be 2 to 100, not {self.n_folds}.")


def make_splits(data: DataSet, options: SplitOptions) -> tuple[Split, ...]:
    """Return the splits that ``options`` ask for: one, or one for each fold.

    Validation is cut from training images, never from test; a patient lies in one of the two, and so does a cluster
    of identical images or near-duplicates. The hold-out too keeps them together. Official parts are left as they are:
    what an official test set shares with training images is told in ``Split.leaks``, near-duplicates in the audit.

    Raises:
        UserError: no such split or fold here, a class without training images, too few patients, a limit too small.
    """
    kind = options.kind
    if kind == "auto":
        official = data.parts is not None and not data.random_parts
        kind = "folds" if options.folds else "official" if official else "holdout"
    if kind in ("official", "holdout") and options.folds is not None:
        raise UserError(f"The split '{kind}' has no folds: leave --folds out, or choose --split folds.")
    units = np.arange(len(data), dtype=np.int64) if kind == "slice" else independent_units(data)
    cutter = {
        "official": _official,
        "holdout": _holdout,
        "folds": _folds,
        "slice": _folds,
        "regroup": _holdout if options.folds is None else _folds,
    }[kind]
    notes = _parts_not_taken(data) if kind != "official" else ()
    return tuple(
        _split(data, units, replace(tested, notes=(*notes, *tested.notes)), options)
        for tested in cutter(data, units, options)
    )


def _parts_not_taken(data: DataSet) -> tuple[str, ...]:
    """Say how many test images of a random split of single images have their patient in its training images."""
    if not data.random_parts or data.parts is None:
        return ()
    in_test = data.parts == "test"
    why = "it is a random split of single images"
    if data.groups is not None:
        learned = np.isin(data.groups[in_test], data.groups[~in_test])
        why = f"{learned.sum()} of its {in_test.sum()} test images have their patient in training"
    return (f"the folders' own split is not taken: {why} (--split official takes it)",)


@dataclass(frozen=True)
class _Tested:
    """Which images test, and where that comes from; see :class:`Split` for the rest.

    Args:
        images: bool, shape (N,): those that test.
        validation: bool, shape (N,): the official validation images; ``None`` where they are cut from training.
    """

    name: str
    kind: str
    images: Mask
    validation: Mask | None = None
    notes: tuple[str, ...] = ()
    fold: int | None = None
    folds: int | None = None
    scheme: str = ""


def _official(data: DataSet, units: Positions, options: SplitOptions) -> list[_Tested]:
    if data.parts is None:
        raise UserError(f"'{data.name}' has no official split: choose --split holdout or folds.")
    validation = data.parts == "validation"
    return [_Tested("official", "official", data.parts == "test", validation if validation.any() else None)]


def _holdout(data: DataSet, units: Positions, options: SplitOptions) -> list[_Tested]:
    everything = np.arange(len(data), dtype=np.int64)
    kind, share = "holdout", options.test_fraction
    if options.kind == "regroup":
        kind, share = "regroup", share if data.parts is None else float((data.parts == "test").mean())
    in_test = cut(data, units, everything, share, f"{kind} test", "test images")
    return [_Tested(kind, kind, in_test)]


def _folds(data: DataSet, units: Positions, options: SplitOptions) -> list[_Tested]:
    """Return official folds where the source has them and they keep patients together, else stratified ones."""
    kind: str = options.kind if options.kind in ("slice", "regroup") else "folds"
    notes: tuple[str, ...] = ()
    fold = None
    if kind == "folds" and data.folds is not None:
        parted = _parted_patients(data, data.folds)
        if parted:
            notes = (
                f"new folds are made: the official ones have {parted} of the patients, as they are grouped here, on "
                f"both sides",
            )
        else:
            kind, fold = "official-folds", data.folds
    if fold is None:
        fold = stratified_folds(data, units, options.n_folds)
    numbers: list[int] = np.unique(fold).tolist()
    asked = options.folds
    chosen = numbers if asked is None or asked == "all" else list(dict.fromkeys(asked))
    for number in chosen:
        if number not in numbers:
            raise UserError(f"There is no fold {number}: give numbers from 1 to {max(numbers)}, or all.")
    prefix = {"slice": "slice-", "official-folds": "official-", "regroup": "regroup-", "folds": ""}[kind]
    rest = [options.seed, options.validation_fraction, options.limit, options.dedupe]
    scheme = hash_json([kind, data.image_ids.tolist(), fold.tolist(), rest])
    return [
        _Tested(
            *(f"{prefix}fold-{number}-of-{len(numbers)}", kind, fold == number),
            notes=notes,
            fold=number,
            folds=len(numbers),
            scheme=scheme,
        )
        for number in chosen
    ]


def _parted_patients(data: DataSet, fold: Positions) -> int:
    """Return the number of patients that have images in more than one fold; 0 where patients are unknown."""
    if data.groups is None:
        return 0
    _, patient = np.unique(data.groups, return_inverse=True)
    held = np.unique(np.stack([patient, fold]), axis=1)[0]
    return int((np.bincount(held) > 1).sum())


def stratified_folds(data: DataSet, units: Positions, n_folds: int) -> Positions:
    """Return the fold of each image, from 1: stratified by class, whole units; scikit-learn's.

    Raises:
        UserError: a class with fewer units than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    require_units(data, units, np.arange(len(data)), n_folds, "folds")
    fold = np.zeros(len(data), dtype=np.int64)
    splitter = StratifiedGroupKFold(n_splits=n_folds, shuffle=True, random_state=0)
    for number, (_, test) in enumerate(splitter.split(data.labels, data.labels, units), start=1):
        fold[test] = number
    return fold


def _split(data: DataSet, units: Positions, tested: _Tested, options: SplitOptions) -> Split:
    """Turn a choice of test images into a split: without copies if asked, limited, with validation."""
    name, in_test = tested.name, tested.images
    not_trained = in_test if tested.validation is None else in_test | tested.validation
    _require_training(data, not_trained)
    eligible = np.ones(len(data), dtype=bool)
    removed = None
    if options.dedupe:
        copies = stands_in_test(data, in_test)
        eligible, removed, name = ~copies, int(copies.sum()), f"{name}-deduplicated"
        _require_training(data, not_trained | copies)
    chosen = np.flatnonzero(eligible)
    if options.limit is not None:
        chosen = limited(data, in_test, tested.validation, chosen, options.limit)
    training, test = chosen[~in_test[chosen]], chosen[in_test[chosen]]
    if tested.validation is not None:
        in_validation = tested.validation[training]
    else:
        purpose = f"validation {options.seed}"
        in_validation = cut(data, units, training, options.validation_fraction, purpose, "validation images")
    parts = (training[~in_validation], training[in_validation], test)
    leaks = find_leaks(data, training, test)
    counts = np.bincount(data.labels[test], minlength=len(data.class_names))
    return Split(
        name,
        *parts,
        hash=hash_json([data.image_ids[part].tolist() for part in parts]),
        limited_to=options.limit,
        leaks=(SLICE_LEAK, *leaks) if tested.kind == "slice" else leaks,
        notes=(*tested.notes, *_lettered_patients_parted(data, training, test)),
        removed=removed,
        unscored=tuple(class_name for class_name, n in zip(data.class_names, counts, strict=True) if not n),
        kind=tested.kind,
        fold=tested.fold,
        folds=tested.folds,
        scheme=tested.scheme,
    )


def _require_training(data: DataSet, left_out: Mask) -> None:
    present = set(np.unique(data.labels[~left_out]).tolist())
    for number, class_name in enumerate(data.class_names):
        if number not in present:
            raise UserError(f"Class '{class_name}' of '{data.name}' has no training images.")


def stands_in_test(data: DataSet, in_test: Mask) -> Mask:
    """Return which images that are not tested show a slice that is: identical, or connected by near-duplicates."""
    slices = same_slice(data)
    tested = any_of(slices, in_test, int(slices.max()) + 1)
    return np.asarray(tested[slices] & ~in_test)


def _lettered_patients_parted(data: DataSet, training: Positions, test: Positions) -> tuple[str, ...]:
    """Say how many test images are of a patient whose id differs only by a letter from one that trains or chooses."""
    if data.groups is None:
        return ()
    persons = np.array([without_letter(patient) for patient in data.groups.tolist()])
    alike = np.isin(persons[test], persons[training]) & ~np.isin(data.groups[test], data.groups[training])
    if not alike.any():
        return ()
    return (
        f"{alike.sum()} of {len(test)} test images are of patients whose id differs by a letter only from one in "
        "training: probably the same person (--groups merged keeps them together)",
    )


def find_leaks(data: DataSet, training: Positions, test: Positions) -> tuple[str, ...]:
    """Say in which ways test images are not independent of the images that train or choose."""
    leaks = []
    copies = np.isin(data.identical[test], data.identical[training])
    if copies.any():
        shared = len(np.unique(data.identical[test[copies]]))
        leaks.append(
            f"{copies.sum()} of {len(test)} test images are identical to training images "
            f"({shared} groups of copies are in both)"
        )
    if data.groups is not None:
        parted = np.isin(data.groups[test], data.groups[training])
        if parted.any():
            patients = len(np.unique(data.groups[test[parted]]))
            leaks.append(f"{parted.sum()} test images are of {patients} patients who have training images too")
    return tuple(leaks)
