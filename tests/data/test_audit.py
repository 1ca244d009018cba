"""The audit finds what was planted, and nothing else."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageEnhance, ImageOps

from benchmark.cli.data import data_command
from benchmark.data.audit.audit import _shifted, audit_data
from benchmark.data.audit.table import audit_text
from benchmark.data.duplicates.groups import near_kinds
from benchmark.data.duplicates.near_duplicates import NearPairs, find_pairs, near_duplicates
from benchmark.data.preparation.prepare import open_dataset
from benchmark.data.relabel import with_permuted_labels
from benchmark.data.splits.splits import SplitOptions, make_splits
from tests.data.test_splits import cohort


def head(number: int, side: int = 96) -> np.ndarray:
    """Draw a head that no other number gives: an ellipse with some structures."""
    rng = np.random.default_rng(number)
    rows, columns = np.mgrid[:side, :side] / side
    image = np.zeros((side, side))
    for k in range(9):
        centre, radii = (0.5, 0.5) if k == 0 else rng.uniform(0.25, 0.75, 2), rng.uniform(0.3, 0.45, 2) / (1 + k / 2)
        inside = ((rows - centre[0]) / radii[0]) ** 2 + ((columns - centre[1]) / radii[1]) ** 2 < 1
        image[inside] = rng.uniform(60, 250)
    return (image + rng.integers(0, 6, image.shape)).clip(0, 255).astype(np.uint8)


@pytest.fixture
def heads(tmp_path):
    """A Kaggle folder of 3 classes with 20 training and 8 test heads each, all different."""
    number = 0
    for part, count in (("Training", 20), ("Testing", 8)):
        for name in ("glioma", "meningioma", "notumor"):
            folder = tmp_path / "heads" / part / name
            folder.mkdir(parents=True)
            for k in range(count):
                number += 1
                Image.fromarray(head(number)).save(folder / f"{k:02d}.png")
    return tmp_path / "heads"


def audited(folder):
    data = open_dataset(str(folder), size=48)
    return data, audit_data(data, make_splits(data, SplitOptions(seed=0, validation_fraction=0.2))[0])


def test_a_clean_data_set_is_found_clean(heads):
    _, found = audited(heads)
    assert found.byte_identical.groups == found.pixel_identical.groups == found.near.groups == 0
    assert found.leaks == ()
    assert found.balance["glioma"] == {"train": 16, "validation": 4, "test": 8}
    assert found.worst == ()


def test_exact_copies_are_counted_within_and_across_parts(heads):
    training, testing = heads / "Training/glioma", heads / "Testing/glioma"
    shutil.copy(training / "00.png", testing / "copy.png")  # across
    shutil.copy(training / "01.png", training / "copy.png")  # within
    Image.open(training / "02.png").save(testing / "other.bmp")  # across, other bytes
    shutil.copy(training / "03.png", heads / "Testing/notumor/wrong.png")  # across, another label
    data, found = audited(heads)
    assert (found.byte_identical.groups, found.byte_identical.images, found.byte_identical.across) == (3, 6, 2)
    assert (found.pixel_identical.groups, found.pixel_identical.across) == (4, 3)
    assert found.pixel_identical.test_images == 3
    assert found.pixel_identical.conflicting == 1
    assert found.leaks == ("3 of 27 test images are identical to training images (3 groups of copies are in both)",)
    worst = found.worst[0]
    assert {worst.first_class, worst.second_class} == {"glioma", "notumor"}
    assert "two labels" in audit_text(found)
    assert np.unique(data.identical).size == len(data) - 4


@pytest.mark.parametrize(
    ("change", "turn"),
    [
        (lambda image: ImageEnhance.Brightness(image).enhance(0.6), ""),
        (lambda image: image.resize((150, 150)), ""),
        (lambda image: ImageOps.mirror(image), "mirrored"),
        (lambda image: ImageOps.flip(image), "upside down"),
        (lambda image: image.rotate(180), "turned by 180 degrees"),
        (lambda image: ImageOps.mirror(ImageEnhance.Contrast(image).enhance(0.7)), "mirrored"),
    ],
)
def test_changed_copies_are_found(heads, change, turn):
    change(Image.open(heads / "Training/notumor/07.png")).save(heads / "Testing/notumor/changed.jpg", quality=70)
    data, found = audited(heads)
    pairs = near_duplicates(data)
    names = {str(name) for name in data.image_ids[np.concatenate([pairs.first, pairs.second])]}
    assert names == {"Training/notumor/07.png", "Testing/notumor/changed.jpg"}
    assert found.near.across == 1
    assert found.worst[0].turn == turn
    assert found.pixel_identical.groups == 0
    assert any("1 of 25 test images are near-duplicates" in leak for leak in found.leaks)


def test_near_duplicates_stay_together_where_patients_are_unknown(heads):
    for name in ("glioma", "meningioma", "notumor"):
        for k in range(10):
            image = ImageOps.mirror(Image.open(heads / f"Training/{name}/{k:02d}.png"))
            image.save(heads / f"Training/{name}/again{k:02d}.png")
    data = open_dataset(str(heads), size=16)
    pairs = near_duplicates(data)
    assert len(pairs) == 30

    def parted(data, **options):
        home = np.zeros(len(data), dtype=int)
        found = 0
        for split in make_splits(data, SplitOptions(**options)):
            for number, part in enumerate((split.train, split.validation, split.test)):
                home[part] = number
            found += (home[pairs.first] != home[pairs.second]).sum()
        return found

    assert parted(data, kind="official", validation_fraction=0.4) == 0
    assert parted(data, kind="holdout") == parted(data, kind="folds") == 0
    assert parted(data, kind="slice") > 0
    strangers = replace(data, groups=np.arange(len(data)).astype(str))  # near-duplicates join their patients
    assert parted(strangers, kind="holdout") == parted(strangers, kind="folds") == 0
    assert parted(replace(strangers, parts=None), validation_fraction=0.4) == 0
    permuted = with_permuted_labels(data, 0).labels
    assert (permuted != data.labels).any()
    assert (permuted[pairs.first] == permuted[pairs.second]).all()


def test_near_duplicates_do_not_depend_on_the_size(heads):
    ImageOps.mirror(Image.open(heads / "Training/notumor/07.png")).save(heads / "Testing/notumor/m.png")
    small, large = (near_duplicates(open_dataset(str(heads), size=size)) for size in (16, 64))
    assert np.array_equal(small.first, large.first)
    assert np.array_equal(small.correlation, large.correlation)


def test_all_pairs_of_a_cluster_are_found_across_tiles(monkeypatch):
    monkeypatch.setattr("benchmark.data.duplicates.near_duplicates._ROWS", 16)
    monkeypatch.setattr("benchmark.data.duplicates.near_duplicates._COLUMNS", 32)
    base = [np.asarray(Image.fromarray(head(k)).resize((32, 32))) for k in range(50)]
    images = np.stack([*base, *(image // 2 for image in base)])
    pairs = find_pairs(images, np.arange(100))
    assert [(a, b) for a, b in zip(pairs.first, pairs.second, strict=True)] == [(k, k + 50) for k in range(50)]


def test_nothing_to_compare_gives_nothing():
    assert len(find_pairs(np.zeros((0, 32, 32), np.uint8), np.arange(0))) == 0
    assert len(find_pairs(np.zeros((3, 32, 32), np.uint8), np.arange(3))) == 0  # constant images resemble nothing


def noisy(data, seed=0):
    """Return the data set with random pixels: nothing in them tells the class."""
    pixels = np.random.default_rng(seed).integers(0, 256, data.pixels.shape, dtype=np.uint8)
    return replace(data, pixels=pixels)


def test_patients_in_several_parts_and_with_several_labels_are_told():
    data = noisy(cohort(patients=60))
    split = make_splits(data, SplitOptions(kind="slice", folds=(1,)))[0]
    labels = data.labels.copy()
    labels[0] = (labels[0] + 1) % 3
    found = audit_data(replace(data, labels=labels), split)
    assert found.patients.number == 60
    assert found.patients.across > 20
    assert found.patients.across_validation > 5
    assert found.patients.with_several_labels == 1
    assert "1 patient carries several labels" in [finding.text for finding in found.findings]
    assert any("patients who have training images too" in leak for leak in found.leaks)
    by_patient = make_splits(data, SplitOptions(seed=0, validation_fraction=0.2))[0]
    assert audit_data(data, by_patient).patients.across == 0


def test_the_shortcut_probe_sees_a_bright_border_and_is_blind_to_noise():
    data = noisy(cohort(patients=90))
    split = make_splits(data, SplitOptions(seed=0, validation_fraction=0.2))[0]
    rows = {row.features: row for row in audit_data(data, split).probe}
    assert not any(row.suspicious for row in rows.values())
    pixels = data.pixels.copy()
    pixels[data.labels == 2, 0] = 255
    found = audit_data(replace(data, pixels=pixels, negative_class="c"), split)
    rows = {(row.features, row.target): row for row in found.probe}
    assert rows["border brightness", "class"].suspicious
    assert rows["border brightness", "c"].balanced_accuracy > 0.95
    assert not rows["file type", "class"].suspicious
    assert any("predict 'c' against the rest" in finding.text for finding in found.findings)


def test_the_command_prints_and_writes_the_audit(heads, tmp_path):
    shutil.copy(heads / "Training/glioma/00.png", heads / "Testing/glioma/copy.png")
    out = tmp_path / "out"
    result = CliRunner().invoke(data_command, [str(heads), "--size", "32", "--audit", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "LEAK    1 of 25 test images are identical to training images" in result.output
    assert "patients are unknown" in result.output
    written = json.loads((out / "audit.json").read_text())
    assert written["pixel_identical"]["across"] == 1
    with Image.open(out / "worst.png") as picture:
        assert picture.width > 800
        assert len(set(picture.convert("L").resize((64, 16)).tobytes())) > 10
    assert (out / "split.csv").read_text().startswith("image_id,class,group,official\n")
    assert "LEAK" in (out / "audit.txt").read_text()


def test_the_command_shows_what_dedupe_removes(heads):
    shutil.copy(heads / "Training/glioma/00.png", heads / "Testing/glioma/copy.png")
    result = CliRunner().invoke(data_command, [str(heads), "--size", "32", "--dedupe"])
    assert "split official-deduplicated" in result.output
    assert "1 training images that are also in test were left out" in result.output
    assert "leak:" not in result.output


def test_an_audit_is_done_once(heads, monkeypatch):
    _, first = audited(heads)
    monkeypatch.setattr("benchmark.data.audit.audit._audit", lambda *_: pytest.fail("audited again"))
    _, second = audited(heads)
    assert second == first


def test_damaged_caches_are_made_anew(heads):
    data, first = audited(heads)
    kept = [path for path in data.folder.parent.iterdir() if path.name.startswith(("audit-", "near-"))]
    assert len(kept) == 2
    for path in kept:
        path.write_bytes(b"damaged")
    assert audited(heads)[1] == first
    assert b"damaged" not in [path.read_bytes() for path in kept]


def test_the_probe_is_fitted_to_training_images_and_judged_on_the_test_images():
    data = noisy(cohort(patients=90))
    split = make_splits(data, SplitOptions(seed=0, validation_fraction=0.2))[0]
    pixels = data.pixels.copy()
    pixels[data.labels == 2, 0] = 255
    # what gives the class away in training is not in the test images
    pixels[split.test, 0] = data.pixels[split.test, 0]
    (border,) = (
        row
        for row in audit_data(replace(data, pixels=pixels), split).probe
        if (row.features, row.target) == ("border brightness", "class")
    )
    assert not border.suspicious
    assert border.p > 0.01
    pixels[data.labels == 2, 0] = 255
    found = audit_data(replace(data, pixels=pixels), split)
    rows = {row.features: row for row in found.probe if row.target == "class"}
    assert rows["border brightness"].p < 0.01
    (everything,) = (each for each in found.references if each.features == "all of them together")
    said = everything.decoded(len(split.test), 3)
    order = np.argsort(data.image_ids[split.test])
    assert ((said.argmax(axis=1) == 2) == (data.labels[split.test][order] == 2)).mean() > 0.95
    assert everything.decoded(len(split.test) + 1, 3) is None


def test_near_duplicates_are_told_as_direct_chained_and_turned():
    # six images: 0 and 1 identical; 1-2 and 2-3 near, 4-5 near when mirrored. Only image 3 is tested
    cluster = np.array([0, 0, 2, 3, 4, 5])
    near = NearPairs(
        *(np.array(column) for column in ([0, 2, 4], [2, 3, 5])), np.full(3, 0.98, np.float32), np.array([0, 0, 1])
    )
    part = np.array(["train", "train", "train", "test", "train", ""])
    kinds = near_kinds(cluster, near, part)
    assert kinds.groups_unturned == 1  # 0, 1, 2, 3
    assert (kinds.beside_direct, kinds.beside_chained) == (1, 2)  # 2; 0 and 1
    assert (kinds.pairs, kinds.pairs_below) == (3, 1)  # of 0, 2, 3: the pair 0-3
    in_test = near_kinds(cluster, near, np.array(["test", "train", "train", "train", "train", "test"]))
    assert (in_test.beside_direct, in_test.beside_chained) == (3, 1)  # 1, 2 and 4; 3


def test_class_shares_of_the_parts_are_told_and_how_far_they_are_apart(heads):
    _, found = audited(heads)
    assert found.shift() < 0.1
    balance = {
        "glioma": {"train": 60, "validation": 6, "test": 30},
        "notumor": {"train": 20, "validation": 2, "test": 50},
        "pituitary": {"train": 20, "validation": 2, "test": 20},
    }
    shifted = found.model_copy(update={"balance": balance})
    assert shifted.shift() == pytest.approx(0.3)  # 60, 20, 20 % and 30, 50, 20 %
    assert shifted.shift("train", "validation") == pytest.approx(0)
    text = " ".join(audit_text(shifted).split())
    assert "train and test 0.30" in text
    assert "notumor 20.0 % 20.0 % 50.0 %" in text
    split = make_splits(open_dataset(str(heads), size=32), SplitOptions(seed=0, validation_fraction=0.2))[0]
    (said,) = _shifted(shifted, replace(split, removed=40))
    assert "glioma is 60.0 % of training and 30.0 % of test images" in said.text
    assert "--split regroup" in said.text
