"""A results folder with bad records in it: the rest is shown, and each bad one is named, with what is wrong."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from all_tables import write_tables
from simulated import FOUR, Study

from benchmark.hashing import hash_file
from benchmark.records.record import Predictions, Record
from benchmark.records.store import RecordStore, short
from benchmark.reporting.leaderboard import read_board
from benchmark.reporting.page.page import page

SMALL = Study(patients=24, slices=2)
Damage = Callable[[Path], None]


def shown(folder: Path) -> tuple[str, str]:
    """Write the tables of a results folder; return the Markdown and the page."""
    board = read_board(folder)
    write_tables(board, folder)
    return (folder / "leaderboard.md").read_text(encoding="utf-8"), page(board, {})


def sealed(folder: Path) -> None:
    """Write the checksums anew, as one who tampers with care would."""
    names = sorted(path.name for path in folder.iterdir() if path.name != "SHA256SUMS")
    (folder / "SHA256SUMS").write_text("".join(f"{hash_file(folder / name)}  {name}\n" for name in names))


def changed(folder: Path, **values: object) -> None:
    path = folder / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    sealed(folder)


def cut_short(folder: Path) -> None:
    path = folder / "predictions.npz"
    path.write_bytes(path.read_bytes()[:100])


def never_finished(folder: Path) -> None:
    (folder / "SHA256SUMS").unlink()
    (folder / "predictions.npz").unlink()


def foreign(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    (folder / "holiday.jpg").write_bytes(b"\xff\xd8")


def of_another_program(folder: Path) -> None:
    (folder / "record.json").write_text('{"model": "resnet", "accuracy": 0.99}')
    sealed(folder)


def older(folder: Path) -> None:
    changed(folder, format=0)


def edited(folder: Path) -> None:
    path = folder / "record.json"
    path.write_text(path.read_text().replace('"outcome": "ok"', '"outcome": "oom"'))


def of_another_run(folder: Path) -> None:
    identity = json.loads((folder / "record.json").read_text())["identity"]
    changed(folder, identity=identity | {"seed": 7})


def nothing_but_noise(folder: Path) -> None:
    (folder / "record.json").write_bytes(bytes(range(256)))
    sealed(folder)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut_short, "predictions.npz is not as it was written"),
        (never_finished, "it has no complete record.json"),
        (foreign, "it has no complete record.json"),
        (of_another_program, "it is not a record of this version"),
        (older, "it has format 0, this version reads 1; run it again"),
        (edited, "record.json is not as it was written"),
        (of_another_run, "its key, its identity and its folder's name do not belong together"),
        (nothing_but_noise, "it is not a record of this version"),
    ],
)
def test_the_rest_is_shown_and_the_bad_record_is_named(tmp_path: Path, damage: Damage, said: str) -> None:
    store = RecordStore(tmp_path)
    records = [SMALL.run(reader) for reader in FOUR]
    for record, predictions in records:
        store.write(record, predictions)
    bad = short(records[1][0].key)
    damage(store.folder / bad)
    text, html = shown(tmp_path)
    (line,) = text.split("## Records with a problem\n\n")[1].split("\n\n")[0].splitlines()
    assert line.startswith(f"- records/{bad} is not used: ")
    assert said in line
    runs = (tmp_path / "runs.csv").read_text(encoding="utf-8")
    assert records[1][0].key not in runs
    assert all(record.key in runs for record, _ in (records[0], *records[2:]))
    assert line.removeprefix("- ")[:60] in html


def tampered(values: np.ndarray, change: Callable[[np.ndarray], None]) -> np.ndarray:
    copy = values.copy()
    change(copy)
    return copy


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: p.__imul__(0.5), "probabilities are not a distribution"),
        (lambda p: p.__setitem__((3, 0), np.nan), "probabilities are not finite"),
        (lambda p: p.__setitem__(3, [1.5, -0.5, 0, 0]), "probabilities are not a distribution"),
        (lambda p: p.__setitem__(3, [np.inf, 0, 0, 0]), "probabilities are not finite"),
    ],
)
def test_probabilities_that_are_no_distribution(
    tmp_path: Path, change: Callable[[np.ndarray], None], said: str
) -> None:
    runs: list[tuple[Record, Predictions | None]] = [SMALL.run(reader) for reader in FOUR]
    record, predictions = runs[1]
    assert predictions is not None
    runs[1] = record, replace(predictions, probabilities=tampered(predictions.probabilities, change))
    for run in runs:
        RecordStore(tmp_path).write(*run)
    text, _ = shown(tmp_path)
    assert f"records/{short(record.key)} is not used: {said}" in text
    assert sum(line.startswith("| 1 |") for line in text.splitlines()) >= 1
    assert (tmp_path / "runs.csv").read_text().count("\n") == len(FOUR)  # a heading, and three runs


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "a|b<img src=x onerror=alert(1)>", "{{ 7 * 7 }}", "x\n# y"]
)
def test_names_with_markup_are_text_everywhere(tmp_path: Path, name: str) -> None:
    study = replace(SMALL, classes=(f"glioma {name}", "meningioma", "notumor", "pituitary"))
    record, predictions = study.run(FOUR[0])
    backbone = record.backbone.model_copy(update={"name": name, "note": name})
    data = record.data.model_copy(update={"name": name, "split": name, "leaks": (name,)})
    changes = {"backbone": backbone, "data": data, "recipe_name": name, "device": name, "reason": name}
    RecordStore(tmp_path).write(record.model_copy(update=changes), predictions)
    _, html = shown(tmp_path)
    for made in tmp_path.glob("*.md"):
        text = made.read_text(encoding="utf-8")
        assert "<script" not in text
        assert "<img" not in text
        assert "\n# y" not in text
    assert "<script>alert" not in html
    assert "<img src=x" not in html
    assert "glioma 49" not in html
