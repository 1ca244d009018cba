"""Which files are images, and who decodes which."""

import hashlib
import re
from collections.abc import Iterable

from benchmark.data.preparation.pixels import SUFFIXES, Pixels, decode
from benchmark.data.sources.medical import MEDICAL_SUFFIXES, read_volume

MAX_FILE_BYTES = 256 * 2**20
ALL_SUFFIXES = SUFFIXES | frozenset(MEDICAL_SUFFIXES)
_SLICE_NUMBER = re.compile(r"(\.[A-Za-z0-9]+)#\d+$")
_LEFT_BEHIND = frozenset({"thumbs.db", "desktop.ini", "__macosx", "icon\r"})


def suffix_of(path: str) -> str:
    """Return the lower-case suffix by which a path is told to be an image (``.nii.gz`` is one).

    A slice's number behind it, as image ids have it (``volume.nii.gz#12``), does not count.
    """
    name = (_SLICE_NUMBER.sub(r"\1", path) if "#" in path else path).lower().rpartition("/")[2]
    return ".nii.gz" if name.endswith(".nii.gz") else "".join(name.rpartition(".")[1:]) if "." in name else ""


def is_image(path: str) -> bool:
    """Return whether a path looks like an image; hidden files and macOS resource forks do not."""
    return suffix_of(path) in ALL_SUFFIXES and not is_hidden(path)


def is_hidden(path: str) -> bool:
    """Return whether a file is hidden, or one that macOS or Windows leaves behind."""
    return any(part.startswith(".") or part.lower() in _LEFT_BEHIND for part in path.split("/"))


def folders_of(paths: Iterable[str]) -> set[str]:
    """Return every folder that holds one of ``paths`` at any depth."""
    folders: set[str] = set()
    for folder in {path.rpartition("/")[0] for path in paths}:
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    return folders


def content_hash(data: bytes, slice_number: int | None = None) -> bytes:
    """Return the SHA-256 of a file's bytes; of one slice of it, of the bytes and the slice's number."""
    digest = hashlib.sha256(data)
    if slice_number is not None:
        digest.update(f"#{slice_number}".encode())
    return digest.digest()


def decode_file(data: bytes, name: str, frame: int | None = None) -> Pixels:
    """Return the pixels of an image file: pictures by Pillow, DICOM and NIfTI as :mod:`medical` describes.

    Args:
        data: the file.
        name: of the file; its suffix tells the format.
        frame: which of several, from 0; ``None`` for the only one, the first, or of DICOM the middle one.

    Raises:
        UserError: it can't be read, has no such frame, or is medical and its library is not installed.
    """
    if suffix_of(name) in MEDICAL_SUFFIXES:
        return read_volume(data, name).image(frame)
    return decode(data, name, frame)
