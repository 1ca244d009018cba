"""Thumbnails of test images, kept beside the records so that a leaderboard can show them without the data set."""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmark.atomic_files import write_atomically
from benchmark.data.dataset import DataSet

SIDE = 80  # pixels
QUALITY = 60
MAX_BYTES = 100_000  # of one thumbnail that is read


def thumbnail_path(out: Path, fingerprint: str) -> Path:
    """Return where the thumbnails of a data set are kept."""
    return out / "thumbnails" / f"{fingerprint[:20]}.zip"


def write_thumbnails(data: DataSet, positions: Iterable[int], out: Path) -> Path:
    """Keep small JPEGs of some images, such as a split's test part; those kept earlier stay.

    Args:
        positions: positions of the images within ``data``, from 0.
        out: the results folder.

    Returns:
        The path of a zip whose entries are named by image id.
    """
    import zipfile

    from PIL import Image

    path = thumbnail_path(out, data.fingerprint)
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = dict(read_thumbnails(out, data.fingerprint))
    position_of = {str(data.image_ids[position]): int(position) for position in positions}
    missing = {name: position for name, position in position_of.items() if name not in kept}
    if not missing and path.exists():
        return path
    for name, position in missing.items():
        image = Image.fromarray(data.pixels[position]).convert("L")
        image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=QUALITY)
        kept[name] = buffer.getvalue()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(kept):
            archive.writestr(zipfile.ZipInfo(name), kept[name])  # a fixed date: the same images are the same file
    return write_atomically(path, content.getvalue())


def read_thumbnails(out: Path, fingerprint: str) -> Mapping[str, bytes]:
    """Return the JPEGs kept of a data set by image id; empty where there are none that can be read.

    An entry that is too large to be a thumbnail is left out: a folder may come from someone else.
    """
    import zipfile
    import zlib

    path = thumbnail_path(out, fingerprint)
    try:
        with zipfile.ZipFile(path) as archive:
            small = (entry for entry in archive.infolist() if entry.file_size <= MAX_BYTES)
            return {entry.filename: archive.read(entry) for entry in small}
    except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError):
        return {}
