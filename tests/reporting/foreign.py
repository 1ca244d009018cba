"""A results folder with two good runs and a third that a test spoils, and the ways of spoiling."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from all_tables import write_tables
from simulated import FOUR, Study, explained

from benchmark.hashing import hash_file, hash_json
from benchmark.records.corrupted import Corrupted, CorruptionFacts
from benchmark.records.record import Cams, Predictions, Record
from benchmark.records.store import RecordStore, short
from benchmark.reporting.board.board import Board
from benchmark.reporting.documents.reference_report import with_reports
from benchmark.reporting.figures.thumbnails import Thumbnails
from benchmark.reporting.leaderboard import read_board
from benchmark.reporting.page.page import page
from benchmark.reporting.results import load_results

SMALL = Study(patients=8, slices=1)
GOOD, OTHER = SMALL.run(FOUR[0]), SMALL.run(FOUR[1])


def _explained_and_asked() -> tuple[Record, Predictions, Cams, Corrupted]:
    """Return a run with heat maps and decisions of spoilt images."""
    record, predictions, cams = explained(SMALL, FOUR[2], finds=True)
    test = predictions.part("test")
    decisions = np.repeat(test.probabilities.argmax(axis=1)[None], 10, axis=0).reshape(2, 5, -1).astype(np.int16)
    names = ("noise", "blur")
    facts = CorruptionFacts(names=names, pictures=decisions.size, images_per_s=10.0, pixels_hash="0" * 64)
    corrupted = Corrupted(test.image_ids, np.array(names), decisions)
    return record.model_copy(update={"corruption": facts}), predictions, cams, corrupted


BAD = _explained_and_asked()


def folder_of(out: Path) -> Path:
    """Store two good runs and one that a test spoils; return its folder."""
    store = RecordStore(out)
    store.write(*GOOD)
    store.write(*OTHER)
    return store.write(*BAD)


def sealed(folder: Path) -> None:
    """Write the checksums anew, and call the folder by its key, as one who tampers with care would."""
    names = sorted(path.name for path in folder.iterdir() if path.name != "SHA256SUMS" and path.is_file())
    (folder / "SHA256SUMS").write_text("".join(f"{hash_file(folder / name)}  {name}\n" for name in names))


def spoiled(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Change a record and make its key, its checksums and its folder's name agree with that; return the folder."""
    path = folder / "record.json"
    values = json.loads(path.read_text())
    change(values)
    values["key"] = hash_json(values["identity"])
    path.write_text(json.dumps(values))
    sealed(folder)
    return folder.rename(folder.with_name(short(values["key"])))


def used(out: Path) -> tuple[Board, list[str]]:
    """Read a folder as every command does; return the board and the texts of its tables."""
    board, _ = with_reports(read_board(out), [out], out)
    board_folder = out / "board"
    board_folder.mkdir(exist_ok=True)
    write_tables(board, board_folder)
    page(board, {result.record.data.fingerprint: Thumbnails([out], result.record.data.fingerprint)
                 for result in board.results})  # fmt: skip
    load_results(out)
    return board, [(board_folder / name).read_text() for name in ("leaderboard.csv", "runs.csv", "comparisons.csv")]


def suite(out: Path, name: str, file: str | None = None) -> None:
    """Leave what a suite of that name would, with a table of known figures, so that it asks for a report."""
    key = GOOD[0].key
    values = {
        "suite": name, "about": "About", "notes": [], "source": "known", "conclusions": [],
        "known": {"1": {"id": "1", "accuracy": "0.9"}},
        "entries": [{"name": "a", "reference": "1", "gpu": False, "note": "", "runs": {"": [key]}}],
    }  # fmt: skip
    (out / "suites").mkdir(exist_ok=True)
    (out / "suites" / f"{file or 'x'}.json").write_text(json.dumps(values))


def put(*place: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(values: Any) -> None:
        for name in place[:-1]:
            values = values[name]
        values[place[-1]] = value

    return change
