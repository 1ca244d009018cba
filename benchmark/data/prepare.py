"""Open a data set: decode every image once, keep the pixels on disk, map them from then on.

A source has a folder in the cache, named by its signature and the format's version. It holds one ``index`` (ids,
labels, groups, hashes: what does not depend on the size) and one folder of pixels for each size, channel order and
resize rule. Each appears whole or not at all.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.data.dataset import DataSet
from benchmark.data.images import THUMBNAIL, Resize, resized, resized_mask, thumbnail
from benchmark.data.index import Index, hash_pixels, load_index, save_index
from benchmark.data.parallel import usable_cpus
from benchmark.data.rows import RowFile
from benchmark.data.sources import open_source
from benchmark.data.sources.base import Source
from benchmark.data.store import cache_root, locked, require_space, written_whole
from benchmark.errors import UserError

FORMAT = 2  # raised by hand when the same source would be prepared otherwise
SIZES = (8, 4096)
_CHUNK, _CHUNK_BYTES = 32, 2**24  # images, and bytes of pixels, that a thread decodes before it writes
Progress = Callable[[int, int], None]  # images done, images in all


def open_dataset(
    spec: str | Source,
    *,
    size: int,
    resize: Resize = "squash",
    skip_corrupt: bool = False,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> DataSet:
    """Return a data set at one size, preparing it the first time.

    Args:
        spec: ``phantom``, a folder, a ``.zip`` file, or a source.
        size: side of the square images, in pixels, 8 to 4096.
        resize: ``squash`` changes the aspect ratio, ``pad`` keeps it and adds black; both antialiased.
        skip_corrupt: leave out images that can't be read (``DataSet.skipped`` names them).
        cache: the folder of all caches; by default ``$TUMORBOARD_CACHE`` or the user's.
        progress: called with (images done, images in all) while preparing.

    Returns:
        The data set, its pixels mapped from ``<cache>/data/<source>/<size>-rgb-<resize>/``.

    Raises:
        UserError: a source, size or cache that can't be used; an image that can't be read, named.
    """
    if isinstance(size, bool) or not SIZES[0] <= size <= SIZES[1]:
        raise UserError(f"Image size must be {SIZES[0]} to {SIZES[1]} pixels, not {size}.")
    source = open_source(spec) if isinstance(spec, str) else spec
    key = hashlib.sha256(f"{FORMAT} {source.signature()}".encode()).hexdigest()
    label = Path(spec).name if isinstance(spec, str) else type(source).__name__
    home = cache_root(cache) / "data" / f"{_plain(label)}-{key[:16]}"
    folder = home / f"{size}-rgb-{resize}"
    if not folder.exists():
        with locked(home):
            if not folder.exists():  # another process may have prepared it while this one waited
                task = _Task(source, str(spec) if isinstance(spec, str) else source.name, size, resize, skip_corrupt)
                _prepare(task, home, folder, progress or _silent)
    data = load_prepared(folder)
    if data.skipped and not skip_corrupt:
        raise UserError(_damaged(data.skipped[0]))
    return data


def load_prepared(folder: Path) -> DataSet:
    """Open what :func:`open_dataset` prepared, from ``DataSet.folder``; reads no image.

    Raises:
        UserError: the folder is not a prepared data set.
    """
    try:
        index = load_index(folder.parent / "index")
        pixels = np.load(folder / "pixels.npy", mmap_mode="r", allow_pickle=False)
        masks_file = folder / "masks.npy"
        masks = np.load(masks_file, mmap_mode="r", allow_pickle=False) if masks_file.exists() else None
    except (OSError, ValueError, KeyError, json.JSONDecodeError) as error:
        raise UserError(f"'{folder}' holds no prepared data set ({error}): open the data set anew.") from None
    return index.dataset(pixels, masks, folder)


@dataclass(frozen=True)
class _Task:
    """What is to be prepared, and how."""

    source: Source
    spec: str
    size: int
    resize: Resize
    skip_corrupt: bool


@dataclass(frozen=True)
class _Seen:
    """What is kept of one decoded image beside its resized pixels."""

    row: int
    item: int
    bytes_hash: bytes
    pixel_hash: bytes
    height: int
    width: int


def _silent(done: int, total: int) -> None:
    pass


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:40] or "images"


def _damaged(reason: str) -> str:
    return f"{reason.rstrip('.')}: mend or remove it, or leave such images out with --skip-corrupt."


def _prepare(task: _Task, home: Path, folder: Path, progress: Progress) -> None:
    """Decode all images of a source into ``folder``, and make its index where there is none yet."""
    index_folder = home / "index"
    known = load_index(index_folder) if index_folder.exists() else None
    ids = None if known is None else set(known.image_ids.tolist())
    chosen = [k for k, item in enumerate(task.source.items) if ids is None or item.image_id in ids]
    require_space(home, len(chosen) * 4 * task.size**2)  # three channels and a mask
    with contextlib.ExitStack() as unfinished:
        pixels_folder = unfinished.enter_context(written_whole(folder))
        # entered last and so finished first: pixels without an index would never be complete
        new_index = None if known is not None else unfinished.enter_context(written_whole(index_folder))
        decoder = _Decoder(task, chosen, pixels_folder, thumbnails_in=new_index)
        seen, skipped = decoder.run(progress)
        if new_index is not None:
            save_index(_index(task, seen, skipped), new_index)
        elif skipped:
            raise UserError(f"{skipped[0]} It could be read when the data set was first prepared.")


class _Decoder:
    """Decodes images in threads (Pillow frees the interpreter while it works) into files of rows.

    Args:
        task: what is prepared.
        chosen: positions in the source's items, one for each row.
        folder: for pixels and masks.
        thumbnails_in: folder of the index that is being made, ``None`` where there is one already.
    """

    def __init__(self, task: _Task, chosen: list[int], folder: Path, thumbnails_in: Path | None) -> None:
        self.task = task
        self.chosen = chosen
        n, side = len(chosen), task.size
        self.pixels = RowFile(folder / "pixels.npy", n, (side, side, 3))
        self.masks = RowFile(folder / "masks.npy", n, (side, side))
        self.thumbnails = None
        if thumbnails_in is not None:
            self.thumbnails = RowFile(thumbnails_in / "thumbnails.npy", n, (THUMBNAIL, THUMBNAIL))

    def run(self, progress: Progress) -> tuple[list[_Seen], tuple[str, ...]]:
        """Decode everything and close the files; return what was seen, and a sentence for each unreadable image."""
        total = len(self.chosen)
        step = min(_CHUNK, max(1, _CHUNK_BYTES // (4 * self.task.size**2)))
        seen: list[_Seen] = []
        unreadable: list[tuple[int, str]] = []
        with ThreadPoolExecutor(usable_cpus()) as pool:
            pending = {pool.submit(self._chunk, range(k, min(k + step, total))) for k in range(0, total, step)}
            try:
                while pending:
                    done, pending = wait(pending, timeout=0.5, return_when=FIRST_EXCEPTION)
                    for good, bad in (future.result() for future in done):
                        seen += good
                        unreadable += bad
                    progress(len(seen) + len(unreadable), total)
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        skipped = tuple(reason for _, reason in sorted(unreadable))
        if not seen:
            raise UserError(f"No image of '{self.task.spec}' can be read; the first: {skipped[0]}")
        seen.sort(key=lambda one: one.row)
        kept = np.array([one.row for one in seen]) if skipped else None
        for file in filter(None, (self.pixels, self.masks, self.thumbnails)):
            file.close(kept)
        if not self.masks.touched:
            self.masks.path.unlink()
        return seen, skipped

    def _chunk(self, rows: range) -> tuple[list[_Seen], list[tuple[int, str]]]:
        """Decode consecutive rows and write them; return what was seen, and which can't be read and why."""
        side = self.task.size
        pixels = np.zeros((len(rows), side, side, 3), dtype=np.uint8)
        masks = np.zeros((len(rows), side, side), dtype=np.uint8)
        thumbnails = np.zeros((len(rows), THUMBNAIL, THUMBNAIL), dtype=np.uint8)
        masked = False
        seen: list[_Seen] = []
        unreadable: list[tuple[int, str]] = []
        for k, row in enumerate(rows):
            try:
                loaded = self.task.source.load(self.chosen[row])
            except UserError as error:
                if not self.task.skip_corrupt:
                    raise UserError(_damaged(str(error))) from None
                unreadable.append((row, str(error)))
                continue
            small = resized(loaded.pixels, side, self.task.resize)
            for channel in range(3):  # channel by channel: grey into the last axis at once takes five times as long
                pixels[k, :, :, channel] = small if small.ndim == 2 else small[:, :, channel]
            if loaded.mask is not None:
                masks[k] = resized_mask(loaded.mask, side, self.task.resize)
                masked = True
            pixel_hash = b""
            if self.thumbnails is not None:
                thumbnails[k] = thumbnail(loaded.pixels)
                pixel_hash = hash_pixels(loaded.pixels)
            height, width = loaded.pixels.shape[:2]
            seen.append(_Seen(row, self.chosen[row], loaded.bytes_hash or bytes(32), pixel_hash, height, width))
        self.pixels.write(rows.start, pixels)
        if masked:
            self.masks.write(rows.start, masks)
        if self.thumbnails is not None:
            self.thumbnails.write(rows.start, thumbnails)
        return seen, unreadable


def _index(task: _Task, seen: list[_Seen], skipped: tuple[str, ...]) -> Index:
    items = [task.source.items[one.item] for one in seen]
    present = {item.class_name for item in items}
    for name in task.source.class_names:
        if name not in present:
            raise UserError(
                f"No image of class '{name}' in '{task.spec}' can be read. {' '.join(skipped[:1])}".strip()
            )
    hashes = b"".join(one.bytes_hash + one.pixel_hash for one in seen)
    return Index.of(
        task.source,
        items,
        spec=task.spec,
        hashes=np.frombuffer(hashes, dtype=np.uint8).reshape(-1, 2, 32),
        native_sizes=np.array([(one.height, one.width) for one in seen], dtype=np.int64),
        skipped=skipped,
    )
