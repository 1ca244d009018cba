"""The files of the frozen prefix's cache: completed by other runs, bounded, never wrong after a kill."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmark.training import feature_store
from benchmark.training.feature_store import Entry, FeatureStore, NoRoom, Rows, parse_size

COUNT, SHAPE = 12, (256, 64)
ROW_BYTES = 65536


def truth(positions: np.ndarray) -> Rows:
    """Return the right rows: each filled with its position, from 1."""
    return np.broadcast_to((positions + 1)[:, None, None], (len(positions), *SHAPE)).astype(np.float32)


def opened(cache: FeatureStore, key: str = "a") -> Entry:
    return cache.open({"weights": key}, count=COUNT, shape=SHAPE, dtype="float32")


def fill(entry: Entry, positions: list[int]) -> int:
    """Complete an entry as a run does; return how many rows were computed."""
    with entry.filling(lambda: False):
        missing = entry.missing(np.array(positions))
        if len(missing):
            entry.make_room(len(missing))
            entry.write([(missing, truth(missing))])
    return len(missing)


def test_runs_on_other_images_complete_one_entry(tmp_path: Path) -> None:
    cache = FeatureStore(tmp_path, 10**9)
    with opened(cache) as entry:
        assert fill(entry, [1, 2, 3, 8]) == 4
    with opened(cache) as entry:
        assert fill(entry, [8, 3, 4, 3]) == 1
        rows = entry.rows()
        wanted = np.array([8, 4, 1])
        np.testing.assert_array_equal(rows[wanted], truth(wanted))
        assert not rows.flags.writeable
    with opened(cache, "b") as other:
        assert len(other.missing(np.arange(COUNT))) == COUNT


def test_what_was_not_used_for_longest_makes_room_but_never_what_is_in_use(tmp_path: Path) -> None:
    cache = FeatureStore(tmp_path, budget=20 * ROW_BYTES)
    everything = list(range(5))
    for age, key in enumerate(["old", "middle", "new"]):
        with opened(cache, key) as entry:
            fill(entry, everything)
        os.utime(entry.folder / "key.json", (1000 + age, 1000 + age))
    with opened(cache, "old") as used, opened(cache, "fourth") as entry:
        os.utime(used.folder / "key.json", (1, 1))
        fill(entry, everything)
        assert len(used.missing(np.arange(5))) == 0
        np.testing.assert_array_equal(used.rows()[:5], truth(np.arange(5)))
    with opened(cache, "middle") as middle, opened(cache, "fourth") as fourth:
        assert len(middle.missing(np.arange(5))) == 5
        assert len(fourth.missing(np.arange(5))) == 0


def test_more_than_the_budget_is_refused_with_both_figures(tmp_path: Path) -> None:
    with opened(FeatureStore(tmp_path, budget=4 * ROW_BYTES)) as entry:
        with pytest.raises(NoRoom, match=r"GB and the cache may have .* \(--cache-budget\)"):
            fill(entry, list(range(10)))
        assert len(entry.missing(np.arange(COUNT))) == COUNT


def test_what_one_run_is_filling_counts_against_the_others(tmp_path: Path) -> None:
    cache = FeatureStore(tmp_path, budget=16 * ROW_BYTES)
    with opened(cache, "a") as first, opened(cache, "b") as second, first.filling(lambda: False):
        first.make_room(10)
        with pytest.raises(NoRoom, match="in use by other runs"):
            second.make_room(8)


def test_a_failed_fill_gives_its_reservation_back(tmp_path: Path) -> None:
    cache = FeatureStore(tmp_path, budget=16 * ROW_BYTES)
    with opened(cache, "a") as first, opened(cache, "b") as second:
        with contextlib.suppress(RuntimeError), first.filling(lambda: False):
            first.make_room(10)
            raise RuntimeError
        assert fill(second, list(range(8))) == 8


def test_one_fills_at_a_time_and_the_other_can_be_asked_to_stop(tmp_path: Path) -> None:
    cache = FeatureStore(tmp_path, 10**9)
    with (
        opened(cache) as first,
        opened(cache) as second,
        first.filling(lambda: False) as mine,
        second.filling(lambda: True) as theirs,
    ):
        assert (mine, theirs) == (True, False)


def test_an_entry_that_is_wrong_is_taken_away_from_those_who_come_later(tmp_path: Path) -> None:
    cache = FeatureStore(tmp_path, 10**9)
    with opened(cache) as reader:
        fill(reader, [0, 1])
        rows = reader.rows()
        opened(cache).discard()
        np.testing.assert_array_equal(rows[:2], truth(np.arange(2)))
        with opened(cache) as entry:
            assert fill(entry, [0, 1]) == 2


FILLER = """
import sys, time
from pathlib import Path
import numpy as np
from benchmark.training import feature_store
from tests.training.test_prefix_cache import COUNT, ROW_BYTES, opened, truth
feature_store._FLUSH_BYTES = 3 * ROW_BYTES
def blocks():
    for position in range(COUNT):
        yield np.array([position]), truth(np.array([position]))
        print(position, flush=True)
        time.sleep(0.01)
with opened(feature_store.FeatureStore(Path(sys.argv[1]), 10**9)) as entry, entry.filling(lambda: False):
    entry.make_room(COUNT)
    entry.write(blocks())
"""


@pytest.mark.parametrize("rows_seen", [1, 5, 9])
def test_after_a_kill_every_marked_row_is_right_and_the_rest_can_be_computed(tmp_path: Path, rows_seen: int) -> None:
    filler = subprocess.Popen([sys.executable, "-c", FILLER, str(tmp_path)], stdout=subprocess.PIPE)
    assert filler.stdout is not None
    for _ in range(rows_seen):
        assert filler.stdout.readline()
    filler.send_signal(signal.SIGKILL)
    filler.wait()
    with opened(FeatureStore(tmp_path, 10**9)) as entry:
        missing = entry.missing(np.arange(COUNT))
        done = np.setdiff1d(np.arange(COUNT), missing)
        assert rows_seen - 3 <= len(done) < COUNT  # marked in threes
        np.testing.assert_array_equal(entry.rows()[done], truth(done))
        assert fill(entry, list(range(COUNT))) == len(missing)  # the dead one's lock is no obstacle
        np.testing.assert_array_equal(entry.rows(), truth(np.arange(COUNT)))


def test_a_row_is_marked_only_after_it_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    names: dict[int, str] = {}
    real_open, real_fsync, real_pwrite = os.open, os.fsync, os.pwrite

    def watched_open(path: str | Path, *rest: int) -> int:
        descriptor = real_open(path, *rest)
        names[descriptor] = Path(path).name
        return descriptor

    def watched_fsync(descriptor: int) -> None:
        synced.append(f"sync {names[descriptor]}")
        real_fsync(descriptor)

    def watched_pwrite(descriptor: int, data: bytes, offset: int) -> int:
        synced.append(f"write {names[descriptor]}")
        return real_pwrite(descriptor, data, offset)

    monkeypatch.setattr(os, "open", watched_open)
    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "pwrite", watched_pwrite)
    with opened(FeatureStore(tmp_path, 10**9)) as entry:
        synced.clear()  # of the file that says what the entry holds
        fill(entry, [4])
    assert synced == ["write rows.bin", "sync rows.bin", "write done.bin", "sync done.bin"]


def test_a_broken_stream_of_rows_keeps_what_was_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_store, "_FLUSH_BYTES", ROW_BYTES)

    def blocks() -> Iterator[tuple[np.ndarray, Rows]]:
        yield np.array([7]), truth(np.array([7]))
        raise OSError(28, "No space left on device")

    with opened(FeatureStore(tmp_path, 10**9)) as entry:
        with pytest.raises(OSError, match="No space left"):
            entry.write(blocks())
        assert list(np.setdiff1d(np.arange(COUNT), entry.missing(np.arange(COUNT)))) == [7]


@pytest.mark.parametrize(
    ("text", "count"), [("20GB", 20 * 10**9), ("500 mb", 5 * 10**8), ("1.5T", 15 * 10**11), ("0", 0), ("4096", 4096)]
)
def test_sizes_are_read_as_people_write_them(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "many", "nan", "inf"])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"could not convert|-1GB|nan|inf"):
        parse_size(text)
