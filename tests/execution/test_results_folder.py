"""A results folder explains itself, and one of an earlier version is still read and worked in."""

import re
import shutil
from pathlib import Path

import pytest

from benchmark.cli.run import make_ready
from benchmark.errors import UserError
from benchmark.execution.claims import Claims
from benchmark.execution.old_layout import take_over
from benchmark.records.outcomes import Outcome
from benchmark.records.results_folder import CLAIMS, GUIDE, MOVED, write_guide
from benchmark.records.store import RecordStore
from benchmark.reporting.leaderboard import write_leaderboard
from tests.execution.commands import as_an_earlier_version_left_it
from tests.execution.samples import a_record, some_predictions


def old_folder(out: Path) -> Path:
    """Write a result, a failure after it, a log and a checkpoint as an earlier version did."""
    store = RecordStore(out)
    store.write(a_record(), some_predictions())
    store.write(a_record(Outcome.CRASHED))
    for place in MOVED:
        (out.joinpath(*place)).mkdir(exist_ok=True)
    (out / "internal/logs/torch-tiny.log").write_text("hello")
    (out / "internal/work/abc").mkdir()
    (out / "internal/work/abc/last.safetensors").write_text("weights")
    return as_an_earlier_version_left_it(out)


def test_what_stands_at_the_top_is_explained_in_it(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    make_ready(tmp_path)
    store.write(a_record(), some_predictions())
    store.write(a_record(Outcome.CRASHED))
    write_leaderboard(tmp_path)
    text = (tmp_path / GUIDE).read_text(encoding="utf-8")
    named = re.findall(r"[\w*-]+(?:\.\w+|/|\*)", text)
    patterns = [re.escape(name.rstrip("/")).replace(r"\*", ".*") for name in named]
    entries = {path.name for path in tmp_path.iterdir()} - {GUIDE}
    assert {"leaderboard.html", "records", "internal"} <= entries
    assert [name for name in entries if not any(re.fullmatch(each, name) for each in patterns)] == []


def test_a_readme_of_someone_else_stays(tmp_path: Path) -> None:
    (tmp_path / GUIDE).write_text("my own words")
    write_guide(tmp_path)
    assert (tmp_path / GUIDE).read_text() == "my own words"
    (tmp_path / GUIDE).unlink()
    (tmp_path / "other.txt").write_text("TumorBoard: what lies in this folder, long ago")
    (tmp_path / GUIDE).symlink_to(tmp_path / "other.txt")
    write_guide(tmp_path)
    assert (tmp_path / GUIDE).is_symlink()
    (tmp_path / GUIDE).unlink()
    (tmp_path / "other.txt").rename(tmp_path / GUIDE)  # of an earlier version
    write_guide(tmp_path)
    assert "internal/" in (tmp_path / GUIDE).read_text()


def test_a_folder_of_an_earlier_version_is_read_as_it_is(tmp_path: Path) -> None:
    out = old_folder(tmp_path / "out")
    before = sorted(path.relative_to(out) for path in out.rglob("*"))
    stored = RecordStore(out).read_all()
    assert len(stored) == 1
    assert "ended as crashed" in stored.problems[0]
    assert sorted(path.relative_to(out) for path in out.rglob("*")) == before


def test_a_folder_of_an_earlier_version_is_worked_in(tmp_path: Path) -> None:
    out = old_folder(tmp_path / "out")
    make_ready(out)
    assert sorted(path.name for path in out.iterdir()) == [GUIDE, "internal", "records"]
    assert (out / "internal/logs/torch-tiny.log").read_text() == "hello"
    assert (out / "internal/work/abc/last.safetensors").is_file()
    assert RecordStore(out).last_try(a_record().key) == a_record(Outcome.CRASHED)


def test_folders_that_bear_such_names_are_the_users_own_in_a_folder_of_this_version(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    for name in ("logs", "work", "failed", "claims"):
        (tmp_path / name).mkdir()
    make_ready(tmp_path)  # an empty folder is none of an earlier version
    assert (tmp_path / "logs").is_dir()
    assert not (tmp_path / "internal").exists()
    store.write(a_record(), some_predictions())
    claims = Claims(tmp_path)
    claims.take("0" * 64)
    claims.close()
    make_ready(tmp_path)
    assert {"logs", "work", "failed", "claims"} <= {path.name for path in tmp_path.iterdir()}


def test_a_command_of_an_earlier_version_is_waited_for(tmp_path: Path) -> None:
    out = old_folder(tmp_path / "out")
    shutil.rmtree(out / "claims")
    claims = Claims(tmp_path / "elsewhere")
    claims.take("0" * 64)
    shutil.copytree(tmp_path.joinpath("elsewhere", *CLAIMS), out / "claims")
    with pytest.raises(UserError, match="earlier version of TumorBoard is working"):
        take_over(out)
    assert (out / "work/abc/last.safetensors").is_file()
    claims.close()
    for path in (out / "claims").iterdir():
        path.write_text(path.read_text().replace('"pid": ', '"pid": 1'))  # a process that is gone
    take_over(out)
    assert (out / "internal/work/abc/last.safetensors").is_file()
    assert not (out / "claims").exists()
