"""Bounds on files of weights, which may come from anyone: what one would take of time and memory is known before it
is read.

Nothing is imported with the module but the standard library: planning asks here.
"""

import os
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

MAX_FILE_BYTES = 64 * 2**30
# Weights hardly compress: a file's arrays take about as many bytes as it has.
_RATIO, _SMALL = 4, 64 * 2**20
_LOOK_BYTES, _LOOK_SECONDS = 512 * 2**20, 60  # for looking through an HDF5 file


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
        raise Unfit(_too_large(unpacked, allowed))


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


def problem_with_hdf5(hdf5: Path, allowed: int) -> str:
    """Return why an HDF5 file is not read, as a clause; empty where it may be.

    A process of its own looks, with bounds on its memory and time: what an attribute of texts holds is known only
    when it is read, and a broken file may end who reads it.

    Args:
        hdf5: the file.
        allowed: the most bytes that its arrays may take.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-P", "-m", __name__, str(hdf5), str(allowed)]
    try:
        looked = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LOOK_SECONDS,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it takes longer than {_LOOK_SECONDS} s to look through"
    if looked.returncode:
        return f"it can't be looked through within {_LOOK_BYTES // 2**20} MiB of memory, or is broken"
    return looked.stdout.decode("utf-8", errors="replace").strip()


def main(hdf5: str, allowed: str) -> None:
    """Print why an HDF5 file is not read, nothing where it may be."""
    import h5py

    _bound_memory(_LOOK_BYTES)
    try:
        with h5py.File(hdf5, "r") as file:
            _require_sound(file, int(allowed))
    except Unfit as unfit:
        print(unfit)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        print(f"it is broken or no HDF5 file ({(str(error).splitlines() or [''])[0][:200]})")


def _require_sound(file: Any, allowed: int) -> None:
    """Raise :class:`Unfit` where an HDF5 file leads to others, or its arrays take too much; read all attributes."""
    import h5py

    sizes: list[int] = []

    def look(name: str, item: Any) -> None:
        outside = isinstance(item, h5py.Dataset) and (item.external or item.is_virtual)
        for child in item if isinstance(item, h5py.Group) else ():
            outside = outside or isinstance(item.get(child, getlink=True), h5py.ExternalLink)
        if outside:
            raise Unfit(f"'{name}' leads out of the file")
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            if item.dtype.kind == "O":  # texts, which may all be one long one
                raise Unfit(f"'{name}' holds no numbers")
            sizes.append(item.nbytes)
        for attribute in item.attrs:
            item.attrs[attribute]

    look("/", file)
    file.visititems(look)
    if sum(sizes) > allowed:
        raise Unfit(_too_large(sum(sizes), allowed))


def _bound_memory(more: int) -> None:
    """Let this process take only so many bytes more than it has, where the system can."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
    except (ImportError, OSError, ValueError):  # Windows, macOS, or a limit that is lower already
        return


def _too_large(unpacked: int, allowed: int) -> str:
    return (
        f"its arrays would take {unpacked / 2**20:,.0f} MiB of memory, and {allowed / 2**20:,.0f} MiB at most belong "
        "to a file of its size"
    )


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


if __name__ == "__main__":
    main(*sys.argv[1:])
