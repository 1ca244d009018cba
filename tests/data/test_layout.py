"""Folders and archives as people have them: odd names, odd suffixes, two tasks, classes twice, parts of any name."""

import os
import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from benchmark.cli.data import data_command
from benchmark.data.options import DataOptions, open_data
from benchmark.data.preparation.prepare import open_dataset
from benchmark.data.sources import open_source
from benchmark.data.sources.layout import part_of
from benchmark.data.splits.splits import SplitOptions, make_splits
from benchmark.errors import UserError
from tests.data.slices import patchy


def classes(draw, folder, names=("glioma", "notumor"), count=8, start=0):
    for c, name in enumerate(names):
        for k in range(count):
            draw(f"{folder}/{name}/im{k:03d}.png", start + 100 * c + k)


def refused(folder, match):
    with pytest.raises(UserError, match=match) as caught:
        open_dataset(str(folder), size=8)
    assert "\n" not in str(caught.value)


def test_a_hash_in_a_name_is_a_character_like_another(tmp_path, draw):
    classes(draw, "set")
    draw("set/glioma/case #1.png", 901)
    draw("set/glioma/#2/a#b.png", 902)
    draw("set/notumor/x.png#3.png", 903)
    assert len(open_dataset(str(tmp_path / "set"), size=8)) == 19


def test_jpeg_is_read_by_any_of_its_suffixes_and_what_is_left_out_is_named(tmp_path, draw):
    classes(draw, "set")
    for number, suffix in enumerate((".jfif", ".jpe", ".JPEG", ".jif", ".pjpeg", ".JPG", "")):
        image = Image.fromarray(patchy(number))
        image.save(tmp_path / f"set/glioma/odd{suffix}", format="JPEG")
    (tmp_path / "set/glioma/notes.txt").write_text("about")
    (tmp_path / "set/glioma/Thumbs.db").write_bytes(b"x")
    (tmp_path / "set/glioma/._im000.png").write_bytes(b"x")
    data = open_dataset(str(tmp_path / "set"), size=8)
    assert len(data) == 22
    (note,) = (note for note in data.notes if "left out" in note)
    assert note.startswith("2 files in class folders are left out, no images by their names (")
    assert "without a suffix: 1" in note
    assert ".txt: 1" in note


@pytest.mark.parametrize(
    ("name", "part"),
    [
        *(("train", "train"), ("Training", "train"), ("TRAIN_SET", "train"), ("valid", "validation")),
        *(("val", "validation"), ("Validation", "validation"), ("dev", "validation"), ("Test set", "test")),
        *(("testing-data", "test"), ("glioma", None), ("training2", None), ("latest", None)),
    ],
)
def test_parts_are_told_by_any_usual_name(name, part):
    assert part_of(name) == part


@pytest.mark.parametrize("valid", ["valid", "val", "Validation", "dev"])
def test_three_folders_are_the_official_three_parts(tmp_path, draw, valid):
    for start, part in ((0, "train"), (300, valid), (600, "test")):
        classes(draw, f"three/{part}", start=start)
    data = open_dataset(str(tmp_path / "three"), size=8)
    assert any("16 validation images are the official ones" in note for note in data.notes)
    cases = [(seed, limit) for seed in (0, 1) for limit in (None, 24)]
    splits = [
        make_splits(data, SplitOptions(seed=seed, validation_fraction=0.5, limit=limit))[0] for seed, limit in cases
    ]
    for split in splits:
        for part, name in ((split.train, "train"), (split.validation, valid), (split.test, "test")):
            assert all(image.startswith(f"{name}/") for image in data.image_ids[part])
            assert set(data.labels[part]) == {0, 1}
    assert len(splits[0].validation) == 16
    assert len(splits[1].train) + len(splits[1].validation) + len(splits[1].test) == 24


def test_train_and_validation_without_test_are_pooled_and_said(tmp_path, draw):
    classes(draw, "two/train")
    classes(draw, "two/val", start=300)
    data = open_dataset(str(tmp_path / "two"), size=8)
    assert data.parts is None
    assert any("no test images: the test images are cut from both" in note for note in data.notes)


def test_parts_inside_the_classes(tmp_path, draw):
    for name, start in (("glioma", 0), ("notumor", 500)):
        classes(draw, f"inner/{name}", names=("train", "test"), start=start)
    data = open_dataset(str(tmp_path / "inner"), size=8)
    assert data.class_names == ("glioma", "notumor")
    assert sorted(set(data.parts)) == ["test", "train"]


def test_the_same_classes_at_two_depths_are_refused(tmp_path, draw):
    classes(draw, "set", names=("no", "yes"))
    classes(draw, "set/brain_tumor_dataset", names=("no", "yes"))
    refused(
        tmp_path / "set", "holds the classes notumor, tumor twice, .* folder 'brain_tumor_dataset': give '.*dataset'"
    )


def test_of_two_tasks_the_one_with_classes_is_read(tmp_path, draw):
    for part in ("train", "test"):
        classes(draw, f"both/classification_task/{part}", start=len(part) * 1000)
        classes(draw, f"both/segmentation_task/{part}", names=("images", "masks"), start=len(part) * 2000)
    data = open_dataset(str(tmp_path / "both"), size=8)
    assert data.class_names == ("glioma", "notumor")
    assert len(data) == 32
    assert any("only 'classification_task' is read" in note for note in data.notes)


def test_several_data_sets_in_one_folder_are_refused(tmp_path, draw):
    for number, name in enumerate(("first", "second")):
        classes(draw, f"sets/{name}", start=1000 * number)
    refused(tmp_path / "sets", "holds several data sets .'first', 'second'.: give one of these folders")


def test_subfolders_of_classes_are_no_data_sets(tmp_path, draw):
    for number, name in enumerate(("glioma", "notumor")):
        classes(draw, f"set/{name}", names=("axial", "coronal"), start=1000 * number)
    assert open_dataset(str(tmp_path / "set"), size=8).class_names == ("glioma", "notumor")


def test_images_without_a_class_are_left_out(tmp_path, draw):
    classes(draw, "set", names=("no", "yes", "pred"))
    classes(draw, "set/Mask-RCNN", names=("TRAIN", "TEST"), start=700)
    data = open_dataset(str(tmp_path / "set"), size=8)
    assert data.class_names == ("notumor", "tumor")
    notes = [note for note in data.notes if "they have no class" in note]
    assert [note.partition(" are left")[0] for note in notes] == [
        "16 images of the folder 'Mask-RCNN'",
        "8 images of the folder 'pred'",
    ]


def test_backslashes_in_a_zip_are_folders(tmp_path, draw, zipped):
    for start, part in ((0, "Training"), (300, "Testing")):
        classes(draw, f"set/{part}", start=start)
    plain = zipped(tmp_path / "set")
    with zipfile.ZipFile(plain) as archive, zipfile.ZipFile(tmp_path / "win.zip", "w") as windows:
        for member in archive.infolist():
            info = zipfile.ZipInfo("x")
            info.filename = member.filename.replace("/", "\\")
            windows.writestr(info, archive.read(member))
    unix, windows = open_dataset(str(plain), size=8), open_dataset(str(tmp_path / "win.zip"), size=8)
    assert windows.fingerprint == unix.fingerprint
    assert windows.parts.tolist() == unix.parts.tolist()


def test_composed_and_decomposed_letters_are_one_class(tmp_path, draw):
    classes(draw, "set/Training", names=("Les\u00f5es", "Normal"))
    classes(draw, "set/Testing", names=("Leso\u0303es", "Normal"), start=300)
    data = open_dataset(str(tmp_path / "set"), size=8)
    assert data.class_names == ("les\u00f5es", "notumor")
    assert np.bincount(data.labels).tolist() == [16, 16]


def test_a_name_that_is_no_utf8_is_read(tmp_path, draw):
    classes(draw, "set")
    odd = draw("set/glioma/odd.png", 900)
    odd.rename(os.fsdecode(os.fsencode(odd.parent) + b"/les\xe3o.png"))
    data = open_dataset(str(tmp_path / "set"), size=8)
    assert "glioma/les\\xe3o.png" in data.image_ids
    result = CliRunner().invoke(
        data_command, [str(tmp_path / "set"), "--size", "8", "--audit", "--out", str(tmp_path)]
    )
    assert result.exit_code == 0, result.output
    odd_file = next(
        path for path in (tmp_path / "set/glioma").iterdir() if "odd" not in path.name and "im" not in path.name
    )
    odd_file.write_bytes(b"damaged")
    refused(tmp_path / "set", r"les\\xe3o\.png' can't be read")


def test_a_folder_of_zips_is_read_in_place(tmp_path, draw, zipped):
    for start, part in ((0, "Training"), (300, "Testing")):
        classes(draw, f"set/{part}", start=start)
    whole = open_dataset(str(tmp_path / "set"), size=8)
    (tmp_path / "one").mkdir()
    zipped(tmp_path / "set").rename(tmp_path / "one/archive.zip")
    (tmp_path / "several").mkdir()
    for part in ("Training", "Testing"):
        zipped(tmp_path / "set" / part).rename(tmp_path / "several" / f"{part}.zip")
    for name in ("one", "several"):
        assert open_dataset(str(tmp_path / name), size=8).fingerprint == whole.fingerprint
    (tmp_path / "set/archive.zip").write_bytes((tmp_path / "one/archive.zip").read_bytes())
    assert (
        open_dataset(str(tmp_path / "set"), size=8).fingerprint == whole.fingerprint
    )  # downloaded and unpacked there


def test_a_folder_or_zip_with_a_manifest_is_read_by_it(tmp_path, draw, zipped):
    for k in range(12):
        draw(f"own/images/{k}.png", k)
    lines = ["path,label,group", *(f"images/{k}.png,{'ab'[k % 2]},p{k // 3}" for k in range(12))]
    (tmp_path / "own/manifest.csv").write_text("\n".join(lines))
    folder = open_dataset(str(tmp_path / "own"), size=8)
    archive = open_dataset(str(zipped(tmp_path / "own", "wrapped/")), size=8)
    assert folder.groups.tolist() == archive.groups.tolist() == [f"p{k // 3}" for k in range(12)]
    assert folder.fingerprint == archive.fingerprint
    (tmp_path / "own/manifest.csv").write_text("path,label\nimages/0.png,a\n../own/images/1.png,b\n")
    refused(tmp_path / "own", "names '../own/images/1.png', outside its folder")


def test_folders_of_one_name_have_two_names(tmp_path, draw):
    for owner in ("first", "second"):
        classes(draw, f"{owner}/versions/1", start=len(owner))
    names = {open_dataset(str(tmp_path / owner / "versions/1"), size=8).name for owner in ("first", "second")}
    assert names == {"first-1", "second-1"}


@pytest.mark.parametrize(
    ("name", "patients"),
    [
        (lambda p, k: f"Patient {p}/slice {k}.png", 6),
        (lambda p, k: f"p{p:03d}_s{k:02d}.png", 6),
        (lambda p, k: f"sub-{p:02d}_slice-{k}.png", 6),
        (lambda p, k: f"TCGA_CS_49{p:02d}_19960909_{k}.png", 6),
        (lambda p, k: f"IXI{p:03d}-Guys-0828-T1_z{k}.png", 6),
        (lambda p, k: f"a{p}/{k:03d}.png", 6),
        (lambda p, k: f"im{10 * p + k}.png", None),
        (lambda p, k: f"Tr-gl_{10 * p + k:04d}.png", None),
        (lambda p, k: f"{'axial' if k % 2 else 'coronal'}/{10 * p + k}.png", None),
    ],
)
def test_names_that_look_like_patients_are_noticed(tmp_path, draw, name, patients):
    for p in range(6):
        for k in range(4):
            draw(f"set/{'glioma' if p % 2 else 'notumor'}/{name(p, k)}", 10 * p + k)
    data = open_data(DataOptions(source=str(tmp_path / "set"), size=8))
    notes = [note for note in data.notes if "these names look like" in note]
    if patients is None:
        assert notes == []
        return
    assert notes[0].startswith(f"these names look like {patients} patients: ")
    regex = notes[0].partition("--groups-from '")[2].rstrip("'")
    grouped = open_data(DataOptions(source=str(tmp_path / "set"), size=8, groups_from=regex))
    assert len(set(grouped.groups)) == patients
    for group in set(grouped.groups):
        assert len(set(grouped.labels[grouped.groups == group])) == 1
    split = make_splits(grouped, SplitOptions(seed=0, validation_fraction=0.4, test_fraction=0.4))[0]
    assert split.leaks == ()


def test_an_expression_that_finds_no_patient(tmp_path, draw):
    classes(draw, "set")
    for regex, match in (
        ("(", "is no regular expression"),
        (r"p(\d+)", r"finds no patient in '.*im000\.png' \(16 of 16"),
    ):
        with pytest.raises(UserError, match=match):
            open_data(DataOptions(source=str(tmp_path / "set"), size=8, groups_from=regex))


def command(folder, **changes):
    """Run ``data`` in a process of its own, with changes to its environment."""
    env = {**os.environ, **changes}
    words = [sys.executable, "-m", "benchmark", "data", str(folder), "--size", "8"]
    return subprocess.run(words, env=env, capture_output=True, timeout=200)


@pytest.mark.parametrize("encoding", ["cp1252", "cp932", "ascii"])
def test_letters_that_a_terminal_can_not_show_are_replaced(tmp_path, draw, encoding):
    classes(draw, "set", names=("M\u00e9ningiome", "\u80f6\u8d28\u7624"))
    done = command(tmp_path / "set", PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert b"16 images, 2 classes" in done.stdout


def test_without_a_home_the_caches_place_is_one_sentence(tmp_path, draw, monkeypatch):
    classes(draw, "set")

    def no_home(*_args, **_options):
        raise RuntimeError("could not determine the home directory")

    monkeypatch.delenv("TUMORBOARD_CACHE")
    monkeypatch.setattr("backbones._cache.user_cache_path", no_home)
    refused(tmp_path / "set", "no home directory for the cache: name a folder .* variable TUMORBOARD_CACHE")


def test_sources_go_to_other_processes_whole(tmp_path, draw, zipped):
    """Many images are decoded by several processes: what can't be pickled would be decoded by one alone, slowly."""
    classes(draw, "set")
    (tmp_path / "own").mkdir()
    draw("own/a.png", 1)
    draw("own/b.png", 2)
    (tmp_path / "own/manifest.csv").write_text("path,label\na.png,a\nb.png,b\n")
    for spec in (tmp_path / "set", zipped(tmp_path / "set"), tmp_path / "own", tmp_path / "own/manifest.csv"):
        source = open_source(str(spec))
        first = source.load(0)  # opens what it opens
        again = pickle.loads(pickle.dumps(source))
        assert np.array_equal(again.load(0).pixels, first.pixels)
