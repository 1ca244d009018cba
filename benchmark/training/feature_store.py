"""Features on disk: files, keys, budget and locks. NumPy only; :mod:`.feature_cache` says when to use it.

An entry is a folder named by the hash of everything that could change what is in it. ``rows.bin`` has a place for
every image of the data set and is mapped, sparse where nothing was computed; ``done.bin`` has a byte for each image,
set only after its row is on the disk, so that a process killed at any moment leaves rows that are right or unmarked.
Runs that use other images of the same data (folds) complete one entry.

Locks are the kernel's (``flock``): they end with their process, however it ends. Who uses an entry shares
``use.lock``; who removes one must have that alone. ``fill.lock`` is for the one who computes, ``.lock`` of the whole
folder for the one who counts bytes.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from benchmark.atomic_files import write_atomically
from benchmark.hashing import canonical_json, hash_json
from benchmark.ownership import make_private, other_writers

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FORMAT = 1  # raised by hand when the same key would be kept otherwise
DEFAULT_BUDGET = 20 * 10**9
# What is left free on the disk for all else.
_KEEP_FREE = 512 * 2**20
# Computed rows are made durable, and counted as done, this often.
_FLUSH_BYTES, _FLUSH_SECONDS = 2**28, 20.0
_POLL_SECONDS = 0.2

Rows = npt.NDArray[Any]
Positions = npt.NDArray[np.int64]


class NoRoom(Exception):
    """Says in one clause why an entry can't be kept."""


class FeatureStore:
    """All entries of one folder.

    Args:
        folder: made when first written to.
        budget: bytes that all entries together may take; ``None`` is 20 GB, or half of what the disk has left where
            that is less.

    Example:
        >>> cache = FeatureStore(Path("/tmp/prefixes"), budget=10**9)
        >>> with cache.open({"weights": "..."}, count=100, shape=(8,), dtype="float32") as entry:
        ...     missing = entry.missing(positions)
    """

    def __init__(self, folder: Path, budget: int | None = None) -> None:
        self.folder, self._budget = folder, budget

    def open(self, key: Mapping[str, Any], *, count: int, shape: tuple[int, ...], dtype: str) -> "Entry":
        """Return the entry of a key, made where there is none, in use until it is closed.

        Args:
            key: JSON-ready; everything that could change a row, but for shape and dtype.
            count: images of the data set; an image's position is its row.
            shape: of one row.
            dtype: NumPy's name.

        Raises:
            NoRoom: the folder can't be written, others may write to it, or the system has no locks that end with a
                process.
        """
        if fcntl is None:
            raise NoRoom("this system has no file locks that end with their process")
        whole = {"format": FORMAT, "count": count, "shape": list(shape), "dtype": dtype, **key}
        folder = self.folder / hash_json(whole)[:24]
        for place in (self.folder.parent, self.folder, folder, folder / "rows.bin", folder / "done.bin"):
            others = other_writers(place)
            if others:
                raise NoRoom(f"{place} is not used, because {others}, and who writes there can change results")
        try:
            return Entry(self, folder, whole)
        except OSError as error:
            raise NoRoom(f"{self.folder} can't be written ({error.strerror or error})") from None

    def budget(self) -> int:
        """Return the bytes that all entries together may take."""
        if self._budget is not None:
            return self._budget
        used = sum(_bytes(folder) for folder in self._folders())
        return min(DEFAULT_BUDGET, (shutil.disk_usage(self.folder).free + used) // 2)

    def make_room(self, entry: "Entry", needed: int) -> None:
        """Set aside ``needed`` bytes more for an entry that is being filled, removing what was not used for longest.

        Raises:
            NoRoom: the budget or the disk does not allow it; what is in use is never removed.
        """
        with _lock(self.folder / ".lock"):
            for dead in self.folder.glob(".removed-*"):
                shutil.rmtree(dead, ignore_errors=True)
            budget, own = self.budget(), _bytes(entry.folder, reserved=False) + needed
            if own > budget:
                raise NoRoom(
                    f"it needs {_gigabytes(own)} and the cache may have {_gigabytes(budget)} (--cache-budget)"
                )
            others = {folder: _bytes(folder) for folder in self._folders() if folder != entry.folder}
            for folder in sorted(others, key=_last_used):
                if self._fits(sum(others.values()) + own, needed, budget):
                    break
                if _remove(folder):
                    del others[folder]
            if not self._fits(sum(others.values()) + own, needed, budget):
                raise NoRoom(
                    f"it needs {_gigabytes(needed)} more; {_gigabytes(sum(others.values()))} of the "
                    f"{_gigabytes(budget)} that the cache may have are in use by other runs, and the disk has "
                    f"{_gigabytes(shutil.disk_usage(self.folder).free)} free"
                )
            entry.reserve(own)

    def _fits(self, total: int, needed: int, budget: int) -> bool:
        return total <= budget and shutil.disk_usage(self.folder).free - needed >= _KEEP_FREE

    def _folders(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return [path for path in self.folder.iterdir() if path.is_dir() and not path.name.startswith(".")]


class Entry(contextlib.AbstractContextManager["Entry"]):
    """The features of a data set's images by some frozen stages, of :meth:`FeatureStore.open`."""

    def __init__(self, cache: FeatureStore, folder: Path, key: Mapping[str, Any]) -> None:
        self._cache, self.folder = cache, folder
        self._count, self._shape = int(key["count"]), tuple(int(side) for side in key["shape"])
        self._dtype = np.dtype(key["dtype"])
        self.row_bytes = int(np.prod(self._shape)) * self._dtype.itemsize
        self._use = _share(folder)
        try:
            _sized(folder / "rows.bin", self._count * self.row_bytes)
            _sized(folder / "done.bin", self._count)
            facts = folder / "key.json"
            if not facts.exists():
                write_atomically(facts, canonical_json(dict(key)))
            os.utime(facts)
        except BaseException:
            os.close(self._use)
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others remove the entry, should they need its room."""
        if self._use >= 0:
            with contextlib.suppress(OSError):
                os.utime(self.folder / "key.json")
            os.close(self._use)
            self._use = -1

    def rows(self) -> Rows:
        """Return all rows, shape (count, *shape), mapped read-only; those that are not done mean nothing."""
        shape = (self._count, *self._shape)
        return np.memmap(self.folder / "rows.bin", dtype=self._dtype, mode="r", shape=shape)

    def missing(self, positions: Positions) -> Positions:
        """Return those of ``positions`` whose rows are not done, ascending, each once."""
        done = np.fromfile(self.folder / "done.bin", dtype=np.uint8)
        unique = np.unique(positions)
        return np.asarray(unique[done[unique] == 0])

    @contextlib.contextmanager
    def filling(self, should_stop: Callable[[], bool]) -> Iterator[bool]:
        """Wait until nobody else fills the entry, and be the one who does; false where ``should_stop`` came first."""
        descriptor = os.open(self.folder / "fill.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            while not _try_lock(descriptor):
                if should_stop():
                    yield False
                    return
                time.sleep(_POLL_SECONDS)
            try:
                yield True
            finally:
                (self.folder / "reserved").unlink(missing_ok=True)
        finally:
            os.close(descriptor)

    def make_room(self, images: int) -> None:
        """Set disk space aside for the rows of so many images more; see :meth:`FeatureStore.make_room`."""
        self._cache.make_room(self, images * self.row_bytes)

    def reserve(self, total: int) -> None:
        """Note how many bytes the entry is going to have."""
        (self.folder / "reserved").write_text(str(total), encoding="ascii")

    def write(self, blocks: Iterable[tuple[Positions, Rows]]) -> None:
        """Write rows; they are done when this returns, and in part before.

        Args:
            blocks: positions, shape (B,), and their rows, shape (B, *shape).

        Raises:
            OSError: the disk is full, or breaks. What was done stays.
        """
        rows = os.open(self.folder / "rows.bin", os.O_RDWR)
        done = os.open(self.folder / "done.bin", os.O_RDWR)
        try:
            written: list[Positions] = []
            pending, since = 0, time.monotonic()
            for positions, block in blocks:
                self._write_block(rows, positions, block)
                written.append(positions)
                pending += len(positions) * self.row_bytes
                if pending >= _FLUSH_BYTES or time.monotonic() - since >= _FLUSH_SECONDS:
                    _mark(rows, done, written)
                    written, pending, since = [], 0, time.monotonic()
            _mark(rows, done, written)
        finally:
            os.close(rows)
            os.close(done)

    def _write_block(self, descriptor: int, positions: Positions, block: Rows) -> None:
        if block.shape != (len(positions), *self._shape) or block.dtype != self._dtype:
            raise ValueError(
                f"rows must be {self._dtype} of shape {self._shape}, not {block.dtype} {block.shape[1:]}"
            )
        block = np.ascontiguousarray(block)
        breaks = np.flatnonzero(np.diff(positions) != 1) + 1
        for start, end in zip([0, *breaks], [*breaks, len(positions)], strict=True):
            _write_all(descriptor, block[start:end], int(positions[start]) * self.row_bytes)

    def discard(self) -> None:
        """Take the entry away, because its rows are not what the stages give; who has mapped it keeps them."""
        with contextlib.suppress(OSError):
            _take_away(self.folder)
        self.close()


def parse_size(text: str) -> int:
    """Return the bytes of ``20GB``, ``500 MB``, ``1.5T`` or a plain number; raises ``ValueError``."""
    units = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
    number = text.strip().upper().removesuffix("B").strip()
    unit = number[-1:] if number[-1:] in units else ""
    value = float(number.removesuffix(unit)) * units[unit]
    if not 0 <= value < 2**63:
        raise ValueError(text)
    return int(value)


def _share(folder: Path) -> int:
    """Make an entry's folder and share its lock; return the descriptor that holds it."""
    while True:
        make_private(folder)
        path = folder / "use.lock"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:
            continue  # removed this moment
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        os.close(descriptor)


def _remove(folder: Path) -> bool:
    """Remove an entry that nobody uses; return whether it is gone."""
    try:
        descriptor = os.open(folder / "use.lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError:
        return not folder.exists()
    try:
        if not _try_lock(descriptor):
            return False
        _take_away(folder)
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _take_away(folder: Path) -> None:
    """Remove a folder at once for all who look for it."""
    removed = folder.with_name(f".removed-{folder.name}-{uuid4().hex[:8]}")
    folder.rename(removed)
    shutil.rmtree(removed, ignore_errors=True)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sized(path: Path, size: int) -> None:
    """Make a file of zeros that takes no room until it is written."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if os.fstat(descriptor).st_size != size:
            os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, array: Rows, offset: int) -> None:
    view = array.reshape(-1).view(np.uint8).data
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _mark(rows: int, done: int, written: list[Positions]) -> None:
    """Wait until rows are on the disk, then mark them."""
    if not written:
        return
    os.fsync(rows)
    for position in np.concatenate(written):
        os.pwrite(done, b"\1", int(position))
    os.fsync(done)


def _bytes(folder: Path, *, reserved: bool = True) -> int:
    """Return what an entry takes on the disk, or is going to."""
    taken = 0
    with contextlib.suppress(OSError):
        taken = sum(path.stat().st_blocks * 512 for path in folder.iterdir())
    planned = 0
    if reserved:
        with contextlib.suppress(OSError, ValueError):
            planned = int((folder / "reserved").read_text(encoding="ascii"))
    return max(taken, planned)


def _last_used(folder: Path) -> float:
    with contextlib.suppress(OSError):
        return (folder / "key.json").stat().st_mtime
    return 0.0


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.3g} GB"
