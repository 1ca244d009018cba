"""Test images inside the page, or beside it and fetched when they come into view."""

import re
from pathlib import Path

import pytest
from simulated import FOUR, Study
from test_page import images_of

from benchmark.cli.main import main
from benchmark.records.store import RecordStore
from benchmark.reporting.figures.thumbnails import Thumbnails, write_thumbnails

STUDY = Study(patients=12, slices=1)
ADDRESS = re.compile(r'"images/([0-9a-f]{20}\.jpg)"')


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    for reader in FOUR[:2]:
        record, predictions = STUDY.run(reader)
        RecordStore(folder).write(record, predictions)
    assert predictions is not None
    data = images_of(predictions, record.data.fingerprint)
    write_thumbnails(data, range(len(data)), folder)
    return folder


def test_the_page_is_one_file_unless_its_images_are_asked_for_beside_it(out: Path) -> None:
    assert main(["leaderboard", str(out)]) == 0
    page = (out / "leaderboard.html").read_text()
    assert "/9j/" in page  # how a JPEG begins in base64
    assert not (out / "images").exists()

    other, note = out / "images" / f"{'0' * 20}.jpg", out / "images" / "note.txt"
    other.parent.mkdir()
    other.write_bytes(b"of an earlier page")
    note.write_text("somebody's own")
    assert main(["leaderboard", str(out), "--page-images", "beside"]) == 0
    page = (out / "leaderboard.html").read_text()
    assert "/9j/" not in page
    addresses = set(ADDRESS.findall(page))
    assert {path.name for path in other.parent.iterdir()} == addresses | {"note.txt"}
    record, _ = STUDY.run(FOUR[0])
    kept = Thumbnails([out], record.data.fingerprint)
    assert {(out / "images" / name).read_bytes() for name in addresses} == set(kept.values())
    assert len(addresses) == record.data.n_test

    assert main(["leaderboard", str(out)]) == 0  # one file again
    assert [path.name for path in other.parent.iterdir()] == ["note.txt"]
    note.unlink()
    other.write_bytes(b"of an earlier page")
    assert main(["leaderboard", str(out)]) == 0
    assert not other.parent.exists()


def test_images_that_another_page_shows_stay(out: Path) -> None:
    other = out / "images" / f"{'0' * 20}.jpg"
    other.parent.mkdir()
    other.write_bytes(b"of the other page")
    (out / "index.html").write_text("as in a folder that was published")
    assert main(["leaderboard", str(out)]) == 0
    assert other.exists()


def test_no_image_is_written_through_a_link(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (out / "images").symlink_to(elsewhere)
    assert main(["leaderboard", str(out), "--page-images", "beside"]) == 2
    assert "can't be written" in capsys.readouterr().err
    assert not list(elsewhere.iterdir())
