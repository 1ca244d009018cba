"""Claims: two commands never have one run, and one that is gone does not keep it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.execution.claims import Claims
from benchmark.host import lives, started_at

KEY = "ab" * 32


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def elsewhere(out: Path, clock: Clock, host: str = "elsewhere") -> Claims:
    """Return the claims of a command on another host."""
    return Claims(out, clock=clock, machine=f"{host} boot pid")


def test_a_run_is_one_commands_until_it_is_given_back(tmp_path: Path) -> None:
    first, second = Claims(tmp_path), Claims(tmp_path)
    assert first.take(KEY)
    assert not second.take(KEY)
    assert str(second.holder(KEY)).startswith(f"process {os.getpid()} on ")
    first.release(KEY)
    assert second.holder(KEY) is None
    assert second.take(KEY)
    assert second.taken_from(KEY) is None
    second.close()
    assert not list((tmp_path / "internal/claims").iterdir())


CLAIM_AND_DIE = """
import os, signal, sys
from pathlib import Path
from benchmark.execution.claims import Claims
assert Claims(Path(sys.argv[1])).take(sys.argv[2])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_on_this_machine_a_dead_process_holds_nothing(tmp_path: Path) -> None:
    died = subprocess.run([sys.executable, "-c", CLAIM_AND_DIE, str(tmp_path), KEY], check=False)
    assert died.returncode == -9
    claims = Claims(tmp_path)
    assert claims.take(KEY)
    assert claims.taken_from(KEY) is not None
    claims.close()
    assert not list((tmp_path / "internal/claims").iterdir())


def test_the_number_of_a_dead_process_may_be_anothers(tmp_path: Path, clock: Clock) -> None:
    assert lives(os.getpid(), started_at()) is True
    assert lives(os.getpid(), started_at() - 1e4) is None
    dead = Claims(tmp_path)
    dead._started -= 1e4
    assert dead.take(KEY)
    claims = Claims(tmp_path, clock=clock)
    assert not claims.take(KEY)
    clock.now += 61
    assert claims.take(KEY)


def test_another_hosts_claim_is_stale_when_its_heart_stood_still_for_the_lease(tmp_path: Path, clock: Clock) -> None:
    there, here = elsewhere(tmp_path, clock), Claims(tmp_path, clock=clock)
    assert there.take(KEY)
    for _ in range(5):  # it beats, however long that lasts
        assert not here.take(KEY)
        clock.now += 59
        there.beat()
    assert not here.take(KEY)
    clock.now += 59
    assert not here.take(KEY)
    clock.now += 2
    assert here.take(KEY)
    assert "on elsewhere" in str(here.taken_from(KEY))


def test_a_command_that_was_only_suspended_gives_the_run_up(tmp_path: Path, clock: Clock) -> None:
    lost: list[str] = []
    there = Claims(tmp_path, clock=clock, machine="elsewhere boot pid", on_lost=lost.append)
    here = Claims(tmp_path, clock=clock)
    assert there.take(KEY)
    assert not here.take(KEY)
    clock.now += 61
    assert here.take(KEY)
    there.beat()
    assert lost == [KEY]
    assert there.lost(KEY)
    there.release(KEY)
    assert not Claims(tmp_path).take(KEY), "the loser deleted the winner's claim"
    here.release(KEY)
    assert not list((tmp_path / "internal/claims").iterdir())


def test_of_two_that_see_a_stale_claim_one_gets_it(tmp_path: Path, clock: Clock) -> None:
    dead = elsewhere(tmp_path, clock)
    assert dead.take(KEY)
    several = [elsewhere(tmp_path, clock, f"host{number}") for number in range(3)]
    assert not any(claims.take(KEY) for claims in several)
    clock.now += 61
    assert [claims.take(KEY) for claims in several] == [True, False, False]
    # and that one may die in its turn
    clock.now += 61
    assert [claims.take(KEY) for claims in several[1:]] == [True, False]
    clock.now += 61
    assert several[2].take(KEY)
    several[2].release(KEY)
    assert not list((tmp_path / "internal/claims").iterdir())


def test_one_that_decided_too_late_gets_nothing(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, late, quick = (elsewhere(tmp_path, clock, name) for name in ("dead", "late", "quick"))
    assert dead.take(KEY)
    assert not late.take(KEY)
    assert not quick.take(KEY)
    clock.now += 61
    create = late._create

    def after_the_others(key: str, path: Path) -> bool:
        """All this happens after it saw the stale claim, and before it makes its successor."""
        assert quick.take(KEY)
        quick.release(KEY)
        assert quick.take(KEY)
        return create(key, path)

    monkeypatch.setattr(late, "_create", after_the_others)
    assert not late.take(KEY)
    assert not elsewhere(tmp_path, clock).take(KEY)
    quick.release(KEY)
    assert not list((tmp_path / "internal/claims").iterdir())


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 2000, b"null", b'{"pid": 1}', b'{"machine": "x", "pid": -1, '
    b'"started": 0, "token": "../../x", "lease": 1e99}'])  # fmt: skip
def test_a_claim_that_makes_no_sense_is_stale_after_the_lease(tmp_path: Path, clock: Clock, content: bytes) -> None:
    (tmp_path / "internal/claims").mkdir(parents=True)
    (tmp_path / "internal/claims" / f"{KEY[:20]}.claim").write_bytes(content)
    claims = Claims(tmp_path, clock=clock)
    assert not claims.take(KEY)
    clock.now += 61
    assert claims.take(KEY)
    claims.release(KEY)
    assert not list((tmp_path / "internal/claims").iterdir())
    assert [path.name for path in tmp_path.iterdir()] == ["internal"]


def test_the_heart_beats_by_itself(tmp_path: Path) -> None:
    claims = Claims(tmp_path, lease=0.06)
    assert claims.take(KEY)
    [path] = (tmp_path / "internal/claims").iterdir()
    beats = {json.loads(path.read_bytes())["beat"]}
    while len(beats) < 3:
        beats.add(json.loads(path.read_bytes())["beat"])
    claims.close()


@pytest.mark.parametrize("days", [1, -1])
def test_no_claim_is_lost_when_the_clock_is_moved_by_a_day(tmp_path: Path, clock: Clock, days: int) -> None:
    """When a process began seems to move with the clock; its heart beats on, and a lease is timed by another."""
    holder = Claims(tmp_path, clock=clock)
    holder._started -= days * 86_400
    assert holder.take(KEY)
    here = Claims(tmp_path, clock=clock)
    for _ in range(5):
        assert not here.take(KEY)
        clock.now += 59
        holder.beat()
    assert not holder.lost(KEY)
    holder.release(KEY)
    assert here.take(KEY)
    here.close()


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_a_claim_that_is_no_file_is_not_waited_for(tmp_path: Path, clock: Clock, kind: str) -> None:
    """Who may write to a lab's folder can put anything there."""
    (tmp_path / "internal/claims").mkdir(parents=True)
    path = tmp_path / "internal/claims" / f"{KEY[:20]}.claim"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    claims = Claims(tmp_path, clock=clock)
    assert not claims.take(KEY)
    clock.now += 61
    assert claims.take(KEY)
    claims.close()
