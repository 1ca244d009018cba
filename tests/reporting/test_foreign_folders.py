"""A results folder that a stranger made: nothing of it is written, read or believed that should not be."""

import csv
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from all_tables import write_tables
from foreign import BAD, GOOD, folder_of, put, sealed, spoiled, suite, used
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from benchmark.records.store import RecordStore
from benchmark.reporting.board.board import Board
from benchmark.reporting.documents.reference_report import with_reports, write_reports
from benchmark.reporting.figures.montage import copy_montages
from benchmark.reporting.figures.thumbnails import Thumbnails, read_thumbnails, thumbnail_path
from benchmark.reporting.leaderboard import read_board, write_leaderboard

SECRET = "-----BEGIN OPENSSH PRIVATE KEY-----"


def reported(out: Path) -> Board:
    board, reports = with_reports(read_board(out), [out], out)
    write_reports(reports, out)
    return board


# --- what a folder makes its reader write ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../README", "the suite's name '../README' is not of letters, digits, spaces and _-+,.() alone, 80 at most"),
        ("{above}/README", "alone, 80 at most"),
        ("leaderboard", "the suite's name 'leaderboard' is that of another file beside the board"),
        ("report", "the suite's name 'report' is that of another file beside the board"),
        ("README", "the suite's name 'README' is that of another file beside the board"),
        (".bashrc", "alone, 80 at most"),
        ("a\0b", "alone, 80 at most"),
        ("con", "alone, 80 at most"),
        ("y", "it is of another suite, 'y'"),
    ],
)
def test_a_suite_writes_no_file_but_its_own(tmp_path: Path, name: str, why: str) -> None:
    out = tmp_path / "results"
    RecordStore(out).write(*GOOD)
    for place in (tmp_path / "README.md", out / "README.md", out / "leaderboard.md", out / "report.md"):
        place.write_text("mine")
    suite(out, name.format(above=tmp_path))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    board = reported(out)
    assert board.problems[0].startswith("suites/x.json is not used: ")
    assert board.problems[0].endswith(f"{why}.")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_report_takes_the_place_of_a_report_only(tmp_path: Path) -> None:
    RecordStore(tmp_path).write(*GOOD)
    suite(tmp_path, "study", "study")
    assert reported(tmp_path).problems == ()
    assert "About" in (tmp_path / "study.md").read_text()
    assert reported(tmp_path).problems == (), "its own earlier report is in its way"
    (tmp_path / "study.md").write_text("what I wrote myself")
    assert reported(tmp_path).problems == (
        f"study.md is not written: a file of that name is in '{tmp_path}' that is not such a report; rename one.",
    )
    assert (tmp_path / "study.md").read_text() == "what I wrote myself"


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    elsewhere, out = tmp_path / "elsewhere", tmp_path / "results"
    elsewhere.mkdir()
    out.mkdir()
    (out / "records").symlink_to(elsewhere)
    with pytest.raises(OSError, match="leads out of"):
        RecordStore(out).write(*GOOD)
    assert list(elsewhere.iterdir()) == []


# --- what a folder makes its reader read -------------------------------------------------------------------------


def secret(tmp_path: Path) -> Path:
    path = tmp_path / "id_rsa"
    path.write_text(SECRET)
    return path


def test_a_link_in_the_place_of_a_montage_carries_nothing_out(tmp_path: Path) -> None:
    there, out = tmp_path / "theirs", tmp_path / "mine"
    there.mkdir()
    out.mkdir()
    (there / "plot_montage_key.png").symlink_to(secret(tmp_path))
    (there / "plot_montage_text.png").write_text(SECRET)
    (there / "plot_montage_script.svg").write_text("<svg onload='alert(1)'/>")
    picture = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    hidden = PngInfo()
    hidden.add_text("comment", SECRET)
    picture.save(there / "plot_montage_good.png", pnginfo=hidden)
    copy_montages(there, out)
    assert [path.name for path in out.iterdir()] == ["plot_montage_good.png"]
    data = (out / "plot_montage_good.png").read_bytes()
    assert SECRET.encode() not in data
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), np.asarray(picture))


def linked(path: Path, to: Path) -> None:
    to.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(to)


def as_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def as_sparse(path: Path) -> None:
    os.truncate(path, 2**41)


@pytest.mark.parametrize(
    ("file", "spoil", "said"),
    [
        ("record.json", linked, "record.json is not read, because it is a link, and links are not followed"),
        ("record.json", as_fifo, "record.json is not read, because it is not a regular file"),
        ("record.json", as_sparse, "record.json is not read, because it is too large "
                                   "(2199023255552 bytes; at most 8388608 are read)"),
        ("predictions.npz", linked, "predictions.npz is not read, because it is a link, and links are not followed"),
        ("predictions.npz", as_fifo, "predictions.npz is not read, because it is not a regular file"),
        ("predictions.npz", as_sparse, "predictions.npz is not read, because it is too large "
                                       "(2199023255552 bytes; at most 268435456 are read)"),
    ],
)  # fmt: skip
def test_what_is_no_plain_small_file_is_not_read(
    tmp_path: Path, file: str, spoil: Any, said: str, tables_of_the_good: list[str]
) -> None:
    folder = folder_of(tmp_path / "out")
    arguments = (tmp_path / "aside",) if spoil is linked else ()
    spoil(folder / file, *arguments)
    board, tables = used(tmp_path / "out")
    assert board.problems == (f"records/{folder.name} is not used: {said}.",)
    assert tables == tables_of_the_good


def test_folders_that_are_links_or_hold_a_pipe_are_named(tmp_path: Path, tables_of_the_good: list[str]) -> None:
    out = tmp_path / "out"
    folder = folder_of(out)
    folder.rename(tmp_path / folder.name)
    folder.symlink_to(tmp_path / folder.name)
    (out / "suites").mkdir()
    os.mkfifo(out / "suites" / "pipe.json")
    (out / "suites" / "link.json").symlink_to(secret(tmp_path))
    (out / "thumbnails").symlink_to(tmp_path)
    board, tables = used(out)
    assert board.problems == (
        f"records/{folder.name} is not used: it is a link or no folder.",
        "suites/link.json is not used: it is a link, and links are not followed.",
        "suites/pipe.json is not used: it is not a regular file.",
    )
    assert tables == tables_of_the_good
    assert not any(SECRET in text for text in tables)


def test_small_thumbnails_that_would_be_gigabytes_are_not_unpacked(tmp_path: Path) -> None:
    path = thumbnail_path(tmp_path, "f" * 64)
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(2000):
            archive.writestr(str(number), bytes(100_000))
    assert path.stat().st_size < 2**20
    assert read_thumbnails(tmp_path, "f" * 64) == {}


def test_a_thumbnail_is_a_picture_of_our_own(tmp_path: Path) -> None:
    path = thumbnail_path(tmp_path, "f" * 64)
    path.parent.mkdir()
    buffer, wide = io.BytesIO(), io.BytesIO()
    Image.new("L", (80, 80), 99).save(buffer, "JPEG", comment=SECRET.encode())
    Image.new("L", (80, 40), 99).save(wide, "JPEG")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", buffer.getvalue())
        archive.writestr("wide", wide.getvalue())
        archive.writestr("none", b"\xff\xd8\xff" + SECRET.encode())
    kept = Thumbnails([tmp_path], "f" * 64)
    assert kept.get("wide") is None
    assert kept.get("none") is None
    assert SECRET.encode() in buffer.getvalue()
    assert SECRET.encode() not in kept["a"]
    assert np.asarray(Image.open(io.BytesIO(kept["a"]))).tolist() == [[99] * 80] * 80


# --- what a record may say ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put("throughput", "infer_images_per_s", value=0), "throughput.infer_images_per_s is 0.0"),
        (put("throughput", "latency_p50_ms", value=float("nan")),
         "throughput.latency_p50_ms is nan, not a finite number"),
        (put("network", "parameters", value=10**19), "network.parameters is too large a number"),
        (put("network", "gmacs", value=1e300), "network.gmacs is too large a number"),
        (put("backbone", "name", value="x" * 5000), "backbone.name has 5000 characters, too many"),
        (put("data", "fingerprint", value="../../../secret"), "data.fingerprint is not a hash"),
        (put("data", "negative_class", value="nothing"), "data.negative_class is none of its classes"),
        (put("backbone", "name", value=""), "a name of its backbone, recipe, data or split is empty"),
        (put("data", "fold", value=7), "data.fold is 7 of None"),
        (put("data", "class_names", value=["a", "a", "b", "notumor"]),
         "data.class_names are not 2 to 1000 different names"),
        (put("identity", "recipe", value=7), "identity.recipe is not a recipe"),
        (put("identity", "seed", value=7), "identity.seed is not what the record says elsewhere"),
        (put("history", 0, "seconds", value=-1), "a seed, an epoch or its seconds are below zero"),
    ],
)  # fmt: skip
def test_a_record_that_no_run_leaves_is_named(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], said: str, tables_of_the_good: list[str]
) -> None:
    folder = folder_of(tmp_path)
    if (
        "data" in said and "fingerprint" in said
    ):  # the identity says the same, as one who tampers with care would see to
        put("identity", "data_fingerprint", value="../../../secret")(values := json.loads(
            (folder / "record.json").read_text()))  # fmt: skip
        (folder / "record.json").write_text(json.dumps(values))
    folder = spoiled(folder, change)
    board, tables = used(tmp_path)
    assert board.problems == (f"records/{folder.name} is not used: {said}.",)
    assert tables == tables_of_the_good


def test_losses_of_a_run_that_diverged_are_a_gap(tmp_path: Path) -> None:
    record, predictions, *_ = BAD
    epochs = (record.history[0].model_copy(update={"train_loss": float("nan"), "val_loss": float("inf")}),)
    record = record.model_copy(update={"history": (*epochs, *record.history[1:])})
    RecordStore(tmp_path).write(record, predictions)
    board, _ = used(tmp_path)
    assert np.isnan(board.results[0].record.history[0].train_loss)
    write_leaderboard(tmp_path)
    assert '"train":[null' in (tmp_path / "leaderboard.html").read_text(encoding="utf-8").replace(" ", "")


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def arrays_with(**changes: Any) -> bytes:
    return npz(**{**vars(BAD[1]), **changes})


def header_of(text: str) -> bytes:
    """Return predictions whose labels have that header."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in vars(BAD[1]).items():
            own = io.BytesIO()
            np.save(own, array)
            data = own.getvalue() if name != "labels" else (
                b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode())  # fmt: skip
            archive.writestr(f"{name}.npy", data)
    return buffer.getvalue()


COUNT = len(BAD[1].labels)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (arrays_with(labels=np.array(3)),
         "its predictions can't be read (its array 'labels' is int64 with 0 axes, not whole numbers with 1)"),
        (arrays_with(labels=np.array(["a"] * COUNT)),
         "its predictions can't be read (its array 'labels' is <U1 with 1 axes, not whole numbers with 1)"),
        (arrays_with(labels=np.zeros(COUNT, "M8[D]")),
         "its predictions can't be read (its array 'labels' is not what NumPy writes)"),
        (arrays_with(labels=np.zeros(COUNT, "i4,i4")),
         "its predictions can't be read (its array 'labels' is not what NumPy writes)"),
        (arrays_with(groups=np.array(["a"])), "its arrays differ in length"),
        (arrays_with(groups=np.array(["\ud800"] * COUNT)),
         "its predictions can't be read (its array 'groups' has text that is not Unicode)"),
        (header_of("(" * 150 + ")" * 150 + "\n"),
         "its predictions can't be read (its array 'labels' is not what NumPy writes)"),
        (header_of("{'descr': '<i8', 'fortran_order': False, 'shape': (99999999999,), }\n"),
         "its predictions can't be read (its array 'labels' is not what NumPy writes)"),
        (npz(labels=np.zeros(3)), "its predictions can't be read (it has not one array 'image_ids')"),
        (b"PK\x05\x06", "its predictions can't be read (it is not a zip file)"),
    ],
)  # fmt: skip
def test_arrays_that_no_run_leaves_are_named(
    tmp_path: Path, data: bytes, said: str, tables_of_the_good: list[str]
) -> None:
    folder = folder_of(tmp_path)
    (folder / "predictions.npz").write_bytes(data)
    sealed(folder)
    board, tables = used(tmp_path)
    assert board.problems == (f"records/{folder.name} is not used: {said}.",)
    assert tables == tables_of_the_good


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\ufffd=1"),
        ("\x1b[31mred", "\ufffd[31mred"),
        ("a\u202eb", "a\ufffdb"),
    ],
)
def test_a_name_is_no_formula_and_steers_no_terminal(tmp_path: Path, name: str, cell: str) -> None:
    record, predictions = GOOD
    backbone = record.backbone.model_copy(update={"name": name})
    RecordStore(tmp_path).write(record.model_copy(update={"backbone": backbone}), predictions)
    write_tables(read_board(tmp_path), tmp_path)
    for table in ("runs.csv", "leaderboard.csv"):
        with (tmp_path / table).open(encoding="utf-8", newline="") as stream:
            (line,) = csv.DictReader(stream)
        assert line["backbone"] == cell
    for table in ("leaderboard.md", "leaderboard.tex", "report.md"):
        text = (tmp_path / table).read_text(encoding="utf-8")
        assert "\x1b" not in text
        assert "\u202e" not in text
