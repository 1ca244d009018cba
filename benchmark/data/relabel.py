"""Data sets made of another by changing what is known of its images: the pixels on disk are shared.

A derived data set has a folder of its own, so that a worker opens it by
:func:`~benchmark.data.preparation.prepare.load_prepared` like any other.
"""

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.data.dataset import DataSet
from benchmark.data.duplicates.groups import independent_units
from benchmark.data.patients import groups_from, joined_by_letter, kept_apart, without_letter
from benchmark.data.preparation.cache import locked, written_whole
from benchmark.data.preparation.index import fingerprint, save_index
from benchmark.data.preparation.prepare import load_prepared
from benchmark.errors import UserError
from benchmark.hashing import hash_json

_VERSION = 3  # raised by hand when a derived data set comes to be another: it is kept on disk


def with_merged_groups(data: DataSet) -> DataSet:
    """Return the data set with patients joined whose ids differ by a letter at the end only: probably one person.

    Raises:
        UserError: patients are not known.
    """
    if data.groups is None:
        raise UserError(f"'{data.name}' has no patient ids to merge: leave --groups merged out.")
    ids = data.groups.tolist()
    merged = np.array([without_letter(patient) for patient in ids])
    return _derived(data, "merged", groups=merged, grouping=joined_by_letter(ids))


def with_groups_from(data: DataSet, regex: str) -> DataSet:
    """Return the data set with the patients that a regular expression tells from the images' ids.

    Raises:
        UserError: as :func:`benchmark.data.patients.groups_from`.
    """
    ids = groups_from(regex, data.image_ids.tolist())
    note = f"patients from the images' names by '{regex}': {len(set(ids))}"
    tag = f"grouped-{hash_json(regex)[:8]}"
    return _derived(data, tag, groups=np.array(ids), grouping=kept_apart(ids), notes=(*data.notes, note))


def with_permuted_labels(data: DataSet, seed: int) -> DataSet:
    """Return the data set with labels dealt anew among patients: the negative control.

    Each patient gets the label of another, for all slices alike, so that nothing true can be learned of a class,
    while slices of one patient still share a label. Where patients are unknown, clusters of near-duplicates take
    their place. A patient with several labels counts with the most frequent.

    Args:
        data: the images.
        seed: of the permutation.
    """
    _, unit = np.unique(independent_units(data), return_inverse=True)
    counts = np.zeros((unit.max() + 1, len(data.class_names)), dtype=np.int64)
    np.add.at(counts, (unit, data.labels), 1)
    dealt = np.random.default_rng([seed, 1]).permutation(counts.argmax(axis=1))
    labels = dealt[unit].astype(np.int64)
    note = f"labels permuted among patients (seed {seed}): a negative control, every score must be chance"
    return _derived(data, f"permuted-{seed}", labels=labels, notes=(*data.notes, note))


def _derived(data: DataSet, tag: str, **changes: Any) -> DataSet:
    """Return ``data`` with changed arrays or facts, kept in a folder named ``tag`` beside the original's."""
    changed = dataclasses.replace(data, name=f"{data.name}-{tag}", **changes)
    if data.folder is None or data.hashes is None:
        return changed
    names = [changed.class_names[label] for label in changed.labels]
    changed = dataclasses.replace(
        changed, fingerprint=fingerprint(changed.image_ids.tolist(), names, data.hashes[:, 1])
    )
    origin, home = data.folder.parent, data.folder.parent / f"{tag}-{_VERSION}"
    folder = home / data.folder.name
    if not folder.exists():
        with locked(home):
            if not (home / "index").exists():
                with written_whole(home / "index") as unfinished:
                    save_index(vars(changed), unfinished)
                    _link(origin / "index" / "thumbnails.npy", unfinished / "thumbnails.npy")
            if not folder.exists():
                with written_whole(folder) as unfinished:
                    for file in data.folder.iterdir():
                        _link(file, unfinished / file.name)
            for file in origin.glob("near-*.npz"):
                if not (home / file.name).exists():
                    _link(file, home / file.name)
    return load_prepared(folder)


def _link(file: Path, target: Path) -> None:
    """Let two names stand for one file; by a symbolic link where the file system has no hard ones."""
    try:
        os.link(file, target)
    except OSError:
        target.symlink_to(file)
