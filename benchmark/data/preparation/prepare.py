"""Open a data set: decode every image once, keep the pixels on disk, map them from then on.

A source has a folder in the cache, named by its signature and the format's version. It holds one ``index`` (ids,
labels, groups, hashes: what does not depend on the size) and one folder of pixels for each size, channel order and
resize rule. Each appears whole or not at all.
"""

import contextlib
import hashlib
import json
from pathlib import Path

import numpy as np

from benchmark.data.dataset import DataSet
from benchmark.data.preparation.cache import cache_root, locked, require_own, require_space, written_whole
from benchmark.data.preparation.decoding import Progress, Rows, Seen, Task, damaged, decode_all
from benchmark.data.preparation.index import Index, load_index, make_index, save_index
from benchmark.data.preparation.pixels import Resize
from benchmark.data.sources import open_source
from benchmark.data.sources.base import Source
from benchmark.errors import UserError
from benchmark.file_names import file_name

FORMAT = 3  # raised by hand when the same source would be prepared otherwise
SIZES = (8, 4096)


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
    root = cache_root(cache)
    require_own(root)
    name = file_name(label, longest=40).strip("-.") or "images"
    home = root / "data" / f"{name}-{key[:16]}"
    folder = home / f"{size}-rgb-{resize}"
    if not folder.exists():
        with locked(home):
            if not folder.exists():  # another process may have prepared it while this one waited
                asked = spec if isinstance(spec, str) else source.facts.name
                _prepare(Task(source, asked, size, resize, skip_corrupt), home, folder, progress)
    data = load_prepared(folder)
    if data.skipped and not skip_corrupt:
        raise UserError(damaged(data.skipped[0]))
    return data


def load_prepared(folder: Path) -> DataSet:
    """Open what :func:`open_dataset` prepared, from ``DataSet.folder``; reads no image.

    Raises:
        UserError: the folder is not a prepared data set, or others may write to it.
    """
    index = folder.parent / "index"
    within = [path for place in (folder, index) if place.is_dir() for path in place.iterdir()]
    require_own(folder.parent.parent, folder.parent, folder, index, *within)
    try:
        loaded = load_index(index)
        pixels = np.load(folder / "pixels.npy", mmap_mode="r", allow_pickle=False)
        masks_file = folder / "masks.npy"
        masks = np.load(masks_file, mmap_mode="r", allow_pickle=False) if masks_file.exists() else None
    except (OSError, ValueError, KeyError, json.JSONDecodeError) as error:
        raise UserError(f"'{folder}' holds no prepared data set ({error}): open the data set again.") from None
    return DataSet(pixels=pixels, masks=masks, folder=folder, **loaded)


def _prepare(task: Task, home: Path, folder: Path, progress: Progress | None) -> None:
    """Decode all images of a source into ``folder``, and make its index where there is none yet."""
    index_folder = home / "index"
    index = load_index(index_folder) if index_folder.exists() else None
    ids = None if index is None else set(index["image_ids"].tolist())
    chosen = [k for k, item in enumerate(task.source.items) if ids is None or item.image_id in ids]
    require_space(home, len(chosen) * 4 * task.size**2)  # three channels and a mask
    with contextlib.ExitStack() as unfinished:
        pixels_folder = unfinished.enter_context(written_whole(folder))
        # entered last and so finished first: pixels without an index would never be complete
        new_index = None if index is not None else unfinished.enter_context(written_whole(index_folder))
        seen, skipped = decode_all(task, Rows(chosen, pixels_folder, thumbnails_in=new_index), progress)
        if new_index is not None:
            save_index(_index(task, seen, skipped), new_index)
        elif skipped:
            raise UserError(f"{skipped[0]} It could be read when the data set was first prepared.")


def _index(task: Task, seen: list[Seen], skipped: tuple[str, ...]) -> Index:
    items = [task.source.items[one.item] for one in seen]
    present = {item.class_name for item in items}
    for name in task.source.facts.class_names:
        if name not in present:
            raise UserError(
                f"No image of class '{name}' in '{task.spec}' can be read. {' '.join(skipped[:1])}".strip()
            )
    hashes = b"".join(one.bytes_hash + one.pixel_hash for one in seen)
    return make_index(
        task.source,
        items,
        spec=task.spec,
        hashes=np.frombuffer(hashes, dtype=np.uint8).reshape(-1, 2, 32),
        native_sizes=np.array([(one.height, one.width) for one in seen], dtype=np.int64),
        skipped=skipped,
    )
