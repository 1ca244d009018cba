"""Cheng's slices as pictures: recognised by their numbers, with patients and folds from the table."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.data.options import DataOptions, open_data
from benchmark.data.sources.cheng_numbers import slice_facts
from benchmark.data.splits.splits import SplitOptions, make_splits
from tests.data.slices import patchy

NUMBERS = [*range(1, 120), *range(200, 230), *range(705, 820), *range(3025, 3065)]
FOLDERS = {"meningioma": "1", "glioma": "2", "pituitary": "3"}


def picture(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(patchy(number, 16)).save(path)


def test_the_table_is_the_authors():
    table = slice_facts()
    assert list(table) == list(range(1, 3065))
    assert len({facts.group for facts in table.values()}) == 233
    folds: dict[str, set[int]] = {}
    for facts in table.values():
        folds.setdefault(facts.group, set()).add(facts.fold)
    assert all(len(numbers) == 1 for numbers in folds.values())
    labels = [facts.class_name for facts in table.values()]
    assert [labels.count(name) for name in ("glioma", "meningioma", "pituitary")] == [1426, 708, 930]


@pytest.mark.parametrize(
    "name",
    [
        lambda n, label: f"{FOLDERS[label]}/{n}.jpg",
        lambda n, label: f"{label}_tumor/{n:04d}.png",
        lambda n, label: f"{label}/{label}_{n}.jpg",
        lambda n, label: f"{FOLDERS[label]}/{n}_image_{FOLDERS[label]}.png",
    ],
)
def test_pictures_get_their_patients_back(tmp_path, name):
    table = slice_facts()
    for number in NUMBERS:
        picture(tmp_path / "set" / name(number, table[number].class_name), number)
    data = open_data(DataOptions(source=str(tmp_path / "set"), size=8, groups="pid"))
    assert data.class_names == ("glioma", "meningioma", "pituitary")
    assert len(data) == len(NUMBERS)
    assert set(data.groups) == {table[number].group for number in NUMBERS}
    assert sorted(zip(data.groups, data.folds, strict=True)) == sorted(
        (table[number].group, table[number].fold) for number in NUMBERS
    )
    assert "CC BY 4.0" in data.licence
    assert any("recognised as Cheng's slices" in note for note in data.notes)
    careful = open_data(DataOptions(source=str(tmp_path / "set"), size=8))
    assert len(set(careful.groups)) < len(set(data.groups))


def test_a_random_split_of_the_pictures_is_not_taken_unless_asked_for(tmp_path):
    table = slice_facts()
    for number in NUMBERS:
        part = "Testing" if number % 5 == 0 else "Training"
        picture(tmp_path / "set" / part / table[number].class_name / f"{number}.jpg", number)
    data = open_data(DataOptions(source=str(tmp_path / "set"), size=8))
    (split,) = make_splits(data, SplitOptions(validation_fraction=0.2))
    assert split.name == "holdout"
    assert split.leaks == ()
    in_test = data.parts == "test"
    parted = int(np.isin(data.groups[in_test], data.groups[~in_test]).sum())
    assert parted > 40
    assert split.notes[0] == (
        f"the folders' own split is not taken: {parted} of its {in_test.sum()} test images have their patient in "
        "training (--split official takes it)"
    )
    (asked,) = make_splits(data, SplitOptions(kind="official", validation_fraction=0.2))
    assert asked.name == "official"
    assert any(leak.startswith(f"{parted} test images are of ") for leak in asked.leaks)


def test_numbers_that_do_not_fit_the_table_are_not_chengs(tmp_path):
    for k, label in enumerate(("glioma", "meningioma", "pituitary")):
        for number in range(1, 111):
            picture(tmp_path / "set" / label / f"{200 * k + number}.png", 1000 * k + number)
    data = open_data(DataOptions(source=str(tmp_path / "set"), size=8))
    assert data.groups is None
    assert data.licence == ""


def test_a_manifest_of_the_slices_is_recognised_too(tmp_path):
    table = slice_facts()
    lines = ["path,label,group"]
    for number in NUMBERS:
        picture(tmp_path / "set" / f"images/{number}.jpg", number)
        lines.append(f"images/{number}.jpg,{table[number].class_name},{table[number].group}")
    (tmp_path / "set/manifest.csv").write_text("\n".join(lines))
    data = open_data(DataOptions(source=str(tmp_path / "set"), size=8))
    assert data.name == "set-merged"
    assert data.folds is not None
    assert "figshare" in data.citation
