"""A ``.zip`` of images, read in place: nothing is ever unpacked to disk."""

import hashlib
import stat
import struct
import threading
import zipfile
import zlib
from pathlib import Path

from benchmark.data.sources.base import Loaded
from benchmark.data.sources.files import MAX_FILE_BYTES, decode_file, folders_of, is_image
from benchmark.data.sources.folder import ImageFolders
from benchmark.data.sources.layout import Layout, read_layout
from benchmark.errors import UserError

_END_SEARCH = 22 + 65_535  # the end record, and the longest comment behind it
_BOMB_BYTES = 16 * 2**20
_BOMB_RATIO = 200  # images hardly compress; raw ones by ten or so


class ZipSource(ImageFolders):
    """Images in a zip file, laid out like a folder's.

    Args:
        path: the file.

    Raises:
        UserError: on use, when it is no zip, escapes its folder, is a bomb, or holds no usable images.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path.resolve())
        self._archives = Archives()

    @property
    def _archive(self) -> zipfile.ZipFile:
        return self._archives.at(self.root)

    def _read_layout(self) -> Layout:
        members = self._archive.infolist()
        images = [member.filename for member in members if not member.is_dir() and is_image(member.filename)]
        folders = {member.filename.rstrip("/") for member in members if member.is_dir()}
        empty = sorted(folder for folder in folders - folders_of(images) if not folder.startswith("__MACOSX"))
        return read_layout(images, empty, str(self.root))

    def signature(self) -> str:
        """Return a hash of the file's path, size and time."""
        return file_signature(self.root)

    def load(self, index: int) -> Loaded:
        """Read and decode one image; raises ``UserError`` naming the member and the file."""
        member = self._layout.paths[index]
        data = read_member(self._archive, member)
        return Loaded(decode_file(data, member_name(self._archive, member)), hashlib.sha256(data).digest())


def first_members(path: Path, count: int = 32) -> list[str]:
    """Return the names of the first members of a zip file without reading the whole directory of a large one.

    Empty for what is no plain zip (larger than 4 GiB, or damaged): who needs to know opens it.
    """
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _END_SEARCH))
        tail = stream.read()
        end = tail.rfind(b"PK\x05\x06")
        if end < 0 or len(tail) < end + 22:
            return []
        stream.seek(int.from_bytes(tail[end + 16 : end + 20], "little"))
        names: list[str] = []
        while len(names) < count:
            entry = stream.read(46)
            if len(entry) < 46 or not entry.startswith(b"PK\x01\x02"):
                break
            name, extra, comment = struct.unpack("<HHH", entry[28:34])
            names.append(stream.read(name).decode("utf-8", "replace"))
            stream.seek(extra + comment, 1)
    return names


def file_signature(path: Path) -> str:
    """Return a hash of a file's path, size and time."""
    status = path.stat()
    return hashlib.sha256(f"file {path} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()


def member_name(archive: zipfile.ZipFile, member: str) -> str:
    """Return how a message names a member, like a file in a folder."""
    return f"{archive.filename}/{member}"


def read_member(archive: zipfile.ZipFile, member: str) -> bytes:
    """Return a member's content; raises ``UserError`` where it can't be unpacked."""
    try:
        return archive.read(member)  # zipfile locks the file while it reads, so threads may share it
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise UserError(f"Image '{member_name(archive, member)}' can't be unpacked ({error}).") from None


class Archives:
    """Zip files, each opened and looked through when it is first used; a copy in another process opens its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opened: dict[Path, zipfile.ZipFile] = {}

    def at(self, path: Path) -> zipfile.ZipFile:
        """Return the file at a path; errors as :func:`open_archive`."""
        with self._lock:
            if path not in self._opened:
                self._opened[path] = open_archive(path)
            return self._opened[path]

    def __reduce__(self) -> tuple[type["Archives"], tuple[()]]:
        """Pickle without open files."""
        return Archives, ()


def open_archive(path: Path) -> zipfile.ZipFile:
    """Open a zip file after looking at every member's name, kind and size.

    Raises:
        UserError: not a zip, or one with a member that leads out of it, links, is encrypted or expands absurdly.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
        raise UserError(f"'{path}' can't be read as a zip file ({error}).") from None
    seen: set[str] = set()
    for member in archive.infolist():
        reason = _refusal(member)
        if member.filename in seen:
            reason = "stands in it twice"
        seen.add(member.filename)
        if reason:
            archive.close()
            raise UserError(f"'{path}' is refused: its member '{member.filename}' {reason}.")
    return archive


def _refusal(member: zipfile.ZipInfo) -> str:
    """Return why a member makes an archive unacceptable, or an empty string."""
    parts = member.filename.replace("\\", "/").split("/")
    if parts[0] == "" or ".." in parts or parts[0].endswith(":"):
        return "leads out of the archive"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "is a link"
    if member.flag_bits & 0x1:
        return "is encrypted"
    bomb = member.file_size > _BOMB_BYTES and member.file_size > _BOMB_RATIO * max(1, member.compress_size)
    if bomb or member.file_size > MAX_FILE_BYTES:
        return f"would unpack to {member.file_size / 2**20:.0f} MiB, as no slice does"
    return ""
