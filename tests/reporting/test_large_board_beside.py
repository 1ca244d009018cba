"""A large board is made by two processes, and each file is what one alone writes."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from simulated import TWELVE, Study

from benchmark.records.store import RecordStore
from benchmark.reporting import leaderboard
from benchmark.reporting.leaderboard import write_leaderboard

ROWS = 104


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
    assert begun == ["two"] * 3  # to read, to average, and to write
    assert Path("gallery.png") in written[0]
    assert Path("leaderboard.html") in written[0]
    assert written[0].keys() == written[1].keys()
    assert [path for path, content in written[0].items() if written[1][path] != content] == []
