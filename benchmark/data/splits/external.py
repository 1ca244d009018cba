"""The split of an external test: trained on one data set's own training part, tested on images of another.

What both sets hold is left out of training: near-duplicates (the same slice, stored twice), all other slices of their
patients, and patients whose id stands in both sets.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from benchmark.data.dataset import DataSet, Positions, Split
from benchmark.data.duplicates.groups import any_of, independent_units, same_slice
from benchmark.data.patients import ALONE
from benchmark.data.sources.external_test import PREFIX
from benchmark.data.splits.splits import find_leaks
from benchmark.hashing import hash_json

KIND = "external"
FEWEST_IMAGES = 5  # of a class, for training
_FEWEST_SIGNS = 5  # of an id that tells a person; "p007" is a place in somebody's list
_COUNTER = re.compile(r"(?i)^(?:patient|pat|pt|subject|subj|sub|case|pid|p)?[ _-]*0*(?=[0-9a-z])")


def external_split(both: DataSet, home: tuple[DataSet, Split], tested: tuple[DataSet, Split]) -> Split:
    """Return the split that trains on a set's own training images and tests on all images of another's split.

    Args:
        both: the two sets as one (:class:`~benchmark.data.sources.external_test.CombinedSource`).
        home: the set that trains, with its own split: its training and validation images are taken, as far as the
            other set does not hold them.
        tested: the set that tests, with its own split: all of its images are taken, whatever their part.

    Returns:
        A split of ``both``. A part may be empty, and a class may be without training images: see
        :func:`why_untrainable`.
    """
    position = {name: place for place, name in enumerate(both.image_ids.tolist())}
    parts = [_positions(home[0], getattr(home[1], part), position) for part in ("train", "validation")]
    of_test = np.concatenate([tested[1].train, tested[1].validation, tested[1].test])
    test = _positions(tested[0], of_test, position, PREFIX)
    copies, of_patients = shared(both, np.concatenate(parts), test)
    left_out = copies | of_patients
    train, validation = (part[~left_out[part]] for part in parts)
    counts = np.bincount(both.labels[test], minlength=len(both.class_names))
    notes = _counted(int(copies.sum()), int(of_patients.sum()), sum(map(len, parts)), tested[0].name)
    return Split(
        KIND,
        train,
        validation,
        test,
        hash=hash_json([both.image_ids[part].tolist() for part in (train, validation, test)]),
        limited_to=home[1].limited_to,
        leaks=find_leaks(both, np.concatenate([train, validation]), test),
        notes=(*notes, *_short_ids(both, np.concatenate(parts), test)),
        removed=int(left_out.sum()),
        unscored=tuple(name for name, n in zip(both.class_names, counts, strict=True) if not n),
        kind=KIND,
    )


def shared(
    both: DataSet, trained: Positions, tested: Positions
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return which of the images that would train must not, since the test set holds them or their patient.

    Args:
        both: the two sets as one; patients of the test images begin with ``test-data/``.
        trained, tested: positions.

    Returns:
        Two arrays, bool of shape (N,), that have no image in common: near-duplicates of test images, and other images
        of patients who have test images (by their id, or by a near-duplicate), and what is connected to those.
    """
    chosen, of_test = np.zeros(len(both), dtype=bool), np.zeros(len(both), dtype=bool)
    chosen[trained], of_test[tested] = True, True
    slices = same_slice(both)
    copies = chosen & any_of(slices, of_test, int(slices.max()) + 1)[slices]
    units = independent_units(_one_name_a_person(both))
    connected = chosen & any_of(units, of_test, int(units.max()) + 1)[units]
    return copies, connected & ~copies


def why_untrainable(both: DataSet, split: Split, tested_on: str) -> str:
    """Return a sentence on why nothing can be trained on what is left of the training images; empty where it can.

    A class of which images were left out needs five at least: what is learned of fewer says nothing of the set.
    """
    counts = np.bincount(both.labels[split.train], minlength=len(both.class_names)).tolist()
    few = [f"{n} of {name}" for name, n in zip(both.class_names, counts, strict=True) if n < FEWEST_IMAGES]
    if not split.removed or (not few and len(split.validation)):
        return ""
    left = f"training images left are {', '.join(few)}" if few else "no validation image is left"
    return (
        f"{tested_on} holds too much of these images: {split.removed} stand in both sets, or their patients do, and "
        f"{left}."
    )


def is_telling(patient: str) -> bool:
    """Return whether a patient's id is long enough to be one person's: ``MR040240`` is, ``p007`` is not.

    Two hospitals may both number their patients from 1.
    """
    return not patient.startswith(ALONE) and sum(map(str.isalnum, _COUNTER.sub("", patient))) >= _FEWEST_SIGNS


def _positions(data: DataSet, chosen: Positions, position: Mapping[str, int], prefix: str = "") -> Positions:
    """Return where images of a set stand among those of both; classes that are not trained are not there."""
    names = (f"{prefix}{name}" for name in data.image_ids[chosen].tolist())
    return np.array(sorted(position[name] for name in names if name in position), dtype=np.int64)


def _one_name_a_person(both: DataSet) -> DataSet:
    """Return the sets with one name for patients whose telling id stands in both."""
    if both.groups is None:
        return both
    own = [name.removeprefix(PREFIX) for name in both.groups.tolist()]
    names = [short if is_telling(short) else name for short, name in zip(own, both.groups.tolist(), strict=True)]
    return replace(both, groups=np.array(names))


def _counted(copies: int, of_patients: int, trained: int, tested_on: str) -> tuple[str, ...]:
    if not copies + of_patients:
        return (f"none of the {trained} training images is a near-duplicate of one in {tested_on}",)
    also = f", {of_patients} other images of patients who stand in both" if of_patients else ""
    return (
        f"{copies + of_patients} of {trained} training images are left out, since {tested_on} holds them too: "
        f"{copies} near-duplicates{also}",
    )


def _short_ids(both: DataSet, trained: Positions, tested: Positions) -> tuple[str, ...]:
    """Say which ids stand in both sets and are not taken for the same person, being too short to tell one."""
    if both.groups is None:
        return ()
    names = {name.removeprefix(PREFIX) for name in both.groups[tested].tolist()}
    alike = sorted(
        name
        for name in names & set(both.groups[trained].tolist())
        if not name.startswith(ALONE) and not is_telling(name)
    )
    if not alike:
        return ()
    return (
        f"{len(alike)} patient ids stand in both sets ({alike[0]}) and are too short to tell a person: they are "
        "taken for different patients; where they are not, give longer ids",
    )
