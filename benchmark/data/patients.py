"""Patients: ids that probably name one person, and names of files that tell patients."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmark.data.sources.base import Item
from benchmark.errors import UserError

ALONE = "image "  # how the patient of an image begins whose patient is unknown, where others are known
_MOSTLY_SEVERAL = 0.7  # patients for each image, at most: else most have one image only
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
    ids = {patient for patient in patients if ALONE not in patient}  # those that are known
    persons = {without_letter(patient) for patient in ids}
    numbers = f"{len(ids)} ids, {len(persons)} patients"
    return f"patient ids that differ by a letter at the end only are one patient: {numbers}"


@dataclass(frozen=True)
class NamePattern:
    """A way in which people name slices after patients.

    Args:
        regex: searched in an image id; its group is the patient.
    """

    regex: str

    def patients(self, image_ids: Sequence[str]) -> list[str] | None:
        """Return the patient of each image; ``None`` where a name does not fit."""
        matches = [re.search(self.regex, name) for name in image_ids]
        return [match[1] for match in matches if match] if all(matches) else None


_PERSON = r"(?:patient|pat|pt|subject|subj|sub|case|pid|p)"
NAME_PATTERNS = (
    NamePattern(rf"(?i)/({_PERSON}[ _-]*\d+[a-z]?)/"),  # Patient 7/slice 3.png
    NamePattern(rf"(?i)(?:^|[/_ -])({_PERSON}[ _-]*\d+[a-z]?)[ _.(-]+[^/]*\d[^/]*$"),  # p007_s03.png
    NamePattern(r"(TCGA[-_]\w\w[-_]\w{4})"),  # TCGA_CS_4941_19960909_15.tif
    NamePattern(r"(?i)([^/]*\d[^/]*?)[ _-]+(?:slice|slc|sl|s|z|frame|img|image)[ _#-]*\d+\.[^/]*$"),  # IXI002_z31.png
    NamePattern(r"(?i)/([^/]*\d[^/]*)/(?:slice|slc|sl|s|z|frame|img|image|im)?[ _#-]*\d+\.[^/]*$"),  # a17/003.png
)


def names_note(items: Sequence[Item]) -> tuple[str, ...]:
    """Say that images whose patients are unknown are named as if after patients, and which expression tells them."""
    if any(item.group is not None for item in items):
        return ()
    image_ids = [item.image_id for item in items]
    for pattern in NAME_PATTERNS:
        patients = pattern.patients(image_ids)
        if patients is not None and 1 < len(set(patients)) < _MOSTLY_SEVERAL * len(items):
            return (
                f"these names look like {len(set(patients))} patients: name them in a manifest's column 'group', or "
                f"give --groups-from '{pattern.regex}'",
            )
    return ()


def groups_from(regex: str, image_ids: Sequence[str]) -> list[str]:
    """Return the patient of each image, as a regular expression tells it from the image's id.

    Args:
        regex: searched in the id, which is the path below the data's folder; its groups, joined by ``-``, are the
            patient, or without groups the whole match.
        image_ids: the images.

    Raises:
        UserError: not a regular expression; an image that it does not match.
    """
    try:
        pattern = re.compile(regex)
    except re.error as error:
        raise UserError(f"--groups-from '{regex}' is no regular expression ({error}).") from None
    patients = []
    for name in image_ids:
        match = pattern.search(name)
        patient = "-".join(part or "" for part in match.groups()) if match and pattern.groups else match and match[0]
        if not patient:
            missing = sum(pattern.search(other) is None for other in image_ids)
            raise UserError(
                f"--groups-from '{regex}' finds no patient in '{name}' ({max(1, missing)} of {len(image_ids)} names)."
            )
        patients.append(patient)
    return patients
