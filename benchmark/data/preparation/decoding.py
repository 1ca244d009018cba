"""Decode a source's images into files of rows, on all processors.

A thread that decodes holds the interpreter for a third of its time, so threads alone would stand in each other's
way. Of many images, all threads but the first hand their work to a process of their own
(:mod:`benchmark.data.preparation.decoding_process`), which writes the pixels to the same files.
"""

import pickle
import queue
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmark.child_process import end, start
from benchmark.data.preparation.index import hash_pixels
from benchmark.data.preparation.pixels import THUMBNAIL, Resize, resized, resized_mask, thumbnail, write_rgb
from benchmark.data.preparation.threads import usable_cpus
from benchmark.data.sources.base import Source
from benchmark.errors import UserError

Progress = Callable[[int, int], None]  # images done, images in all
_CHUNK, _CHUNK_BYTES = 32, 2**24  # images, and bytes of pixels, that are decoded before they are written
_MANY = 2000  # images: below, a process would take longer to start than it saves
_MOST_PROCESSES = 16


@dataclass(frozen=True)
class Task:
    """What is to be decoded, and how.

    Args:
        source: the images.
        spec: what the user called it, for messages.
        size: side of the square images, in pixels.
        resize: see :func:`benchmark.data.preparation.pixels.resized`.
        skip_corrupt: leave out what can't be read, instead of stopping there.
    """

    source: Source
    spec: str
    size: int
    resize: Resize
    skip_corrupt: bool


@dataclass(frozen=True)
class Rows:
    """Which images become rows, and of which files.

    Args:
        chosen: positions in the source's items, one for each row.
        folder: for pixels and masks.
        thumbnails_in: folder of the index that is being made, ``None`` where there is one already.
    """

    chosen: Sequence[int]
    folder: Path
    thumbnails_in: Path | None


@dataclass(frozen=True)
class Seen:
    """What is kept of one decoded image beside its resized pixels: its row, its place in the source, its hashes."""

    row: int
    item: int
    bytes_hash: bytes
    pixel_hash: bytes
    height: int
    width: int


@dataclass(frozen=True)
class Chunk:
    """What came of consecutive rows: the images seen, the rows that can't be read and why, whether any has a mask."""

    seen: tuple[Seen, ...]
    unreadable: tuple[tuple[int, str], ...]
    masked: bool


def start_process() -> "subprocess.Popen[bytes]":
    """Start a process that decodes (:mod:`benchmark.data.preparation.decoding_process`); raises ``OSError``."""
    return start("benchmark.data.preparation.decoding_process", stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@dataclass(frozen=True)
class Workers:
    """Who decodes.

    Args:
        threads: how many of this process decode by themselves.
        processes: how many further threads have a process each that decodes for them.
        chunk: most images that are decoded before they are written.
        start: starts such a process.
    """

    threads: int
    processes: int = 0
    chunk: int = _CHUNK
    start: Callable[[], "subprocess.Popen[bytes]"] = start_process


def choose_workers(task: Task, rows: Rows) -> Workers:
    """Return who decodes: all processors, by processes where there are enough images to be worth it.

    A source that can't be pickled (it draws its images, or is somebody's own in ``__main__``) stays with threads.
    """
    threads = Workers(usable_cpus())
    if len(rows.chosen) < _MANY or not type(task.source).__module__.startswith("benchmark."):
        return threads
    try:
        pickle.dumps((task, rows))
    except (pickle.PicklingError, AttributeError, TypeError):
        return threads
    processes = min(threads.threads, _MOST_PROCESSES) - 1
    return Workers(threads.threads - processes, processes)


def decode_all(
    task: Task, rows: Rows, progress: Progress | None, workers: Workers | None = None
) -> tuple[list[Seen], tuple[str, ...]]:
    """Decode everything; return what was seen, and a sentence for each unreadable image.

    Args:
        task: what is decoded.
        rows: and where to.
        progress: gets the number of images that are done, and of all.
        workers: who decodes, by default as :func:`choose_workers` says.

    Raises:
        UserError: an image that can't be read, unless those are skipped; no image that can be read.
    """
    total = len(rows.chosen)
    workers = workers or choose_workers(task, rows)
    step = min(workers.chunk, max(1, _CHUNK_BYTES // (4 * task.size**2)))
    seen: list[Seen] = []
    unreadable: list[tuple[int, str]] = []
    masked = False
    with ExitStack() as hands:
        decoder = Decoder(task, rows, new=True)
        free: queue.SimpleQueue[Callable[[range], Chunk]] = queue.SimpleQueue()
        for _ in range(workers.threads):
            free.put(decoder.chunk)
        for _ in range(workers.processes):
            helper = _Helper(pickle.dumps((task, rows)), decoder.chunk, workers.start)
            hands.callback(helper.end)
            free.put(helper)
        hand = threading.local()

        def take() -> None:
            hand.decode = free.get()

        with ThreadPoolExecutor(free.qsize(), initializer=take) as pool:
            pending = {
                pool.submit(lambda part: hand.decode(part), range(k, min(k + step, total)))
                for k in range(0, total, step)
            }
            try:
                while pending:
                    done, pending = wait(pending, timeout=0.5, return_when=FIRST_EXCEPTION)
                    for chunk in (future.result() for future in done):
                        seen += chunk.seen
                        unreadable += chunk.unreadable
                        masked |= chunk.masked
                    if progress is not None:
                        progress(len(seen) + len(unreadable), total)
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
    skipped = tuple(reason for _, reason in sorted(unreadable))
    if not seen:
        raise UserError(f"No image of '{task.spec}' can be read; the first: {skipped[0]}")
    seen.sort(key=lambda one: one.row)
    decoder.close(np.array([one.row for one in seen]) if skipped else None, masked=masked)
    return seen, skipped


class Decoder:
    """Decodes consecutive rows of a task, in this process, from any thread.

    Args:
        task: what is decoded.
        rows: and where to.
        new: create the files; otherwise another process has.
    """

    def __init__(self, task: Task, rows: Rows, *, new: bool) -> None:
        self.task, self.chosen = task, rows.chosen
        n, side = len(rows.chosen), task.size
        self._pixels = RowFile(rows.folder / "pixels.npy", n, (side, side, 3), new=new)
        self._masks = RowFile(rows.folder / "masks.npy", n, (side, side), new=new)
        self._thumbnails = None
        if rows.thumbnails_in is not None:
            self._thumbnails = RowFile(rows.thumbnails_in / "thumbnails.npy", n, (THUMBNAIL, THUMBNAIL), new=new)

    def chunk(self, rows: range) -> Chunk:
        """Decode consecutive rows and write them.

        Raises:
            UserError: an image that can't be read, unless those are skipped.
        """
        task, side = self.task, self.task.size
        pixels = np.zeros((len(rows), side, side, 3), dtype=np.uint8)
        masks = np.zeros((len(rows), side, side), dtype=np.uint8)
        thumbnails = np.zeros((len(rows), THUMBNAIL, THUMBNAIL), dtype=np.uint8)
        masked = False
        seen: list[Seen] = []
        unreadable: list[tuple[int, str]] = []
        for k, row in enumerate(rows):
            try:
                loaded = task.source.load(self.chosen[row])
            except UserError as error:
                if not task.skip_corrupt:
                    raise UserError(damaged(str(error))) from None
                unreadable.append((row, str(error)))
                continue
            write_rgb(pixels[k], resized(loaded.pixels, side, task.resize))
            if loaded.mask is not None:
                masks[k] = resized_mask(loaded.mask, side, task.resize)
                masked = True
            pixel_hash = b""
            if self._thumbnails is not None:
                thumbnails[k] = thumbnail(loaded.pixels)
                pixel_hash = hash_pixels(loaded.pixels)
            height, width = loaded.pixels.shape[:2]
            seen.append(Seen(row, self.chosen[row], loaded.bytes_hash or bytes(32), pixel_hash, height, width))
        self._pixels.write(rows.start, pixels)
        if masked:
            self._masks.write(rows.start, masks)
        if self._thumbnails is not None:
            self._thumbnails.write(rows.start, thumbnails)
        return Chunk(tuple(seen), tuple(unreadable), masked)

    def close(self, kept: np.ndarray[tuple[int], np.dtype[np.int64]] | None, *, masked: bool) -> None:
        """Close the files; leave only the rows ``kept`` where that is given, and no masks where there are none."""
        for file in filter(None, (self._pixels, self._masks, self._thumbnails)):
            file.close(kept)
        if not masked:
            self._masks.path.unlink()


class RowFile:
    """A .npy file of ``count`` rows of uint8 of one shape.

    Rows that are never written are zero, and take no space on most disks. Written with ordinary writes, not through a
    map: a first write to a mapped page costs a page fault.

    Args:
        path: of the new file.
        count: number of rows.
        shape: of a row.
        new: create it; otherwise another process has, with the same count and shape.
    """

    def __init__(self, path: Path, count: int, shape: tuple[int, ...], *, new: bool = True) -> None:
        self.path = path
        self.shape = shape
        self._lock = threading.Lock()
        self._stream = path.open("wb" if new else "rb+")
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)}
        np.lib.format.write_array_header_1_0(self._stream, header)
        self._start = self._stream.tell()
        self._row_bytes = int(np.prod(shape))
        self._stream.truncate(self._start + count * self._row_bytes)

    def write(self, first: int, rows: npt.NDArray[np.uint8]) -> None:
        """Write consecutive rows from number ``first`` on; from any thread."""
        with self._lock:
            self._stream.seek(self._start + first * self._row_bytes)
            self._stream.write(np.ascontiguousarray(rows).data)
            self._stream.flush()  # a process that only helps may be ended at any time after

    def close(self, kept: npt.NDArray[np.int64] | None = None) -> None:
        """Close the file; with ``kept``, leave these rows only, in that order."""
        self._stream.close()
        if kept is None:
            return
        whole = np.load(self.path, mmap_mode="r", allow_pickle=False)
        target = self.path.with_name(f"kept-{self.path.name}")
        smaller = RowFile(target, len(kept), self.shape)
        for first in range(0, len(kept), 256):
            smaller.write(first, whole[kept[first : first + 256]])
        smaller.close()
        target.replace(self.path)


def damaged(reason: str) -> str:
    """Return the sentence that stops a user whose images can't all be read."""
    return f"{reason.rstrip('.')}: mend or remove it, or leave such images out with --skip-corrupt."


class _Helper:
    """A process that decodes for one thread; where it can't be had, or is lost, the thread decodes by itself.

    Args:
        task: what is decoded and where to, pickled.
        instead: decodes where the process does not.
        start_helper: starts the process.
    """

    def __init__(
        self, task: bytes, instead: Callable[[range], Chunk], start_helper: Callable[[], "subprocess.Popen[bytes]"]
    ) -> None:
        self._instead = instead
        self._untold = task  # until the first call: a process reads it when it has started, which others do meanwhile
        self._process: subprocess.Popen[bytes] | None = None
        with suppress(OSError):
            self._process = start_helper()

    def __call__(self, rows: range) -> Chunk:
        """Decode consecutive rows; raises as :meth:`Decoder.chunk`."""
        if self._process is not None and self._process.stdout is not None:
            try:
                self._say(self._untold + pickle.dumps(rows))
                self._untold = b""
                answer = pickle.load(self._process.stdout)
            except (OSError, EOFError, pickle.UnpicklingError):
                self.end()
            else:
                if isinstance(answer, UserError):
                    raise answer
                assert isinstance(answer, Chunk)
                return answer
        return self._instead(rows)

    def end(self) -> None:
        """End the process."""
        if self._process is not None:
            end(self._process)
            self._process = None

    def _say(self, pickled: bytes) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(pickled)
        self._process.stdin.flush()
