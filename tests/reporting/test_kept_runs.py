"""What was computed of runs before is found again; what changed, and what strangers say, is not believed."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from all_tables import write_tables
from foreign import sealed
from simulated import FOUR, TWELVE, Study

from benchmark.foreign_arrays import read_arrays
from benchmark.foreign_files import Refused
from benchmark.records.record import Predictions
from benchmark.records.store import RecordStore
from benchmark.reporting.board.board import Board
from benchmark.reporting.leaderboard import read_board

STUDY = Study(patients=16, slices=1, grouped=False)
CSV = ("leaderboard.csv", "runs.csv", "comparisons.csv", "report.md", "leaderboard.md", "leaderboard.tex")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUMORBOARD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    for reader in TWELVE[:5]:
        for seed in range(3):
            RecordStore(folder).write(*STUDY.run(reader, seed))
    return folder


def written(board: Board, folder: Path) -> dict[str, bytes]:
    folder.mkdir(exist_ok=True)
    write_tables(board, folder)
    return {name: (folder / name).read_bytes() for name in CSV}


def of_runs(cache: Path) -> list[Path]:
    """Return the entries of runs: those without arrays."""
    return sorted((cache / "statistics").glob("*/*.json"))


def test_tables_are_the_same_bytes_whether_all_was_computed_or_found(cache: Path, out: Path, tmp_path: Path) -> None:
    fresh = written(read_board(out), tmp_path / "tables")
    entries = {path: path.stat().st_mtime_ns for path in (cache / "statistics").glob("*/*.*")}
    assert len(of_runs(cache)) == 15
    assert len(entries) == 15 + 5  # and one for each row
    assert written(read_board(out), tmp_path / "tables") == fresh
    assert {path: path.stat().st_mtime_ns for path in (cache / "statistics").glob("*/*.*")} == entries

    RecordStore(out).write(*STUDY.run(TWELVE[7], 0))  # one run more: one entry for it, and one for its row
    more = written(read_board(out), tmp_path / "tables")
    assert len(list((cache / "statistics").glob("*/*.*"))) == len(entries) + 2
    for path in (cache / "statistics").glob("*/*.*"):
        path.unlink()
    assert written(read_board(out), tmp_path / "tables") == more


def _entry_of(cache: Path, board: Board, key: str) -> Path:
    macro_f1 = next(result.values["macro_f1"] for result in board.results if result.record.key == key)
    return next(path for path in of_runs(cache) if json.loads(path.read_bytes())["values"]["macro_f1"] == macro_f1)


def test_what_is_found_is_not_computed_and_a_damaged_entry_is(cache: Path, out: Path) -> None:
    board = read_board(out)
    run = board.results[0]
    path = _entry_of(cache, board, run.record.key)
    entry = json.loads(path.read_bytes())
    entry["values"]["mcc"] = 0.123  # in this user's own cache, which nobody else may write to
    path.write_text(json.dumps(entry))
    assert read_board(out).results[0].values["mcc"] == 0.123
    for damaged in ("", "{", "[]", '{"auroc": 1}', json.dumps({**entry, "classes": [[1]]})):
        path.write_text(damaged)
        assert read_board(out).results[0].values == run.values


def test_files_that_changed_are_noticed_whatever_their_dates_say(cache: Path, out: Path) -> None:
    before = read_board(out)
    folder = out / "records" / before.results[0].record.key[:20]
    arrays = folder / "predictions.npz"
    status, data = arrays.stat(), bytearray(arrays.read_bytes())
    data[len(data) // 2] ^= 1
    arrays.write_bytes(bytes(data))
    os.utime(arrays, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert arrays.stat().st_size == status.st_size
    board = read_board(out)
    assert len(board.results) == len(before.results) - 1
    assert "predictions.npz is not as it was written" in board.problems[0]


def _rewrite(folder: Path, **changed: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]") -> None:
    """Exchange arrays of a record's predictions, and state their hashes anew, as anybody can."""
    with np.load(folder / "predictions.npz") as found:
        arrays = {name: found[name] for name in found.files}
    np.savez_compressed(folder / "predictions.npz", **{**arrays, **changed})
    sealed(folder)


def test_predictions_that_were_exchanged_with_their_hashes_are_scored_anew(cache: Path, out: Path) -> None:
    before = read_board(out).results[0]
    assert before.predictions is not None
    _rewrite(out / "records" / before.record.key[:20], probabilities=before.predictions.probabilities[:, ::-1])
    after = next(each for each in read_board(out).results if each.record.key == before.record.key)
    assert after.values["macro_f1"] < 0.5 < before.values["macro_f1"]


def test_what_is_not_sound_is_refused_each_time(cache: Path, out: Path) -> None:
    before = read_board(out).results[0]
    assert before.predictions is not None
    _rewrite(out / "records" / before.record.key[:20], probabilities=before.predictions.probabilities * 2)
    for _ in range(3):
        assert any("probabilities are not a distribution" in problem for problem in read_board(out).problems)


def test_a_cache_that_lies_in_a_results_folder_is_nobodys(cache: Path, out: Path) -> None:
    read_board(out)
    for path in of_runs(cache):
        entry = json.loads(path.read_bytes())
        entry["values"]["mcc"] = 0.123
        for place in ("statistics", "internal/statistics", "cache/statistics"):
            strange = out / place / path.parent.name / path.name
            strange.parent.mkdir(parents=True, exist_ok=True)
            strange.write_text(json.dumps(entry))
        path.unlink()
    assert all(result.values["mcc"] != 0.123 for result in read_board(out).results)


@pytest.fixture
def packed(tmp_path: Path) -> Iterator[bytes]:
    path = tmp_path / "arrays.npz"
    np.savez_compressed(path, labels=np.arange(500))
    return path.read_bytes()


def test_an_array_is_unpacked_once_and_only_what_is_packed_alike(packed: bytes) -> None:
    known: dict[tuple[object, ...], np.ndarray[tuple[int, ...], np.dtype[np.generic]]] = {}
    first = read_arrays(packed, {"labels": ("i", 1)}, unpacked=10_000, cache=known)["labels"]
    assert read_arrays(packed, {"labels": ("i", 1)}, unpacked=10_000, cache=known)["labels"] is first
    assert len(known) == 1
    damaged = bytearray(packed)
    damaged[len(damaged) // 2] ^= 255
    with pytest.raises(Refused):
        read_arrays(bytes(damaged), {"labels": ("i", 1)}, unpacked=10_000, cache=known)
    with pytest.raises(Refused, match="not text"):  # of another kind than was asked for
        read_arrays(packed, {"labels": ("U", 1)}, unpacked=10_000, cache=known)
    with pytest.raises(Refused, match="too large"):
        read_arrays(packed, {"labels": ("i", 1)}, unpacked=100, cache=known)


def test_images_that_runs_share_are_held_once(out: Path) -> None:
    found = [predictions for _, predictions in RecordStore(out).read_all() if predictions is not None]
    assert len({id(each.image_ids) for each in found}) == 1
    assert len({id(each.probabilities) for each in found}) == len(found)
    expected = STUDY.run(FOUR[0], 0)[1]
    assert isinstance(expected, Predictions)
    assert any(np.array_equal(each.probabilities, expected.probabilities) for each in found)
