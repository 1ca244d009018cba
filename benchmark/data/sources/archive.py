"""A ``.zip`` of images, read in place: nothing is ever unpacked to disk."""

import hashlib
import stat
import zipfile
import zlib
from functools import cached_property
from pathlib import Path, PurePosixPath

from benchmark.data.images import decode
from benchmark.data.sources.base import Item, Loaded
from benchmark.data.sources.folder import MAX_FILE_BYTES
from benchmark.data.sources.layout import Layout, is_image, read_layout
from benchmark.errors import UserError

_BOMB_BYTES = 16 * 2**20
_BOMB_RATIO = 200  # images hardly compress; raw ones by ten or so


class ZipSource:
    """Images in a zip file, laid out like a folder's.

    Args:
        path: the file.

    Raises:
        UserError: on use, when it is no zip, escapes its folder, is a bomb, or holds no usable images.
    """

    synthetic = False
    licence = ""
    citation = ""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.name = path.stem

    @cached_property
    def _archive(self) -> zipfile.ZipFile:
        return open_archive(self.path)

    @cached_property
    def _layout(self) -> Layout:
        members = self._archive.infolist()
        images = [member.filename for member in members if not member.is_dir() and is_image(member.filename)]
        filled = {str(parent) for path in images for parent in PurePosixPath(path).parents}
        folders = {member.filename.rstrip("/") for member in members if member.is_dir()}
        empty = sorted(folder for folder in folders - filled if not folder.startswith("__MACOSX"))
        return read_layout(images, empty, str(self.path))

    @property
    def items(self) -> tuple[Item, ...]:
        """The images, sorted by path."""
        return self._layout.items

    @property
    def class_names(self) -> tuple[str, ...]:
        """Tidied, sorted."""
        return self._layout.class_names

    @property
    def negative_class(self) -> str | None:
        """``notumor`` where there is such a folder, under any of its usual names."""
        return self._layout.negative_class

    @property
    def notes(self) -> tuple[str, ...]:
        """What was ignored or merged."""
        return self._layout.notes

    def signature(self) -> str:
        """Return a hash of the file's path, size and time."""
        status = self.path.stat()
        return hashlib.sha256(f"zip {self.path} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()

    def load(self, index: int) -> Loaded:
        """Read and decode one image; raises ``UserError`` naming the member and the file."""
        member = self._layout.paths[index]
        name = f"{member}' in '{self.path}"
        try:
            data = self._archive.read(member)  # zipfile locks the file while it reads, so threads may share it
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise UserError(f"Image '{name}' can't be unpacked ({error}).") from None
        return Loaded(decode(data, name), hashlib.sha256(data).digest())


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
