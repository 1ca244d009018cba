"""Patients' ids that probably name one person."""

import re
from collections import defaultdict
from collections.abc import Iterable

_LETTER = re.compile(r"(?<=\d)[A-Za-z]$")


def without_letter(patient: str) -> str:
    """Return a patient id without the letter that tells a second examination: ``MR040240B`` is ``MR040240``."""
    return _LETTER.sub("", patient)


def lettered_ids(patients: Iterable[str]) -> dict[str, list[str]]:
    """Return the ids that differ from another one by a letter at the end only, by what they have in common.

    Example:
        >>> lettered_ids(["MR040240", "MR040240B", "100360"])
        {'MR040240': ['MR040240', 'MR040240B']}
    """
    ids = defaultdict(list)
    for patient in sorted(set(patients)):
        ids[without_letter(patient)].append(patient)
    return {person: names for person, names in ids.items() if len(names) > 1}


def kept_apart(patients: Iterable[str]) -> str:
    """Say that ids which differ by a letter at the end only are taken for several patients; empty without such."""
    lettered = lettered_ids(patients)
    if not lettered:
        return ""
    example = " and ".join(next(iter(lettered.values()))[:2])
    ids = sum(map(len, lettered.values()))
    return (
        f"{ids} patient ids differ by a letter at the end only ({example}), probably of {len(lettered)} persons, and "
        "are taken for different patients (--groups merged joins them)"
    )


def joined_by_letter(patients: Iterable[str]) -> str:
    """Say that ids which differ by a letter at the end only are taken for one patient, with the numbers."""
    ids = set(patients)
    persons = {without_letter(patient) for patient in ids}
    numbers = f"{len(ids)} ids, {len(persons)} patients"
    return f"patient ids that differ by a letter at the end only are one patient: {numbers}"
