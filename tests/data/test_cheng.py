"""The Cheng data set: its files as MATLAB wrote them, its patients, its folds."""

import shutil
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

import benchmark.data.sources
from benchmark.data.preparation.prepare import open_dataset
from benchmark.data.sources.cheng_files import read_folds, read_labels, read_slice
from benchmark.errors import UserError
from tests.data.slices import slice_fields, write_cheng, write_folds, write_slice

AUTHORS_FOLDS = Path(benchmark.data.sources.__file__).with_name("cheng_cvind5fold.mat")
AUTHORS_LABELS = Path(__file__).parent / "cheng" / "label.mat"


@pytest.fixture
def cheng(tmp_path):
    return write_cheng(tmp_path / "cheng")


def refused(folder, match):
    with pytest.raises(UserError, match=match) as caught:
        open_dataset(str(folder), size=8)
    assert "\n" not in str(caught.value)


def test_a_folder_of_slices_has_patients_masks_and_folds(cheng):
    data = open_dataset(str(cheng), size=32)
    assert data.name == "cheng"
    assert data.class_names == ("glioma", "meningioma", "pituitary")
    assert data.negative_class is None
    assert data.image_ids.tolist() == [f"{number}.mat" for number in range(1, 37)]
    assert len(set(data.groups)) == 12
    assert np.bincount(data.folds).tolist() == [0, 9, 9, 9, 9]
    assert data.masks.shape == (36, 32, 32)
    assert data.licence == "CC BY 4.0"
    assert any("scaled per slice" in note for note in data.notes)
    labels = [data.class_names[label] for label in data.labels[:9]]
    assert labels == ["meningioma"] * 3 + ["glioma"] * 3 + ["pituitary"] * 3


def test_image_and_mask_are_both_turned(tmp_path):
    """The tumour is bright, wide and in the upper right: in the image, in the mask and on the border alike."""
    fields = slice_fields(5, side=64)
    stored = read_slice(write_slice(tmp_path / "5.mat", fields).read_bytes(), "5.mat")
    assert np.array_equal(stored.image, fields["image"])
    assert np.array_equal(stored.mask, fields["tumorMask"])
    inside, outside = stored.image[stored.mask == 1], stored.image[stored.mask == 0]
    assert inside.min() > outside.max()
    edge = {
        (row, column)
        for row, column in zip(*np.nonzero(stored.mask), strict=True)
        if not stored.mask[row - 1 : row + 2, column - 1 : column + 2].all()
    }
    for x, y in stored.border - 1:
        assert min((row - y) ** 2 + (column - x) ** 2 for row, column in edge) <= 2


def test_prepared_masks_lie_on_the_tumour(cheng):
    data = open_dataset(str(cheng), size=32)
    for pixels, mask in zip(data.pixels, data.masks, strict=True):
        assert pixels[mask == 1].mean() > 200
        assert pixels[mask == 0].mean() < 100


def test_slices_of_256_and_512_pixels_stand_side_by_side(tmp_path):
    for number, side in ((1, 512), (2, 256)):
        write_slice(tmp_path / "mixed" / f"{number}.mat", slice_fields(number, number, f"P{number}", side))
    data = open_dataset(str(tmp_path / "mixed"), size=64)
    assert data.native_sizes.tolist() == [[512, 512], [256, 256]]
    shares = data.masks.reshape(2, -1).mean(axis=1)
    assert shares[0] == pytest.approx(shares[1], rel=0.1)


def test_the_authors_zips_are_read_in_place(cheng, tmp_path):
    zips = tmp_path / "zips"
    zips.mkdir()
    for first, last in ((1, 18), (19, 36)):
        with zipfile.ZipFile(zips / f"brainTumorDataPublic_{first}-{last}.zip", "w") as archive:
            for number in range(first, last + 1):
                archive.write(cheng / f"{number}.mat", f"{number}.mat")
    shutil.copy(cheng / "cvind.mat", zips)
    loose, zipped = open_dataset(str(cheng), size=16), open_dataset(str(zips), size=16)
    assert zipped.fingerprint == loose.fingerprint
    assert np.array_equal(zipped.folds, loose.folds)
    single = open_dataset(str(zips / "brainTumorDataPublic_1-18.zip"), size=16)
    assert len(single) == 18


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_figshares_zip_of_zips_is_read_in_place(cheng, tmp_path, compression):
    """What "download all" gives: the author's zips, the folds and the labels in one zip, stored or compressed."""
    whole = tmp_path / "1512427.zip"
    with zipfile.ZipFile(whole, "w", compression) as outer:
        for first, last in ((1, 18), (19, 36)):
            part = tmp_path / f"brainTumorDataPublic_{first}-{last}.zip"
            with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
                for number in range(first, last + 1):
                    archive.write(cheng / f"{number}.mat", f"{number}.mat")
            outer.write(part, part.name)
        outer.write(cheng / "cvind.mat", "cvind.mat")
        outer.writestr("README.txt", "about")
    loose, zipped = open_dataset(str(cheng), size=16), open_dataset(str(whole), size=16)
    assert zipped.fingerprint == loose.fingerprint
    assert np.array_equal(zipped.folds, loose.folds)
    assert zipped.name == "cheng"
    with zipfile.ZipFile(tmp_path / "1512427.zip", "a") as outer:
        outer.writestr("inner.zip", b"no zip")
    refused(whole, r"1512427\.zip/inner\.zip' can't be read as a zip file")


def test_an_unpacked_archive_lies_some_folders_deep_and_folds_in_a_zip(cheng, tmp_path):
    deep = tmp_path / "Downloads" / "1512427" / "brainTumorDataPublic"
    shutil.copytree(cheng, deep)
    loose, found = open_dataset(str(cheng), size=16), open_dataset(str(tmp_path / "Downloads"), size=16)
    assert found.fingerprint == loose.fingerprint
    assert np.array_equal(found.folds, loose.folds)
    with zipfile.ZipFile(tmp_path / "one.zip", "w") as archive:
        for path in cheng.iterdir():
            archive.write(path, f"data/{path.name}")
    assert np.array_equal(open_dataset(str(tmp_path / "one.zip"), size=16).folds, loose.folds)


def test_the_authors_own_files():
    folds, labels = (
        read_folds(AUTHORS_FOLDS.read_bytes(), "folds"),
        read_labels(AUTHORS_LABELS.read_bytes(), "labels"),
    )
    assert np.bincount(folds).tolist() == [0, 570, 655, 562, 613, 664]
    assert np.bincount(labels).tolist() == [0, 708, 1426, 930]
    runs = {58: 1, 59: 3, 60: 1, 209: 2, 211: 1, 709: 3, 715: 2, 918: 3, 1841: 2, 3030: 1, 3031: 2, 3064: 1}
    assert all(labels[number - 1] == label for number, label in runs.items())


def test_labels_are_compared_with_the_authors(cheng):
    shutil.copy(AUTHORS_LABELS, cheng)  # its first 58 are meningiomas, ours go round
    refused(cheng, r"4\.mat' has the label 2 and .*label\.mat' gives it 1")


def test_folds_that_part_a_patient_are_refused(cheng):
    write_folds(cheng / "cvind.mat", [1 + k % 5 for k in range(36)])
    refused(cheng, r"cvind\.mat' has patient MR0000 in two folds \(1 and 2\)")


def test_folds_of_fewer_slices_are_refused(cheng):
    write_folds(cheng / "cvind.mat", [1] * 10)
    refused(cheng, "gives folds of 10 slices, and there is a slice 36")


def test_a_slice_that_stands_there_twice(cheng):
    shutil.copytree(cheng, cheng / "again")
    refused(cheng, r"Slice \d+ is there twice")


def test_a_truncated_slice_is_named_and_can_be_skipped(cheng):
    path = cheng / "7.mat"
    path.write_bytes(path.read_bytes()[:3000])
    refused(cheng, r"7\.mat' can't be read: truncated or damaged")
    data = open_dataset(str(cheng), size=8, skip_corrupt=True)
    assert len(data) == 35
    assert "7.mat" not in data.image_ids
    assert len(set(data.groups)) == 12


def damaged(folder, **changes):
    fields = slice_fields(1)
    group, header = changes.pop("group", "cjdata"), changes.pop("header", None)
    for name, value in changes.items():
        if value is None:
            del fields[name]
        else:
            fields[name] = value
    options = {"header": header} if header is not None else {}
    write_slice(folder / "1.mat", fields, group, **options)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"tumorMask": None}, r"1\.mat' has no field 'cjdata\.tumorMask'"),
        ({"PID": None}, r"1\.mat' has no field 'cjdata\.PID'"),
        ({"group": "other"}, r"1\.mat' has no field 'cjdata'"),
        ({"group": "other", "header": b""}, r"1\.mat' is an HDF5 file, but not MATLAB's"),
        ({"label": np.array([[4.0]])}, r"1\.mat' has the label 4: 1 \(meningioma\)"),
        ({"label": np.array([[1.5]])}, r"1\.mat' has the label 1\.5"),
        ({"tumorMask": np.ones((16, 32), np.uint8)}, r"1\.mat': the mask is 16 x 32 and the image 32 x 32"),
        ({"image": np.full((32, 32), 7, np.int16)}, r"1\.mat' is constant"),
        ({"image": np.full((32, 32), np.nan)}, r"1\.mat' holds values that are not finite"),
        ({"image": np.full((32, 32), b"a")}, r"1\.mat': the field 'cjdata\.image' holds no numbers"),
        ({"label": np.array([[np.nan]])}, r"1\.mat' has the label nan"),
        ({"label": np.array([[b"1"]])}, r"1\.mat': the field 'cjdata\.label' holds no numbers"),
        ({"PID": np.array([[-1.0]])}, r"1\.mat': the field 'cjdata\.PID' does not hold the characters"),
    ],
)
def test_damaged_slices_are_named(cheng, changes, match):
    damaged(cheng, **changes)
    refused(cheng, match)


def test_an_image_that_claims_to_be_enormous_is_not_unpacked(cheng):
    fields = slice_fields(1)
    del fields["image"]
    write_slice(cheng / "1.mat", fields)
    with h5py.File(cheng / "1.mat", "a") as file:  # a few bytes on disk, 40 GB in memory
        file.create_dataset("cjdata/image", (200_000, 100_000), np.int16, chunks=(512, 512), compression="gzip")
    refused(cheng, r"1\.mat': the field 'cjdata\.image' claims 20000000000 values")


def test_folds_that_are_no_folds(cheng):
    write_folds(cheng / "cvind.mat", [1.5] * 36)
    refused(cheng, r"cvind\.mat' holds folds that are not whole numbers from 1")
    write_slice(cheng / "cvind.mat", {"label": np.array([[1.0]])})
    refused(cheng, r"cvind\.mat' has no field 'cvind'")


def test_a_mat_file_that_is_no_hdf5(cheng):
    (cheng / "1.mat").write_bytes(b"MATLAB 5.0 MAT-file and so on")
    refused(cheng, r"1\.mat' can't be read: not MATLAB v7\.3 \(HDF5\)")
