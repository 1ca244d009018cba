"""What a user can get wrong about data: one clear sentence each, and nothing half-written."""

import os
import shutil
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest

from benchmark.data.preparation.prepare import open_dataset
from benchmark.data.splits.splits import SplitOptions, make_splits
from benchmark.errors import UserError


def refused(spec: Path | str, match: str, **options: object) -> None:
    with pytest.raises(UserError, match=match) as caught:
        open_dataset(str(spec), size=8, **options)
    assert "\n" not in str(caught.value)


def test_a_missing_source(tmp_path):
    refused(tmp_path / "nowhere", r"does not exist.* a name \(phantom, cheng")


def test_an_empty_folder(tmp_path):
    refused(tmp_path, "holds no image")


def test_a_file_that_is_no_archive(tmp_path, draw):
    refused(draw("picture.png"), "neither a folder, a .zip file nor a manifest")
    (tmp_path / "fake.zip").write_bytes(b"this is no zip file")
    refused(tmp_path / "fake.zip", "can't be read as a zip file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_folder(kaggle):
    (kaggle / "Training").chmod(0)
    refused(kaggle, "can't be read")


def test_images_without_class_folders(tmp_path, draw):
    draw("loose/a.png", 1)
    draw("loose/b.png", 2)
    refused(tmp_path / "loose", "not in class folders")


def test_one_class_only(plain):
    shutil.rmtree(plain / "no")
    refused(plain, "one class only")


def test_an_empty_class_folder(kaggle):
    (kaggle / "Training/meningioma_tumor").mkdir()
    refused(kaggle, "Class folder 'Training/meningioma_tumor' .* holds no image")


def test_no_training_images(kaggle):
    shutil.rmtree(kaggle / "Training")
    refused(kaggle, "no training images")


def test_a_class_that_is_only_tested(kaggle):
    shutil.rmtree(kaggle / "Training/pituitary_tumor")
    data = open_dataset(str(kaggle), size=8)
    with pytest.raises(UserError, match=r"Class 'pituitary' .* has no training images"):
        make_splits(data, SplitOptions(seed=0, validation_fraction=0.1))[0]


def test_a_corrupt_image_is_named_and_skipped_only_on_request(kaggle):
    damaged = kaggle / "Training/no_tumor/03.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    refused(kaggle, "03.png' can't be read .*--skip-corrupt")
    data = open_dataset(str(kaggle), size=8, skip_corrupt=True)
    assert len(data) == 47
    assert not any("no_tumor/03.png" in name for name in data.image_ids if name.startswith("Training"))
    assert len(data.skipped) == 1
    assert "03.png" in data.skipped[0]
    assert (data.pixels.reshape(47, -1).std(axis=1) > 0).all()
    refused(kaggle, "03.png' can't be read .*--skip-corrupt")  # the prepared rest changes nothing


def test_nothing_but_corrupt_images(plain):
    for path in plain.rglob("*.png"):
        path.write_bytes(b"damaged")
    refused(plain, "No image of .* can be read", skip_corrupt=True)


def test_a_refused_data_set_leaves_nothing_half_written(plain, tmp_path):
    next(plain.rglob("*.png")).write_bytes(b"damaged")
    refused(plain, "can't be read", cache=tmp_path / "cache")
    assert {path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()} <= {".lock"}


@pytest.mark.parametrize("size", [0, -5, 7, 5000])
def test_a_size_that_makes_no_sense(kaggle, size):
    with pytest.raises(UserError, match="Image size must be 8 to 4096"):
        open_dataset(str(kaggle), size=size)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_cache_that_is_not_writable(kaggle, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    refused(kaggle, "cache folder .* not writable", cache=tmp_path / "locked")


def test_a_cache_that_is_a_file(kaggle, tmp_path):
    (tmp_path / "file").write_text("")
    refused(kaggle, "cache folder .* can't be created", cache=tmp_path / "file")


@pytest.mark.parametrize("name", ["../outside.png", "/etc/outside.png", "a/../../outside.png", "C:/outside.png"])
def test_a_zip_that_escapes_its_folder(kaggle, zipped, name):
    path = zipped(kaggle)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"x")
    refused(path, "leads out of the archive")


def test_a_zip_with_a_link(kaggle, zipped):
    path = zipped(kaggle)
    link = zipfile.ZipInfo("Training/no_tumor/link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    refused(path, "is a link")


def test_a_zip_with_the_same_image_twice(kaggle, zipped):
    path = zipped(kaggle)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("Training/no_tumor/05.png", b"x")
    refused(path, "its member 'Training/no_tumor/05.png' is in it twice")


def test_a_zip_bomb(kaggle, zipped):
    path = zipped(kaggle)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("Training/no_tumor/bomb.png", bytes(64 * 2**20))
    refused(path, "'Training/no_tumor/bomb.png' would unpack to 64 MiB")


def test_a_zip_with_a_damaged_member(kaggle, zipped):
    path = zipped(kaggle)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        offset = archive.getinfo("Training/no_tumor/05.png").header_offset
    data[offset + 200] ^= 255
    path.write_bytes(data)
    refused(path, "Training/no_tumor/05.png' can't be unpacked")


def test_links_out_of_a_folder(kaggle, tmp_path, draw):
    (kaggle / "Training/no_tumor/link.png").symlink_to(draw("elsewhere/secret.png"))
    refused(kaggle, "links out of its folder")


def test_links_to_folders(kaggle):
    (kaggle / "Training/meningioma").symlink_to(kaggle / "Training/no_tumor")
    refused(kaggle, "is a link to a folder")


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0, np.nan])
def test_fractions_that_make_no_sense(kaggle, fraction):
    data = open_dataset(str(kaggle), size=8)
    with pytest.raises(UserError, match="validation fraction must lie between 0 and 1"):
        make_splits(data, SplitOptions(seed=0, validation_fraction=fraction))[0]


def test_a_limit_that_is_too_small(kaggle):
    data = open_dataset(str(kaggle), size=8)
    with pytest.raises(UserError, match="--limit 5 is too small: at least 6"):
        make_splits(data, SplitOptions(seed=0, validation_fraction=0.1, limit=5))[0]
    with pytest.raises(UserError, match=r"Class 'glioma' has 1 distinct slice .* raise --limit"):
        make_splits(data, SplitOptions(seed=0, validation_fraction=0.1, limit=6))[0]
