"""Cheng's slices as pictures: told by their numbers, with the patients and folds that the pictures lost.

The set is passed around as JPEG or PNG files that are named after the slices (``715.jpg``, ``glioma_715.png``,
``1000_image.png``, ``2/715.png``). The numbers and classes of the slices are facts, and a table of them comes with
this package: where every picture's number has its class in the table, patients and the author's folds are known.
"""

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from benchmark.data.sources.base import Item
from benchmark.data.sources.cheng_files import N_SLICES, read_folds

CITATION = (
    "J. Cheng, brain tumor dataset, figshare, doi:10.6084/m9.figshare.1512427; J. Cheng et al., Enhanced "
    "performance of brain tumor classification via tumor region augmentation and partition, PLoS ONE 10(10), 2015"
)
LICENCE = "CC BY 4.0"
OWN_FOLDS = Path(__file__).with_name("cheng_cvind5fold.mat")  # the author's
FEWEST = 300  # pictures: of fewer the numbers could agree with the table by chance
_CLASS_SIZES = (708, 930, 1426)
_TABLE = Path(__file__).with_name("cheng_patients.csv")


@dataclass(frozen=True)
class Recognised:
    """Pictures that are Cheng's slices.

    Args:
        items: with class, patient and fold from the table; as they were where the files do not tell the slices.
        note: what was recognised, and from what.
    """

    items: tuple[Item, ...]
    note: str


@lru_cache(maxsize=1)
def slice_facts() -> dict[int, Item]:
    """Return what the table says of each slice, by slice numbers from 1: its class, its PID, its fold from 1."""
    folds = read_folds(OWN_FOLDS.read_bytes(), str(OWN_FOLDS)).tolist()
    with _TABLE.open(encoding="utf-8", newline="") as stream:
        return {
            number: Item(f"{number}.mat", cells["label"], group=cells["patient"], fold=folds[number - 1])
            for cells in csv.DictReader(stream)
            for number in [int(cells["slice"])]
        }


def recognise_cheng(items: Sequence[Item]) -> Recognised | None:
    """Return the pictures with what the table says of them, or ``None`` where they are not Cheng's.

    They are where each has another slice's number, and the pictures of each class have one class in the table. A
    patient that an item has already is kept. Without such numbers, the numbers of images in three classes (1426, 708
    and 930) still tell the set, but not its patients.
    """
    sizes = Counter(item.class_name for item in items)
    if len(sizes) != len(_CLASS_SIZES) or len(items) < FEWEST or len(items) > N_SLICES:
        return None
    for place in (0, -1):  # the first number of a name, or the last
        numbers = [_number(item.image_id, place) for item in items]
        labels = _labels(items, numbers)
        if labels is not None:
            return Recognised(_with_facts(items, numbers), _note(len(items)))
    if tuple(sorted(sizes.values())) != _CLASS_SIZES:
        return None
    note = (
        "these are the numbers of images of Cheng's set (figshare 1512427), but the files are not named after its "
        "slices: the patients can't be restored"
    )
    return Recognised(tuple(items), note)


def _number(image_id: str, place: int) -> int:
    digits = re.findall(r"\d+", image_id.rpartition("/")[2].rpartition(".")[0])
    return int(digits[place]) if digits else 0


def _labels(items: Sequence[Item], numbers: Sequence[int]) -> dict[str, str] | None:
    """Return the table's class for each class of the pictures; ``None`` where they do not match one to one."""
    table = slice_facts()
    if len(set(numbers)) < len(numbers) or not all(number in table for number in numbers):
        return None
    labels: dict[str, set[str]] = defaultdict(set)
    for item, number in zip(items, numbers, strict=True):
        labels[item.class_name].add(table[number].class_name)
    matched = {name: next(iter(ones)) for name, ones in labels.items() if len(ones) == 1}
    return matched if len(matched) == len(labels) == len(set(matched.values())) else None


def _with_facts(items: Sequence[Item], numbers: Sequence[int]) -> tuple[Item, ...]:
    table = slice_facts()
    return tuple(
        replace(item, class_name=facts.class_name, group=item.group or facts.group, fold=facts.fold)
        for item, facts in zip(items, (table[number] for number in numbers), strict=True)
    )


def _note(count: int) -> str:
    return (
        f"recognised as Cheng's slices (figshare 1512427) by their numbers, {count} of {N_SLICES}; patients and the "
        "author's folds are from the table of this package"
    )
