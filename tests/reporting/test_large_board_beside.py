"""A large board is written by two processes, and each file is what one alone writes."""

import os
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from simulated import TWELVE, Study

from benchmark.records.store import RecordStore
from benchmark.reporting import leaderboard
from benchmark.reporting.large_boards.beside import done_beside
from benchmark.reporting.leaderboard import write_leaderboard

ROWS = 104


@pytest.mark.skipif("sys.platform != 'linux'")
def test_work_is_done_beside_the_block_and_again_here_where_it_failed(tmp_path: Path) -> None:
    def note() -> None:
        (tmp_path / str(os.getpid())).touch()

    with done_beside(note, beside=True):
        pass
    other = [int(path.name) for path in tmp_path.iterdir()]
    assert len(other) == 1
    assert other != [os.getpid()]

    def fail_beside() -> None:
        note()
        if os.getpid() != mine:
            raise OSError("no room")

    mine = os.getpid()
    with done_beside(fail_beside, beside=True):
        pass
    assert (tmp_path / str(mine)).exists()

    (tmp_path / str(mine)).unlink()
    with done_beside(note, beside=False):
        assert not (tmp_path / str(mine)).exists()
    assert (tmp_path / str(mine)).exists()


def test_errors_of_the_work_are_raised_here_and_those_of_the_block_end_it(tmp_path: Path) -> None:
    def fail() -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"), done_beside(fail, beside=True):
        pass

    def endless() -> None:
        (tmp_path / "new").write_text(str(os.getpid()))
        (tmp_path / "new").rename(tmp_path / "begun")
        while True:
            time.sleep(0.1)

    def fail_once_it_has_begun() -> None:
        while not (tmp_path / "begun").exists():
            time.sleep(0.01)
        raise ValueError("of the block")

    with pytest.raises(ValueError, match="of the block"), done_beside(endless, beside=True):
        fail_once_it_has_begun()
    assert not psutil.pid_exists(int((tmp_path / "begun").read_text()))


@pytest.mark.slow
def test_a_large_board_is_the_same_bytes_by_one_process_and_by_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, study = tmp_path / "results", Study(patients=12, slices=1, grouped=False)
    for number in range(ROWS):
        kind = TWELVE[number % len(TWELVE)]
        RecordStore(out).write(
            *study.run(replace(kind, name=f"{kind.name}_{number:03d}", skill=kind.skill - 0.01 * number))
        )
    begun = []

    def counted() -> int:
        begun.append(name)
        return forked()

    forked = os.fork
    monkeypatch.setattr(os, "fork", counted)
    written = []
    for name in ("two", "one"):
        monkeypatch.setenv("TUMORBOARD_CACHE", str(tmp_path / f"cache of {name}"))
        monkeypatch.setattr(leaderboard, "can_work_beside", lambda name=name: name == "two")
        write_leaderboard(tmp_path / name, [out])
        files = [path for path in (tmp_path / name).rglob("*") if path.is_file()]
        written.append({path.relative_to(tmp_path / name): path.read_bytes() for path in files})
    assert begun == ["two"]
    assert Path("gallery.png") in written[0]
    assert Path("leaderboard.html") in written[0]
    assert written[0].keys() == written[1].keys()
    assert [path for path, content in written[0].items() if written[1][path] != content] == []
