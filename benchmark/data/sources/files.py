"""Which files are images, and who decodes which."""

from collections.abc import Iterable

from benchmark.data.preparation.pixels import SUFFIXES, Pixels, decode, decode_mask
from benchmark.data.sources.medical import MEDICAL_SUFFIXES, decode_medical, decode_medical_mask

MAX_FILE_BYTES = 256 * 2**20
ALL_SUFFIXES = SUFFIXES | frozenset(MEDICAL_SUFFIXES)


def suffix_of(path: str) -> str:
    """Return the lower-case suffix by which a path is told to be an image (``.nii.gz`` is one).

    A slice's number after ``#``, as image ids have it, does not count.
    """
    name = path.lower().partition("#")[0].rpartition("/")[2]
    return ".nii.gz" if name.endswith(".nii.gz") else "".join(name.rpartition(".")[1:]) if "." in name else ""


def is_image(path: str) -> bool:
    """Return whether a path looks like an image; hidden files and macOS resource forks do not."""
    if suffix_of(path) not in ALL_SUFFIXES:
        return False
    return not any(part.startswith(".") or part == "__MACOSX" for part in path.split("/"))


def folders_of(paths: Iterable[str]) -> set[str]:
    """Return every folder that holds one of ``paths`` at any depth."""
    found: set[str] = set()
    for folder in {path.rpartition("/")[0] for path in paths}:
        while folder and folder not in found:
            found.add(folder)
            folder = folder.rpartition("/")[0]
    return found


def decode_file(data: bytes, name: str, slice_number: int | None = None) -> Pixels:
    """Return the pixels of an image file: pictures by Pillow, DICOM and NIfTI as :mod:`medical` describes.

    Raises:
        UserError: it can't be read, or is medical and its library is not installed.
    """
    medical = suffix_of(name) in MEDICAL_SUFFIXES
    return decode_medical(data, name, slice_number) if medical else decode(data, name)


def decode_mask_file(data: bytes, name: str, slice_number: int | None = None) -> Pixels:
    """Return a mask file as 0 and 1, shape (H, W); errors as :func:`decode_file`."""
    medical = suffix_of(name) in MEDICAL_SUFFIXES
    return decode_medical_mask(data, name, slice_number) if medical else decode_mask(data, name)
