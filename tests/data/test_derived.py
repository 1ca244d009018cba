"""Data sets made of others: merged patients, permuted labels, external test data."""

from dataclasses import replace

import numpy as np
import pytest

from benchmark.data.options import DataOptions, open_data, parse_class_mapping, parse_folds
from benchmark.data.patients import without_letter
from benchmark.data.preparation.prepare import load_prepared
from benchmark.data.relabel import with_merged_groups, with_permuted_labels
from benchmark.data.splits.splits import SplitOptions, make_splits
from benchmark.errors import UserError
from tests.data.slices import slice_fields, write_cheng, write_slice
from tests.data.test_splits import cohort


@pytest.mark.parametrize(
    ("patient", "merged"),
    [("MR040240B", "MR040240"), ("MR040240", "MR040240"), ("100360", "100360"), ("abc", "abc"), ("MR1BC", "MR1BC")],
)
def test_a_letter_suffix_does_not_make_a_patient(patient, merged):
    assert without_letter(patient) == merged


def test_merged_groups_are_kept_for_workers(tmp_path):
    folder = tmp_path / "cheng"
    for number in range(1, 13):
        patient = f"MR{(number + 1) // 2:03d}{'B' if number % 2 else ''}"
        write_slice(folder / f"{number}.mat", slice_fields(number, 1 + number % 3, patient))
    plain = open_data(DataOptions(source=str(folder), size=16, groups="pid"))
    merged = open_data(DataOptions(source=str(folder), size=16))  # the careful side, for this set is known
    assert len(set(plain.groups)) == 12
    assert plain.name == "cheng"
    assert plain.grouping.startswith("12 patient ids differ by a letter at the end only (MR001 and MR001B)")
    assert len(set(merged.groups)) == 6
    assert merged.name == "cheng-merged"
    assert merged.fingerprint == plain.fingerprint  # the images and labels are the same, and so is the file of pixels
    again = load_prepared(merged.folder)
    assert again.groups.tolist() == merged.groups.tolist()
    assert np.array_equal(again.pixels, plain.pixels)
    assert merged.grouping.endswith("are one patient: 12 ids, 6 patients")
    assert again.grouping == merged.grouping
    larger = open_data(DataOptions(source=str(folder), size=32, groups="merged"))
    assert larger.size == 32
    assert len(set(larger.groups)) == 6


def test_merging_needs_patients(kaggle):
    with pytest.raises(UserError, match="has no patient ids to merge"):
        open_data(DataOptions(source=str(kaggle), size=8, groups="merged"))


def test_permuted_labels_are_dealt_by_patient(tmp_path):
    folder = write_cheng(tmp_path / "cheng")
    plain = open_data(DataOptions(source=str(folder), size=16))
    permuted = open_data(DataOptions(source=str(folder), size=16, permute_labels=3, groups="pid"))
    for patient in set(plain.groups):
        assert len(set(permuted.labels[permuted.groups == patient])) == 1
    assert not np.array_equal(permuted.labels, plain.labels)
    assert np.bincount(permuted.labels).tolist() == np.bincount(plain.labels).tolist()
    assert permuted.fingerprint != plain.fingerprint
    assert permuted.name == "cheng-permuted-3"
    again = load_prepared(permuted.folder)
    assert np.array_equal(again.labels, permuted.labels)
    other = with_permuted_labels(plain, 4)
    assert other.fingerprint != permuted.fingerprint


def test_permuting_in_memory_keeps_the_balance_of_patients():
    data = cohort(patients=90)
    permuted = with_permuted_labels(data, 0)
    before, after = (
        np.bincount([d.labels[d.groups == name][0] for name in np.unique(d.groups)]) for d in (data, permuted)
    )
    assert before.tolist() == after.tolist()
    assert with_merged_groups(replace(data, groups=np.char.add(data.groups, "B"))).groups[0] == "p0"


@pytest.fixture
def elsewhere(tmp_path, draw):
    """Another hospital's images: two classes of three under other names, and one that nobody trains."""
    for c, folder in enumerate(("glioma", "healthy", "metastasis")):
        for k in range(5):
            draw(f"elsewhere/{folder}/{k}.png", 1000 + 10 * c + k)
    return tmp_path / "elsewhere"


def test_external_test_data_is_matched_by_class(kaggle, elsewhere):
    data = open_data(DataOptions(source=str(kaggle), size=8, test_data=str(elsewhere)))
    assert data.class_names == ("glioma", "notumor", "pituitary")
    assert np.bincount(data.labels[data.parts == "train"]).tolist() == [12, 12, 12]
    assert np.bincount(data.labels[data.parts == "test"], minlength=3).tolist() == [5, 5, 0]
    assert all(name.startswith("test-data/") for name in data.image_ids[data.parts == "test"])
    notes = " / ".join(data.notes)
    assert "test classes that are not trained are left out: metastasis" in notes
    assert "classes without test images are left out of averages: pituitary" in notes
    assert "12 official test images of kaggle are left out" in notes
    split = make_splits(data, SplitOptions(seed=0, validation_fraction=0.2))[0]
    assert split.unscored == ("pituitary",)
    assert len(split.test) == 10


def test_a_mapping_renames_classes_of_the_test_data(kaggle, elsewhere):
    options = DataOptions(
        source=str(kaggle), size=8, test_data=str(elsewhere), test_classes=(("metastasis", "pituitary"),)
    )
    data = open_data(options)
    assert np.bincount(data.labels[data.parts == "test"]).tolist() == [5, 5, 5]
    with pytest.raises(
        UserError, match=r"names 'metastases', which the test data 'elsewhere' has not\. Did you mean"
    ):
        open_data(replace(options, test_classes=(("metastases", "pituitary"),)))
    with pytest.raises(UserError, match="names 'pineal', which the training data 'kaggle' has not"):
        open_data(replace(options, test_classes=(("metastasis", "pineal"),)))
    with pytest.raises(UserError, match="A class mapping needs --test-data"):
        open_data(replace(options, test_data=None))


def test_test_data_without_a_common_class(kaggle, draw, tmp_path):
    for name in ("cat", "dog"):
        draw(f"animals/{name}/1.png", len(name))
    with pytest.raises(UserError, match="have no class in common"):
        open_data(DataOptions(source=str(kaggle), size=8, test_data=str(tmp_path / "animals")))


def test_patients_of_one_side_keep_their_groups(kaggle, tmp_path):
    folder = write_cheng(tmp_path / "cheng")
    data = open_data(DataOptions(source=str(folder), size=8, test_data=str(kaggle)))
    assert len(set(data.groups[data.parts == "train"])) == 12
    assert len(set(data.groups[data.parts == "test"])) == 32  # glioma and pituitary, each image a patient
    assert any("the patients of kaggle are unknown" in note for note in data.notes)
    assert data.masks is not None


def test_command_line_values_are_read():
    assert parse_class_mapping(("a=b", " c = d ")) == (("a", "b"), ("c", "d"))
    assert parse_folds("1,3") == (1, 3)
    assert parse_folds("all") == "all"
    assert parse_folds(None) is None
    with pytest.raises(UserError, match="must be TEST_CLASS=TRAINING_CLASS"):
        parse_class_mapping(("a",))
    with pytest.raises(UserError, match="give 'all', or numbers"):
        parse_folds("one")
