"""What the leaderboard says of the audit that each record carries."""

import base64
import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmark.data.audit.audit import Audit, audit_data
from benchmark.data.audit.shortcut_probe import ReferencePredictions
from benchmark.data.splits.splits import SplitOptions, make_splits
from benchmark.records.store import RecordStore
from benchmark.reporting.leaderboard import write_leaderboard
from tests.data.test_splits import cohort
from tests.reporting.simulated import FOUR, Study

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def audits() -> tuple[Audit, ...]:
    """The audits of two slice-level folds of a cohort with three copies of one image, and of one without them."""
    data = cohort(patients=60)
    pixels = np.random.default_rng(0).integers(0, 256, data.pixels.shape, dtype=np.uint8)
    identical = data.identical.copy()
    identical[1:3] = 0
    data = replace(data, pixels=pixels, identical=identical, negative_class="c")
    slices = make_splits(data, SplitOptions(kind="slice", folds=(1, 2)))
    cleaned = make_splits(data, SplitOptions(kind="slice", folds=(1,), dedupe=True))
    return tuple(audit_data(data, split) for split in (*slices, *cleaned))


def written(folder: Path, *records) -> tuple[str, str]:
    for record, predictions in records:
        RecordStore(folder).write(record, predictions)
    write_leaderboard(folder)
    return tuple((folder / f"leaderboard.{kind}").read_text(encoding="utf-8") for kind in ("md", "html"))


def test_the_audit_of_each_split_stands_on_the_leaderboard(tmp_path: Path, audits: tuple[Audit, ...]) -> None:
    study = Study(patients=8, slices=2)
    records = [study.run(reader, audit=audits[0]) for reader in FOUR[:2]]
    markdown, page = written(tmp_path, *records)
    patients = audits[0].patients
    assert patients is not None
    assert f"| holdout | 0 (0) | 1 ({audits[0].pixel_identical.across}) | 1 " in markdown
    assert f"| {patients.across} of 60 |  |" in markdown
    assert markdown.count("### Audit of the images") == 1, "two rows on one split have one audit"
    for text in (markdown, page):
        assert "Shortcut probe: balanced accuracy for the class from trivial features, fitted to training" in text
        assert "c against the rest" in text
        assert f"{patients.across} of 60" in text


def test_what_dedupe_left_out_is_printed(tmp_path: Path, audits: tuple[Audit, ...]) -> None:
    assert audits[2].removed
    markdown, _ = written(tmp_path, Study(patients=8, slices=2).run(FOUR[0], audit=audits[2]))
    assert f"of 60 | {audits[2].removed} |" in markdown


def test_records_without_an_audit_have_no_block(tmp_path: Path) -> None:
    markdown, page = written(tmp_path, Study(patients=8, slices=2).run(FOUR[0]))
    assert "Audit of the images" not in markdown + page


def test_what_needs_no_network_stands_below_the_rows_and_is_not_ranked(tmp_path: Path) -> None:
    study = Study(patients=24, slices=2)
    record, predictions = study.run(FOUR[0])
    test = predictions.part("test")
    order = np.argsort(test.image_ids)
    said = np.full((len(order), 4), 20, dtype=np.uint8)
    said[np.arange(len(order)), test.labels[order]] = np.where(
        np.arange(len(order)) % 3, 195, 10
    )  # two of three are right
    packed = base64.b64encode(said.tobytes()).decode()
    data = cohort(patients=60)
    audit = audit_data(data, make_splits(data, SplitOptions(kind="slice", folds=(1,)))[0])
    balance = {name: {"train": 40 + 10 * k, "validation": 4, "test": 12} for k, name in enumerate(study.classes)}
    references = (ReferencePredictions(features="histogram", probabilities=packed),)
    audit = audit.model_copy(update={"balance": balance, "references": references})
    markdown, page = written(tmp_path, (record.model_copy(update={"audit": audit}), predictions))
    lines = {line["backbone"]: line for line in csv.DictReader((tmp_path / "leaderboard.csv").open())}
    histogram, majority = (lines[f"no network: {name}"] for name in ("histogram", "majority class"))
    right = said.argmax(axis=1) == test.labels[order]
    assert float(histogram["accuracy"]) == pytest.approx(right.mean())
    assert float(histogram["accuracy_low"]) < right.mean() < float(histogram["accuracy_high"])
    assert float(histogram["p_guessing"]) < 0.05
    assert float(majority["macro_f1"]) == pytest.approx(0.1)  # one class of four: F1 0.4, and 0 of the others
    assert majority["macro_f1_low"] == ""
    assert majority["reason"].startswith("Answers one class ('pituitary' for every image")
    assert {line["rank"] for line in (histogram, majority)} == {""}
    assert lines[FOUR[0].name]["rank"] == "1"
    for text in (markdown, page):
        assert "no network: histogram" in text
    assert "majority" not in (tmp_path / "runs.csv").read_text()
    damaged = ReferencePredictions(features="histogram", probabilities=packed[4:])
    audit = audit.model_copy(update={"references": (damaged,)})
    written(tmp_path / "damaged", (record.model_copy(update={"audit": audit}), predictions))
    assert "no network: histogram" not in (tmp_path / "damaged" / "leaderboard.csv").read_text()
