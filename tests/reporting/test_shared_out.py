"""Work that two processes share gives what one gives, in the same order, whatever becomes of the other process."""

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
from simulated import TWELVE, Study

from benchmark.data.preparation import process_copy
from benchmark.data.preparation.shared_work import done_here
from benchmark.records.record_folder import Read, Reading
from benchmark.records.store import RecordStore
from benchmark.reporting.large_boards import shared_out
from benchmark.reporting.large_boards.kept_runs import KeptRuns
from benchmark.reporting.large_boards.written_parts import Part, Parts
from benchmark.reporting.leaderboard import read_board

pytestmark = pytest.mark.skipif("sys.platform != 'linux'")
ITEMS = list(range(400))


class Noted:
    """Squares of numbers, and which process made each."""

    def __init__(self, folder: Path, there: Callable[[int], None] = lambda item: None) -> None:
        self.folder, self.here, self.there = folder, os.getpid(), there

    def make(self, item: int) -> tuple[int, int]:
        if os.getpid() != self.here:
            self.there(item)
            (self.folder / "there").write_text(str(os.getpid()))
        elif item == 0:
            self.wait_for_the_copy()
        return item * item, os.getpid()

    def wait_for_the_copy(self) -> None:
        end = time.monotonic() + 60
        while not (self.folder / "there").exists() and time.monotonic() < end:
            time.sleep(0.01)

    def size(self, made: tuple[int, int]) -> int:
        return 8

    def packed(self, made: tuple[int, int]) -> bytes:
        return repr(made).encode()

    def unpacked(self, data: bytes) -> tuple[int, int]:
        square, process = data.decode().strip("()").split(",")
        return int(square), int(process)


def children() -> set[int]:
    """Return the numbers of the processes that this one has started."""
    return {child.pid for child in psutil.Process().children()}


def squares_and_processes(work: Noted) -> set[int]:
    others = children()
    made = list(shared_out.shared_out(work, ITEMS))
    assert [square for square, _ in made] == [item * item for item in ITEMS]
    assert children() <= others
    assert (work.folder / "there").exists()
    return {process for _, process in made}


def test_both_processes_make_some_and_the_order_is_kept(tmp_path: Path) -> None:
    processes = squares_and_processes(Noted(tmp_path))
    assert os.getpid() in processes
    assert len(processes) == 2
    assert list(shared_out.shared_out(Noted(tmp_path), [])) == []


def _killed(item: int) -> None:
    if item >= 8 * shared_out.TOGETHER:
        os.kill(os.getpid(), signal.SIGKILL)


def _failed(item: int) -> None:
    if item >= 8 * shared_out.TOGETHER:
        raise MemoryError


@pytest.mark.parametrize("there", [_killed, _failed])
def test_what_a_copy_leaves_that_ends_early_is_made_here(tmp_path: Path, there: Callable[[int], None]) -> None:
    assert os.getpid() in squares_and_processes(Noted(tmp_path, there))


def test_without_a_copy_all_is_made_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room() -> int:
        raise OSError("no room")

    monkeypatch.setattr(os, "fork", no_room)
    (tmp_path / "there").touch()
    assert squares_and_processes(Noted(tmp_path)) == {os.getpid()}


def test_without_files_in_memory_all_is_made_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    (tmp_path / "there").touch()
    assert squares_and_processes(Noted(tmp_path)) == {os.getpid()}


def test_a_copy_hands_over_so_much_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_out, "MOST_BYTES", 10)
    assert squares_and_processes(Noted(tmp_path)) == {os.getpid()}


def test_this_process_waits_where_it_is_too_far_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_out, "_AHEAD_BYTES", 40)
    assert len(squares_and_processes(Noted(tmp_path, lambda item: time.sleep(0.001)))) == 2


def test_errors_here_are_raised_and_end_the_copy(tmp_path: Path) -> None:
    class Fails(Noted):
        def make(self, item: int) -> tuple[int, int]:
            made = super().make(item)
            if made[1] == self.here:
                raise ValueError("of an item")
            return made

    others = children()
    with pytest.raises(ValueError, match="of an item"):
        list(shared_out.shared_out(Fails(tmp_path), ITEMS))
    assert children() <= others


def test_who_stops_early_ends_the_copy(tmp_path: Path) -> None:
    others = children()
    made = shared_out.shared_out(Noted(tmp_path, lambda item: time.sleep(0.01)), ITEMS)
    assert next(made)[0] == 0
    made.close()  # type: ignore[attr-defined]
    assert children() <= others


def test_parts_that_the_copy_can_t_write_are_written_here_and_only_this_process_tells(tmp_path: Path) -> None:
    def write_here_alone(name: str) -> None:
        if os.getpid() != here:
            raise OSError("no room")
        time.sleep(0.05)
        (tmp_path / name).touch()

    here, told = os.getpid(), []
    parts = [Part(name, partial(write_here_alone, name)) for name in ("page", "figures", "tables")]
    list(shared_out.shared_out(Parts(told.append), parts, together=1))
    assert {path.name for path in tmp_path.iterdir()} == {"page", "figures", "tables"}
    assert sorted(told) == ["figures", "page", "tables"]

    def fail() -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        list(shared_out.shared_out(Parts(told.append), [Part("page", fail)], together=1))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return a results folder of 60 runs on two data sets, some of which can't be used."""
    folder = tmp_path / "results"
    store = RecordStore(folder)
    for study in (
        Study(patients=16, slices=1),
        Study(name="other", patients=12, slices=1, classes=("a", "b"), negative_class=None),
    ):
        for reader in TWELVE[:10]:
            for seed in range(3):
                last = store.write(*study.run(reader, seed))
    (last / "predictions.npz").write_bytes((last / "predictions.npz").read_bytes()[:-1])
    (folder / "records" / "no record").mkdir()
    return folder


def counted_hand_overs(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[str]:
    """Return a list that gets the name of each record that the copy read and handed over; it is waited for once."""
    names: list[str] = []
    here, make, unpacked = os.getpid(), Reading.make, Reading.unpacked

    def made(self: Reading, name: str) -> Read:
        if os.getpid() != here:
            (folder / "the copy reads").touch()
        elif names == [] and not (folder / "the copy reads").exists():
            for _ in range(6000):
                if (folder / "the copy reads").exists():
                    break
                time.sleep(0.01)
        return make(self, name)

    def noted(self: Reading, data: bytes) -> Read:
        read = unpacked(self, data)
        names.append(read.name)
        return read

    monkeypatch.setattr(Reading, "make", made)
    monkeypatch.setattr(Reading, "unpacked", noted)
    return names


def test_two_processes_read_what_one_reads(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = RecordStore(out).read_all()
    handed_over = counted_hand_overs(monkeypatch, out.parent)
    two = RecordStore(out).read_all(share_out=partial(shared_out.shared_out, together=4))
    assert handed_over
    assert len(two) == 59
    assert two.problems == one.problems
    assert len(two.problems) == 2
    assert two.contents == one.contents
    for (record, predictions), (same, others) in zip(one, two, strict=True):
        assert record == same
        assert predictions is not None
        assert others is not None
        for name, values in vars(predictions).items():
            np.testing.assert_array_equal(values, getattr(others, name), strict=True)
    assert len({id(predictions.image_ids) for _, predictions in two if predictions is not None}) == 2


def test_a_board_that_two_processes_read_is_that_of_one(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boards = []
    by_two = partial(shared_out.shared_out, together=4)
    # one process; two that compute; two that find what was computed
    for number, share_out in enumerate((done_here, by_two, by_two)):
        monkeypatch.setenv("TUMORBOARD_CACHE", str(out.parent / f"cache {min(number, 1)}"))
        if number == 2:
            monkeypatch.setattr(KeptRuns, "learn", None)  # nothing is computed again
        boards.append(read_board(out, share_out=share_out))
    lines = [[row.line for row in board.rows] for board in boards]
    assert lines[0] == lines[1] == lines[2]
    assert [[result.values for result in board.results] for board in boards[1:]] == [
        [result.values for result in boards[0].results]
    ] * 2


def test_a_copy_can_be_made_only_where_threads_of_libraries_are_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_copy, "usable_cpus", lambda: 1)
    assert not process_copy.can_work_beside()
