"""Folds, slice-level splits, dedupe, and the saved split table."""

import csv
import shutil
from dataclasses import replace

import numpy as np
import pytest

from benchmark.data.options import DataOptions, open_data
from benchmark.data.preparation.prepare import open_dataset
from benchmark.data.splits.files import save_split_table
from benchmark.data.splits.splits import SplitOptions, make_splits
from benchmark.errors import UserError
from tests.data.slices import slice_fields, write_cheng, write_folds, write_slice
from tests.data.test_splits import cohort


def test_folds_test_every_image_once_and_part_no_patient():
    data = cohort(patients=60)
    splits = make_splits(data, SplitOptions(kind="folds", validation_fraction=0.15))
    assert [split.name for split in splits] == [f"fold-{k}-of-5" for k in range(1, 6)]
    assert np.array_equal(np.sort(np.concatenate([split.test for split in splits])), np.arange(len(data)))
    for split in splits:
        members = [set(data.groups[part]) for part in (split.train, split.validation, split.test)]
        assert sum(map(len, members)) == 60
        shares = np.bincount(data.labels[split.test], minlength=3) / np.bincount(data.labels)
        assert shares == pytest.approx(0.2, abs=0.05)
        assert split.leaks == ()
    assert len({split.hash for split in splits}) == 5
    assert [(split.kind, split.fold, split.folds) for split in splits] == [("folds", k, 5) for k in range(1, 6)]


def test_the_folds_of_one_cross_validation_know_each_other():
    data = cohort(patients=60)

    def schemes(**options):
        return {split.scheme for split in make_splits(data, SplitOptions(**options))}

    several = [
        schemes(folds="all"),
        schemes(kind="slice"),
        schemes(folds="all", limit=90),
        schemes(n_folds=4, kind="folds"),
    ]
    assert [len(found) for found in several] == [1, 1, 1, 1]
    assert len(set.union(*several)) == 4
    assert schemes(folds=(2,)) == schemes(folds="all")
    assert schemes() == {""}


def test_some_folds_can_be_chosen():
    splits = make_splits(cohort(patients=60), SplitOptions(folds=(4, 2)))
    assert [split.name for split in splits] == ["fold-4-of-5", "fold-2-of-5"]
    with pytest.raises(UserError, match="There is no fold 6: give numbers from 1 to 5"):
        make_splits(cohort(patients=60), SplitOptions(folds=(6,)))


def test_official_folds_go_before_the_harness_own(tmp_path):
    data = open_dataset(str(write_cheng(tmp_path / "cheng")), size=8)
    splits = make_splits(data, SplitOptions(folds="all", validation_fraction=0.3))
    assert [split.name for split in splits] == [f"official-fold-{k}-of-4" for k in range(1, 5)]
    for number, split in enumerate(splits, start=1):
        assert np.array_equal(split.test, np.flatnonzero(data.folds == number))
        assert split.leaks == ()


def test_official_folds_that_part_the_chosen_patients_are_cut_anew(tmp_path):
    """Folds by patient id are not folds by person, where one person has two ids."""
    folder = tmp_path / "cheng"
    for patient in range(30):
        for k in range(2):
            number = 2 * patient + k + 1
            name = f"MR{patient // 2:03d}{'B' if patient % 2 else ''}"
            write_slice(folder / f"{number}.mat", slice_fields(number, 1 + patient // 2 % 3, name))
    write_folds(folder / "cvind.mat", [1 + k // 2 % 5 for k in range(60)])
    by_id = open_data(DataOptions(source=str(folder), size=16, groups="pid"))
    by_person = open_data(DataOptions(source=str(folder), size=16, groups="merged"))
    for options in (SplitOptions(folds="all"), SplitOptions(kind="folds")):
        official = make_splits(by_id, options)
        assert {split.kind for split in official} == {"official-folds"}
        assert all("probably the same person" in split.notes[0] for split in official)
        anew = make_splits(by_person, options)
        assert {split.kind for split in anew} == {"folds"}
        assert {split.leaks for split in anew} == {()}
        assert anew[0].notes == (
            "new folds are made: the official ones have 15 of the patients, as they are grouped here, on both sides",
        )
        for split in anew:
            learned = np.concatenate([split.train, split.validation])
            assert not set(by_person.groups[learned]) & set(by_person.groups[split.test])


def test_names_that_differ_by_a_letter_are_counted_across_the_split():
    data = cohort(patients=60)
    lettered = replace(data, groups=np.array([f"P{int(g[1:]) // 2}{'B' * (int(g[1:]) % 2)}" for g in data.groups]))
    (split,) = make_splits(lettered, SplitOptions(kind="holdout"))
    learned = {name.rstrip("B") for name in lettered.groups[np.concatenate([split.train, split.validation])]}
    alike = sum(name.rstrip("B") in learned for name in lettered.groups[split.test])
    assert alike > 10
    assert split.notes[0].startswith(
        f"{alike} of {len(split.test)} test images are of patients whose id differs by a"
    )
    assert split.leaks == ()
    merged = replace(data, groups=np.array([f"P{int(g[1:]) // 2}" for g in data.groups]))
    assert make_splits(merged, SplitOptions(kind="holdout"))[0].notes == ()


def test_a_slice_level_split_parts_patients_and_says_so():
    data = cohort(patients=60)
    split = make_splits(data, SplitOptions(kind="slice", folds=(1,)))[0]
    assert (split.name, split.kind, split.fold, split.folds) == ("slice-fold-1-of-5", "slice", 1, 5)
    assert split.leaks[0] == "split by slice, as asked: patients are not kept apart"
    assert "patients who have training images too" in split.leaks[1]
    assert len(set(data.groups[split.train]) & set(data.groups[split.test])) > 20


def test_folds_need_enough_patients_of_each_class():
    with pytest.raises(UserError, match="Class 'a' has 2 patients to cut folds from and needs at least 5"):
        make_splits(cohort(patients=6), SplitOptions(kind="folds"))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"kind": "official"}, "has no official split"),
        ({"kind": "holdout", "folds": (1,)}, "The split 'holdout' has no folds"),
        ({"kind": "random"}, "Unknown split 'random'"),
        ({"n_folds": 1}, "number of folds must be 2 to 100"),
    ],
)
def test_splits_that_make_no_sense(options, match):
    with pytest.raises(UserError, match=match):
        make_splits(cohort(), SplitOptions(**options))


def test_dedupe_takes_copies_out_of_training_and_leaves_the_test_set(kaggle):
    from PIL import Image, ImageOps

    for k in range(2):
        shutil.copy(kaggle / f"Training/no_tumor/0{k}.png", kaggle / f"Testing/no_tumor/copy{k}.png")
    ImageOps.mirror(Image.open(kaggle / "Training/no_tumor/05.png")).save(kaggle / "Testing/no_tumor/mirrored.png")
    data = open_dataset(str(kaggle), size=16)
    leaking = make_splits(data, SplitOptions(validation_fraction=0.2))[0]
    clean = make_splits(data, SplitOptions(validation_fraction=0.2, dedupe=True))[0]
    assert leaking.leaks
    assert leaking.removed is None
    assert clean.leaks == ()
    assert clean.removed == 3
    assert clean.name == "official-deduplicated"
    assert np.array_equal(clean.test, leaking.test)
    left_out = set(data.image_ids) - set(data.image_ids[np.concatenate([clean.train, clean.validation, clean.test])])
    assert left_out == {f"Training/no_tumor/0{k}.png" for k in (0, 1, 5)}


def test_classes_without_test_images_are_named():
    data = cohort(patients=60)
    parts = np.where((np.arange(len(data)) % 4 == 0) & (data.labels != 1), "test", "train")
    split = make_splits(replace(data, parts=parts), SplitOptions())[0]
    assert split.unscored == ("b",)


def test_the_split_table_is_saved(tmp_path):
    data = cohort(patients=60)
    splits = make_splits(data, SplitOptions(folds=(1, 2)))
    save_split_table(data, splits, tmp_path / "split.csv")
    with (tmp_path / "split.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(data)
    for split in splits:
        tested = {row["image_id"] for row in rows if row[split.name] == "test"}
        assert tested == set(data.image_ids[split.test])
    assert rows[0]["group"] == data.groups[0]
