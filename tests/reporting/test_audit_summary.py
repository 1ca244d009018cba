"""What the leaderboard says of the audit that each record carries."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmark.data import Audit, SplitOptions, audit_data, make_splits
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
        assert "Shortcut probe: balanced accuracy for the class from features that know nothing of tumours" in text
        assert "c against the rest" in text
        assert f"{patients.across} of 60" in text


def test_what_dedupe_left_out_is_printed(tmp_path: Path, audits: tuple[Audit, ...]) -> None:
    assert audits[2].removed
    markdown, _ = written(tmp_path, Study(patients=8, slices=2).run(FOUR[0], audit=audits[2]))
    assert f"of 60 | {audits[2].removed} |" in markdown


def test_records_without_an_audit_have_no_block(tmp_path: Path) -> None:
    markdown, page = written(tmp_path, Study(patients=8, slices=2).run(FOUR[0]))
    assert "Audit of the images" not in markdown + page
