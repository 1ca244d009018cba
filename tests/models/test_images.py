"""What a model is asked about: every kind of source, with its labels where it has any."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.errors import UserError
from benchmark.models.images import open_images

CLASSES = ("glioma", "notumor")


def picture(path: Path, level: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((20, 20), level, dtype=np.uint8)
    pixels[5:9, 5:9] = 200
    Image.fromarray(pixels).save(path)
    return path


def test_one_file_has_no_label_whatever_its_folder_is_named(tmp_path: Path) -> None:
    (image,) = open_images(str(picture(tmp_path / "glioma" / "a.png")), CLASSES)
    assert (image.image_id, image.class_name, image.patient) == ("a.png", None, None)
    assert image.load().shape == (20, 20)


@pytest.mark.parametrize("zipped", [False, True])
def test_folders_named_as_classes_give_labels(tmp_path: Path, zipped: bool) -> None:
    home = tmp_path / "scans"
    picture(home / "Testing" / "Glioma_tumor" / "a.png")
    picture(home / "Testing" / "no_tumor" / "b.png")
    if zipped:
        with zipfile.ZipFile(tmp_path / "scans.zip", "w") as archive:
            for path in sorted(home.rglob("*.png")):
                archive.write(path, path.relative_to(home))
        home = tmp_path / "scans.zip"
    images = open_images(str(home), CLASSES)
    assert {image.image_id: image.class_name for image in images} == {
        "Testing/Glioma_tumor/a.png": "glioma", "Testing/no_tumor/b.png": "notumor"
    }  # fmt: skip
    assert {image.class_name for image in open_images(str(home), CLASSES, unlabelled=True)} == {None}


def test_folders_of_other_names_are_asked_about_without_labels(tmp_path: Path) -> None:
    picture(tmp_path / "monday" / "a.png")
    picture(tmp_path / "b.png")
    assert [image.class_name for image in open_images(str(tmp_path), CLASSES)] == [None, None]


def test_some_classes_of_the_model_and_some_others_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "glioma" / "a.png")
    picture(tmp_path / "pituitary" / "b.png")
    with pytest.raises(UserError, match=r"can't be scored on 'pituitary'\. Give --unlabelled"):
        open_images(str(tmp_path), CLASSES)
    assert len(open_images(str(tmp_path), CLASSES, unlabelled=True)) == 2


def test_every_slice_of_a_volume_is_asked_about_as_one_patient_s(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    values = np.random.default_rng(0).integers(0, 900, (12, 10, 5)).astype(np.int16)
    values[:, :, 4] = 7  # a slice outside of the head
    nibabel.Nifti1Image(values, np.eye(4)).to_filename(tmp_path / "head.nii.gz")
    images = open_images(str(tmp_path / "head.nii.gz"), CLASSES)
    assert [image.image_id for image in images] == [f"head.nii.gz#{k}" for k in range(5)]
    assert {image.patient for image in images} == {"head.nii.gz"}
    assert images[0].load().shape == (10, 12)
    with pytest.raises(UserError, match="is constant"):
        images[4].load()
    assert [image.image_id for image in open_images(str(tmp_path), CLASSES)] == [image.image_id for image in images]


def test_a_manifest_with_labels_and_one_without(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png", 80)
    table = tmp_path / "list.csv"
    table.write_text("path,label,group\na.png,glioma,p1\nb.png,notumor,p2\n")
    labelled = open_images(str(table), CLASSES)
    assert [(i.image_id, i.class_name, i.patient) for i in labelled] == [
        ("a.png", "glioma", "p1"), ("b.png", "notumor", "p2")
    ]  # fmt: skip
    table.write_text("path,group\na.png,p1\nb.png,\n")
    without = open_images(str(table), CLASSES)
    assert [(i.class_name, i.patient) for i in without] == [(None, "p1"), (None, None)]
    assert without[0].load().shape == (20, 20)
    table.write_text("path\n../elsewhere.png\n")
    with pytest.raises(UserError, match="which is no image in its folder"):
        open_images(str(table), CLASSES)


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match="is no image and no folder"):
        open_images(str(tmp_path / "notes.txt"), CLASSES)
    with pytest.raises(UserError, match="holds no image that can be read"):
        open_images(str(tmp_path), CLASSES)
    with pytest.raises(UserError, match="does not exist"):
        open_images(str(tmp_path / "nowhere"), CLASSES)


def test_data_by_name_has_its_labels_and_patients() -> None:
    images = open_images("phantom", ("glioma", "meningioma", "notumor", "pituitary"))
    assert len(images) == 1200
    assert all(image.class_name and image.patient for image in images)
    with pytest.raises(UserError, match="'phantom' has the classes"):
        open_images("phantom", CLASSES)
