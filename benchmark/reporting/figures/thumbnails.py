"""Thumbnails of test images, kept beside the records so that a leaderboard can show them without the data set."""

import io
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np
from PIL import Image

from benchmark.atomic_files import inside, write_atomically
from benchmark.data.dataset import DataSet
from benchmark.foreign_files import Refused, foreign_zip, read_foreign, read_member
from benchmark.records.results_folder import THUMBNAILS
from benchmark.reporting.figures.when_asked import WhenAsked

SIDE = 80  # pixels
QUALITY = 60
MAX_BYTES = 100_000  # of one thumbnail that is read
MAX_IMAGES, MAX_FILE_BYTES = 65_535, 128 * 2**20  # of all thumbnails of a data set
LARGEST = 1024  # pixels of a thumbnail's side; what is larger is none
# What Pillow raises on a file that is no picture, or not a sound one.
UNREADABLE_PICTURE = (OSError, ValueError, SyntaxError, EOFError, TypeError, KeyError, ArithmeticError, struct.error,
                      zlib.error, Image.DecompressionBombError)  # fmt: skip


def thumbnail_path(out: Path, fingerprint: str) -> Path:
    """Return where the thumbnails of a data set are kept."""
    return out.joinpath(*THUMBNAILS, f"{fingerprint[:20]}.zip")


def write_thumbnails(data: DataSet, positions: Iterable[int], out: Path) -> Path:
    """Keep small JPEGs of some images, such as a split's test part; those kept earlier stay.

    Args:
        positions: positions of the images within ``data``, from 0.
        out: the results folder.

    Returns:
        The path of a zip whose entries are named by image id.
    """
    path = thumbnail_path(out, data.fingerprint)
    kept = dict(read_thumbnails(out, data.fingerprint))
    position_of = {str(data.image_ids[position]): int(position) for position in positions}
    missing = {name: position for name, position in position_of.items() if name not in kept}
    if not missing and path.exists():
        return path
    for name, position in missing.items():
        image = Image.fromarray(data.pixels[position]).convert("L")
        image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=QUALITY, optimize=True)
        kept[name] = buffer.getvalue()
    return pack_thumbnails(kept, out, data.fingerprint)


def pack_thumbnails(jpegs: Mapping[str, bytes], out: Path, fingerprint: str) -> Path:
    """Write JPEGs by image id as the thumbnails of a data set, in place of those that are kept; return the path."""
    content = io.BytesIO()
    with ZipFile(content, "w", ZIP_STORED) as archive:
        for name in sorted(jpegs):
            archive.writestr(ZipInfo(name), jpegs[name])  # a fixed date: the same images are the same file
    return write_atomically(inside(out, *THUMBNAILS, thumbnail_path(out, fingerprint).name), content.getvalue())


class Thumbnails(WhenAsked[bytes]):
    """The thumbnails that results folders keep of a data set, as JPEGs by image id.

    Each is decoded and encoded again when it is asked for: a folder may come from someone else. What is no square
    picture of at most 1024 pixels is absent.

    Args:
        folders: of an image that several have, the last one's is taken.
        fingerprint: of the data set.
    """

    def __init__(self, folders: Sequence[Path], fingerprint: str) -> None:
        kept = {name: jpeg for folder in folders for name, jpeg in read_thumbnails(folder, fingerprint).items()}
        super().__init__(kept, encoded_again)


def encoded_again(jpeg: bytes) -> bytes | None:
    """Return a thumbnail's pixels as a JPEG of our own, ``None`` where it is no thumbnail."""
    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
            if image.width != image.height or image.width > LARGEST:
                return None
            grey = Image.fromarray(np.asarray(image.convert("L")))  # the pixels alone: no comment, no profile
            grey.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
            buffer = io.BytesIO()
            grey.save(buffer, "JPEG", quality=QUALITY, optimize=True)
            return buffer.getvalue()
    except UNREADABLE_PICTURE:
        return None


def read_thumbnails(out: Path, fingerprint: str) -> Mapping[str, bytes]:
    """Return what is kept of a data set by image id, not decoded; empty where there is nothing that can be read.

    An entry that is too large to be a thumbnail is left out.
    """
    path = thumbnail_path(out, fingerprint)
    try:
        data = read_foreign(out, *THUMBNAILS, path.name, limit=MAX_FILE_BYTES)
        with foreign_zip(data, members=MAX_IMAGES, unpacked=MAX_FILE_BYTES) as archive:
            small = [entry for entry in archive.infolist() if entry.file_size <= MAX_BYTES]
            return {entry.filename: read_member(archive, entry) for entry in small}
    except (Refused, OSError):
        return {}
