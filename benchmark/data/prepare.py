"""Open a data set: decode every image once, keep the pixels on disk, map them from then on.

A source has a folder in the cache, named by its signature and the format's version. It holds one ``index`` (ids,
labels, groups, hashes: what does not depend on the size) and one folder of pixels for each size, channel order and
resize rule. Each appears whole or not at all.
"""

import hashlib
import json
import re
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.data.dataset import DataSet
from benchmark.data.images import THUMBNAIL, Resize, resized, resized_mask, thumbnail
from benchmark.data.index import Index, hash_pixels, load_index, save_index
from benchmark.data.parallel import usable_cpus
from benchmark.data.sources import open_source
from benchmark.data.sources.base import Source
from benchmark.data.store import cache_root, locked, require_space, written_whole
from benchmark.errors import UserError

FORMAT = 2  # raised by hand when the same source would be prepared otherwise
SIZES = (8, 4096)
_CHUNK = 32
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
    home = cache_root(cache) / "data" / f"{_plain(source.name)}-{key[:16]}"
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
        pixels = np.load(folder / "pixels.npy", mmap_mode="r")
        masks_file = folder / "masks.npy"
        masks = np.load(masks_file, mmap_mode="r") if masks_file.exists() else None
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
    if known is not None:
        with written_whole(folder) as unfinished:
            writer = _Writer(task, chosen, unfinished, thumbnails_in=None)
            seen, skipped = _decode_all(writer, progress)
            if skipped:
                raise UserError(f"{skipped[0]} It could be read when the data set was first prepared.")
            writer.finish([one.item for one in seen])
        return
    # the index appears first: pixels without one would never be complete
    with written_whole(folder) as unfinished, written_whole(index_folder) as unfinished_index:
        writer = _Writer(task, chosen, unfinished, thumbnails_in=unfinished_index)
        seen, skipped = _decode_all(writer, progress)
        writer.finish([one.item for one in seen])
        save_index(_index(task, seen, tuple(skipped)), unfinished_index)


class _Writer:
    """Writes resized pixels, masks where there are any, and thumbnails, row by row into mapped files.

    Args:
        task: what is prepared.
        chosen: positions in the source's items, one for each row.
        folder: for pixels and masks.
        thumbnails_in: folder of the index that is being made, ``None`` where there is one already.
    """

    def __init__(self, task: _Task, chosen: list[int], folder: Path, thumbnails_in: Path | None) -> None:
        self.task = task
        self.chosen = chosen
        self.indexing = thumbnails_in is not None
        self.masked = False
        n, side = len(chosen), task.size
        self.pixels = _mapped(folder / "pixels.npy", (n, side, side, 3))
        self.masks = _mapped(folder / "masks.npy", (n, side, side))
        self.files = {folder / "pixels.npy": self.pixels, folder / "masks.npy": self.masks}
        if thumbnails_in is not None:
            self.thumbnails = _mapped(thumbnails_in / "thumbnails.npy", (n, THUMBNAIL, THUMBNAIL))
            self.files[thumbnails_in / "thumbnails.npy"] = self.thumbnails

    def write(self, row: int) -> _Seen:
        """Decode one image and put it into its row; raises ``UserError`` where it can't be read."""
        item = self.chosen[row]
        loaded = self.task.source.load(item)
        small = resized(loaded.pixels, self.task.size, self.task.resize)
        self.pixels[row] = small[:, :, None] if small.ndim == 2 else small
        if loaded.mask is not None:
            self.masks[row] = resized_mask(loaded.mask, self.task.size, self.task.resize)
            self.masked = True
        pixel_hash = b""
        if self.indexing:
            self.thumbnails[row] = thumbnail(loaded.pixels)
            pixel_hash = hash_pixels(loaded.pixels)
        height, width = loaded.pixels.shape[:2]
        return _Seen(item, loaded.bytes_hash or bytes(32), pixel_hash, height, width)

    def finish(self, items: list[int]) -> None:
        """Close the files; drop the rows of images that were left out, and masks where there are none."""
        position = {item: row for row, item in enumerate(self.chosen)}
        rows = np.array([position[item] for item in items])
        for path, mapped in self.files.items():
            mapped.flush()
            if mapped is self.masks and not self.masked:
                path.unlink()
            elif len(rows) < len(mapped):
                _keep_rows(path, mapped, rows)


def _mapped(path: Path, shape: tuple[int, ...]) -> "np.memmap[Any, np.dtype[np.uint8]]":
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)


def _keep_rows(path: Path, mapped: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64]) -> None:
    whole = path.with_name("kept.npy")
    kept = _mapped(whole, (len(rows), *mapped.shape[1:]))
    for start in range(0, len(rows), 256):
        kept[start : start + 256] = mapped[rows[start : start + 256]]
    kept.flush()
    whole.replace(path)


def _decode_all(writer: _Writer, progress: Progress) -> tuple[list[_Seen], list[str]]:
    """Decode in threads (Pillow frees the interpreter while it works); return what was seen, and why not."""
    total = len(writer.chosen)
    seen: list[_Seen] = []
    unreadable: list[tuple[int, str]] = []

    def work(rows: range) -> list[_Seen | tuple[int, str]]:
        results: list[_Seen | tuple[int, str]] = []
        for row in rows:
            try:
                results.append(writer.write(row))
            except UserError as error:
                if not writer.task.skip_corrupt:
                    raise UserError(_damaged(str(error))) from None
                results.append((row, str(error)))
        return results

    with ThreadPoolExecutor(usable_cpus()) as pool:
        pending = {pool.submit(work, range(k, min(k + _CHUNK, total))) for k in range(0, total, _CHUNK)}
        try:
            while pending:
                done, pending = wait(pending, timeout=0.5, return_when=FIRST_EXCEPTION)
                for result in (result for future in done for result in future.result()):
                    if isinstance(result, _Seen):
                        seen.append(result)
                    else:
                        unreadable.append(result)
                progress(len(seen) + len(unreadable), total)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    skipped = [reason for _, reason in sorted(unreadable)]
    if not seen:
        raise UserError(f"No image of '{writer.task.spec}' can be read; the first: {skipped[0]}")
    return sorted(seen, key=lambda one: one.item), skipped


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
