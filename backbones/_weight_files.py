"""Bounds on files of weights, which may come from anyone: what one would take of time and memory is known before it
is read.

Nothing is imported with the module but the standard library: planning asks here.
"""

import os
import stat
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

MAX_FILE_BYTES = 64 * 2**30
# Weights hardly compress: a file's arrays take about as many bytes as it has.
_RATIO, _SMALL = 4, 64 * 2**20
_MAX_ATTRIBUTES = 16  # texts of any length in one attribute of HDF5; a list of layers has texts of one length


class Unfit(Exception):
    """Says in a clause that follows the file's name why it is not read."""


def problem_with_file(path: Path) -> str:
    """Return why a file is no file of weights by its kind and size, as a clause; empty where it may be one.

    A sparse file of terabytes takes no room on the disk and hours to read; a device never ends.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                return "it is not a regular file"
            if not status.st_size:
                return "it is empty"
            if status.st_size > MAX_FILE_BYTES:
                return f"it has {status.st_size / 2**30:.0f} GiB; at most {MAX_FILE_BYTES / 2**30:.0f} GiB are read"
            if _written(stream.fileno(), status.st_size) < status.st_size // 2:
                return "most of it was never written (it is a sparse file)"
    except OSError as error:
        return f"it can't be read ({error.strerror or error})"
    return ""


def require_bounded(path: Path, unpacked: int) -> None:
    """Raise :class:`Unfit` where the arrays of a file would take far more memory than the file has bytes."""
    allowed = allowed_bytes(path)
    if unpacked > allowed:
        raise Unfit(
            f"its arrays would take {unpacked / 2**20:,.0f} MiB of memory and the file has "
            f"{path.stat().st_size / 2**20:,.1f} MiB: it is not what a library writes"
        )


def allowed_bytes(path: Path) -> int:
    """Return the most bytes that what a file holds may take when it is unpacked."""
    return _RATIO * path.stat().st_size + _SMALL


def require_bounded_archive(path: Path) -> None:
    """Raise :class:`Unfit` where a zip archive, as torch and Keras write them, would unpack to far more than it has
    bytes; other files pass.
    """
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                require_bounded(path, sum(member.file_size for member in archive.infolist()))
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise Unfit(f"it is damaged ({error})") from None


def require_bounded_tensors(path: Path, tensors: Iterable[Any]) -> None:
    """Raise :class:`Unfit` where a file's tensors would be far larger than the file: one number may stand for all."""
    require_bounded(path, sum(tensor.numel() * tensor.element_size() for tensor in tensors))


def require_sound_hdf5(path: Path, file: Any) -> None:
    """Raise :class:`Unfit` where an HDF5 file leads to other files, or holds arrays that would be far larger than it.

    Args:
        path: the file, or the archive that holds it.
        file: as :class:`h5py.File`, opened.
    """
    import h5py

    sizes: list[int] = []

    def look(name: str, item: Any) -> None:
        outside = isinstance(item, h5py.Dataset) and (item.external or item.is_virtual)
        for child in item if isinstance(item, h5py.Group) else ():
            outside = outside or isinstance(item.get(child, getlink=True), h5py.ExternalLink)
        if outside:
            raise Unfit(f"'{name}' leads out of the file")
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            if item.dtype.kind == "O" and item.size > _MAX_ATTRIBUTES:  # each may name the same long text
                raise Unfit(f"'{name}' holds no numbers")
            sizes.append(item.nbytes)
        for attribute in item.attrs:
            kept = item.attrs.get_id(attribute)
            if kept.dtype.kind == "O" and kept.shape is not None and _count(kept.shape) > _MAX_ATTRIBUTES:
                raise Unfit(f"'{name}' has the attribute '{attribute}' of texts of any length")

    look("/", file)
    file.visititems(look)
    require_bounded(path, sum(sizes))


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; of a pipe or a device, without waiting for someone at its other end."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _written(descriptor: int, size: int) -> int:
    """Return how many bytes of a file are not holes; all of them where the system doesn't tell."""
    if not hasattr(os, "SEEK_DATA"):
        return size
    written = at = 0
    try:
        while at < size:
            data = os.lseek(descriptor, at, os.SEEK_DATA)
            at = os.lseek(descriptor, data, os.SEEK_HOLE)
            written += at - data
    except OSError:  # no data after this place, or a file system that doesn't know of holes
        pass
    finally:
        os.lseek(descriptor, 0, os.SEEK_SET)
    return written
