"""The one reader for files that others wrote: a results folder, a split, thumbnails may come from anywhere.

What is read is a regular file below the folder that was named, reached without any link, and no larger than its kind
may be. A link could lead to a private file, a pipe or a device never ends, and a sparse file of terabytes takes
nobody's room until it is read.
"""

import io
import os
import stat
import struct
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MAX_NAME = 80  # characters of a plain name
MAX_ENTRIES = 20_000  # of one folder
MAX_SECONDS = 10.0  # for one file

_CHUNK = 2**20
_DIRECTORY_END = struct.Struct("<4s4H2LH")  # of a zip file: PKWARE's APPNOTE, 4.3.16
_LOCAL_HEADER = struct.Struct("<26s2H")  # likewise, 4.3.7: the lengths of the name and of the extra field end it
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}  # Windows


class Refused(Exception):
    """Says in a clause that follows the file's name why it is not read."""


def is_plain_name(name: str) -> bool:
    """Return whether a name may become that of a file: letters, digits, spaces and ``_-+,.()``, 80 at most, with no
    dot or hyphen at its beginning, nothing but a letter, a digit or a bracket at its end, and none of Windows' own.
    """
    return (
        0 < len(name) <= MAX_NAME
        and all(c.isalnum() or c in " _-+,.()" for c in name)
        and (name[0].isalnum() or name[0] in "_(")
        and (name[-1].isalnum() or name[-1] in "_)")
        and name.partition(".")[0].strip().lower() not in _RESERVED
    )


def read_foreign(root: Path, *names: str, limit: int) -> bytes:
    """Return the bytes of a file below a folder.

    Args:
        root: the folder that the user named; links that lead to it are the user's own.
        names: the folders below it, and the file.
        limit: the most bytes that such a file may have.

    Raises:
        Refused: a link, no regular file, or too large; it can't be read or takes too long.
        FileNotFoundError: there is none.
    """
    descriptor = _open_below(root, names)
    with os.fdopen(descriptor, "rb", buffering=0) as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Refused("it is not a regular file")
        if status.st_size > limit:
            raise Refused(f"it is too large ({status.st_size} bytes; at most {limit} are read)")
        end = time.monotonic() + MAX_SECONDS
        parts: list[bytes] = []
        left = limit + 1
        try:
            while left and (part := stream.read(min(_CHUNK, left))):
                parts.append(part)
                left -= len(part)
                if time.monotonic() > end:
                    raise Refused(f"it takes longer than {MAX_SECONDS:.0f} s to read")
        except OSError as error:
            raise Refused(f"it can't be read ({error.strerror or error})") from None
    if not left:  # it grew meanwhile, or its size is not known beforehand
        raise Refused(f"it is too large (at most {limit} bytes are read)")
    return b"".join(parts)


def list_foreign(root: Path, *names: str) -> list[str]:
    """Return the names in a folder below another, sorted; empty where there is no such folder.

    Raises:
        Refused: it is a link or no folder, can't be read, or has more than 20,000 entries.
    """
    folder = root
    try:
        for name in names:
            folder = folder / name
            _require_no_link(folder)
        contents: list[str] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if len(contents) == MAX_ENTRIES:
                    raise Refused(f"it has more than {MAX_ENTRIES} entries")
                contents.append(entry.name)
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise Refused(f"it can't be read ({getattr(error, 'strerror', None) or error})") from None
    return sorted(contents)


def is_own_folder(path: Path) -> bool:
    """Return whether a path is a folder and no link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


@contextmanager
def foreign_zip(data: bytes, *, members: int, unpacked: int) -> Iterator[zipfile.ZipFile]:
    """Open a zip file whose number of members and size when unpacked are within bounds.

    Args:
        data: the file.
        members: the most that it may have.
        unpacked: the most bytes that they may have together.

    Raises:
        Refused: it is no zip file, or one that is out of bounds or damaged.
    """
    start = data.rfind(b"PK\x05\x06", -(_DIRECTORY_END.size + 2**16))
    if start < 0 or len(data) - start < _DIRECTORY_END.size:
        raise Refused("it is not a zip file")
    if data[max(0, start - 20) :].startswith(b"PK\x06\x07"):  # a second end, for files of more than 4 GB
        raise Refused("it is a zip file of a kind that is not read here (zip64)")
    directory = _DIRECTORY_END.unpack_from(data, start)[5]
    # an entry of the table of contents has 46 bytes and its name: what is larger by far would fill the memory
    if directory > members * 1024 or data.count(b"PK\x01\x02", max(0, start - directory), start) > members:
        raise Refused(f"it has more than {members} members")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if len(entries) > members:
                raise Refused(f"it has more than {members} members")
            if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in entries):
                raise Refused("it is compressed in a way that is not read here")
            if sum(entry.file_size for entry in entries) > unpacked:
                raise Refused(f"it is too large when unpacked (at most {unpacked} bytes are)")
            yield archive
    except (
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        RuntimeError,
        ValueError,
        EOFError,
        OSError,
    ) as error:
        raise Refused(f"it is damaged ({error})") from None


def read_member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Return what a member unpacks to, and never more bytes than its entry says; read whole, it may be any size.

    Raises:
        zipfile.BadZipFile, zlib.error, OSError, EOFError: it is damaged.
    """
    with archive.open(entry) as stream:
        return stream.read(entry.file_size)


def packed_member(data: bytes, entry: zipfile.ZipInfo) -> memoryview | None:
    """Return the bytes of a member as they lie in a zip file, packed; ``None`` where they do not lie within it.

    Args:
        data: the file.
        entry: of its table of contents.
    """
    start = entry.header_offset
    if start < 0 or data[start : start + 4] != b"PK\x03\x04" or start + _LOCAL_HEADER.size > len(data):
        return None
    _, name, extra = _LOCAL_HEADER.unpack_from(data, start)
    start += _LOCAL_HEADER.size + name + extra
    packed = memoryview(data)[start : start + entry.compress_size]
    return packed if len(packed) == entry.compress_size else None


def _open_below(root: Path, names: tuple[str, ...]) -> int:
    """Return a descriptor of a file, opened folder by folder so that no link is followed, and without waiting."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    for name in names:
        if not name or name in (".", "..") or any(c in name for c in "/\\\0"):
            raise Refused("its name leads out of its folder")
    try:
        if os.open not in os.supports_dir_fd:  # Windows: looked at before, as well as it can be
            path = root
            for name in names:
                path = path / name
                _require_no_link(path)
            return os.open(path, flags)
        folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        for name in names[:-1]:
            try:
                below = os.open(name, flags | os.O_DIRECTORY, dir_fd=folder)
            finally:
                os.close(folder)
            folder = below
        try:
            return os.open(names[-1], flags, dir_fd=folder)
        finally:
            os.close(folder)
    except FileNotFoundError:
        raise
    except OSError as error:
        _require_no_link(*(root.joinpath(*names[: n + 1]) for n in range(len(names))))
        raise Refused(f"it can't be read ({error.strerror or error})") from None


def _require_no_link(*paths: Path) -> None:
    for path in paths:
        if path.is_symlink():
            raise Refused("it is a link, and links are not followed")
