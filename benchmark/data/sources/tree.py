"""The files below a folder or inside a ``.zip``, read where they are: nothing is unpacked beside them."""

import hashlib
import os
import stat
import struct
import threading
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from benchmark.atomic_files import written_file
from benchmark.data.preparation.cache import cache_root, locked, require_space
from benchmark.data.sources.files import MAX_FILE_BYTES, folders_of, is_hidden, is_image
from benchmark.errors import UserError
from benchmark.foreign_files import read_member

_BOMB_BYTES = 16 * 2**20
_BOMB_RATIO = 200  # images hardly compress; raw ones by ten or so
_MAX_ARCHIVE_BYTES = 16 * 2**30  # of an archive inside an archive
_STAT_EACH = 20_000  # above as many files, a signature looks at folders only: it must not take seconds
# What zipfile raises on damaged files; names that are no text are a ValueError.
_READ_ERRORS = (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError,
                LookupError, OverflowError, struct.error)  # fmt: skip


@dataclass(frozen=True)
class Archive:
    """A zip file: one on disk, or a member of one.

    Args:
        path: on disk.
        member: the zip file inside that one, as it is stored; ``None`` for the file itself.
    """

    path: Path
    member: str | None = None

    @property
    def shown(self) -> str:
        """How a message names it."""
        return f"{self.path}/{self.member}" if self.member else str(self.path)


@dataclass(frozen=True)
class Place:
    """Where a file is: on disk, or a member of an archive.

    Args:
        path: on disk, or the member's name as it is stored.
        archive: ``None`` for a file on disk.
        size: in bytes; 0 where it was not looked at.
    """

    path: str
    archive: Archive | None = None
    size: int = 0

    @property
    def shown(self) -> str:
        """How a message names it."""
        return printable(f"{self.archive.shown}/{self.path}" if self.archive else self.path)


class FileTree:
    """All files of a folder or a zip file, by their paths below it.

    Paths have forward slashes whatever the archive has, composed letters (Unicode NFC), and backslash escapes for
    bytes that are no text. Hidden files, and what macOS and Windows leave behind, are not among them. Where a folder
    or zip file holds no image and no ``.mat`` file but zip files, these stand for folders of their names: one level
    deep, read in place.

    Args:
        root: the folder or zip file.

    Raises:
        UserError: on use: a folder that can't be read, a link out of it, a zip file that is damaged, leads out of
            itself, or is a bomb.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._close()

    def __getstate__(self) -> dict[str, object]:
        """Pickle without open files."""
        left = ("_lock", "_opened", "_opened_by")
        return {name: value for name, value in self.__dict__.items() if name not in left}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._close()

    def _close(self) -> None:
        """Have no zip file open."""
        self._lock, self._opened_by = threading.Lock(), os.getpid()
        self._opened: dict[Archive, zipfile.ZipFile] = {}

    @property
    def name(self) -> str:
        """Short: the folder's or file's, with the folder above where it would tell nothing (``data``, ``1``)."""
        named = [part for part in self.root.parts if part.lower() != "versions"]
        own = named[-1].removesuffix(".zip") or "images"
        if len(named) > 2 and (own.isdecimal() or own.lower() in ("data", "dataset", "images", "archive")):
            return f"{named[-2]}-{own}"
        return own

    @property
    def files(self) -> tuple[str, ...]:
        """The paths of all files, sorted."""
        return tuple(sorted(self.places))

    @cached_property
    def places(self) -> dict[str, Place]:
        """Where each file is, by its path."""
        outer = self._folder_places() if self.root.is_dir() else self._archive_places(Archive(self.root), "")
        if any(_is_data(name) for name in outer):
            return outer
        inner = {}
        for name, place in sorted(outer.items()):
            if name.lower().endswith(".zip"):
                nested = Archive(Path(place.path)) if place.archive is None else Archive(self.root, place.path)
                inner.update(self._archive_places(nested, f"{name[:-4]}/"))
        return {**outer, **inner}

    @cached_property
    def empty_folders(self) -> tuple[str, ...]:
        """The folders that hold no image at any depth, sorted."""
        if self.root.is_dir():
            start = len(str(self.root)) + 1
            names = {_tidy(folder[start:].replace(os.sep, "/")) for folder, _ in walk(self.root)}
        else:
            opened = self.open(Archive(self.root))
            names = {_member_name(one) for one in opened.infolist() if _is_folder(one)}
        full = folders_of(name for name in self.places if is_image(name))
        return tuple(sorted(name for name in names - full - {""} if not is_hidden(name)))

    def signature(self) -> str:
        """Return a hash that changes when a file may have changed: over names, sizes and times."""
        return folder_signature(self.root) if self.root.is_dir() else file_signature(self.root)

    def shown(self, name: str) -> str:
        """Return how a message names a file."""
        return self.places[name].shown

    def read(self, name: str) -> bytes:
        """Return a file's content; raises ``UserError`` where it can't be read or is larger than any slice."""
        place = self.places[name]
        if place.archive is None:
            return read_bytes(Path(place.path))
        try:
            archive = self.open(place.archive)  # zipfile locks its file, so threads may share it
            return read_member(archive, archive.getinfo(place.path))
        except _READ_ERRORS as error:
            raise UserError(f"Image '{place.shown}' can't be unpacked ({error}).") from None

    def open(self, archive: Archive) -> zipfile.ZipFile:
        """Return a zip file, opened once and looked through for members that must not be; raises ``UserError``."""
        if self._opened_by != os.getpid():  # open files of a copied process share their positions with the first's
            self._close()
        outer = self.open(Archive(archive.path)) if archive.member is not None else None
        with self._lock:
            if archive not in self._opened:
                if outer is None or archive.member is None:
                    source: Path | BinaryIO = archive.path
                else:
                    try:
                        source = _inner_file(outer, archive)
                    except _READ_ERRORS as error:
                        raise UserError(f"'{printable(archive.shown)}' can't be unpacked ({error}).") from None
                self._opened[archive] = open_archive(source, archive.shown)
            return self._opened[archive]

    def _folder_places(self) -> dict[str, Place]:
        start = len(str(self.root)) + 1
        paths = [path for _, files in walk(self.root) for path in files]
        return _by_name((path[start:].replace(os.sep, "/"), Place(path)) for path in paths)

    def _archive_places(self, archive: Archive, prefix: str) -> dict[str, Place]:
        members = [one for one in self.open(archive).infolist() if not _is_folder(one)]
        return _by_name(
            (f"{prefix}{_member_name(one)}", Place(one.filename, archive, one.file_size)) for one in members
        )


def _by_name(named: Iterable[tuple[str, Place]]) -> dict[str, Place]:
    """Return places by tidied names, without hidden files; two names that tidy alike keep their own spelling."""
    places: dict[str, Place] = {}
    for raw, place in named:
        name = _tidy(raw)
        if not is_hidden(name):
            places[name if name not in places else printable(raw)] = place
    return places


def _is_data(name: str) -> bool:
    return is_image(name) or (name.lower().endswith(".mat") and name.rpartition("/")[2][:-4].isdecimal())


def _tidy(name: str) -> str:
    return unicodedata.normalize("NFC", printable(name))


def printable(name: str) -> str:
    """Return a path with backslash escapes for the bytes of a file name that are no text (``les\\xe3o.png``)."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name).decode("utf-8", "backslashreplace")
    return name


def _member_name(member: zipfile.ZipInfo) -> str:
    """Return a member's path with forward slashes: some programs on Windows store backslashes."""
    return member.filename.replace("\\", "/").rstrip("/")


def _is_folder(member: zipfile.ZipInfo) -> bool:
    return member.filename.endswith(("/", "\\"))


def open_archive(source: Path | BinaryIO, shown: str) -> zipfile.ZipFile:
    """Open a zip file after looking at every member's name, kind and size.

    Args:
        source: the file, or its content.
        shown: how a message names it.

    Raises:
        UserError: not a zip, or one with a member that leads out of it, links, is encrypted or expands absurdly.
    """
    try:
        archive = zipfile.ZipFile(source)
    except _READ_ERRORS as error:
        raise UserError(f"'{printable(shown)}' can't be read as a zip file ({error}).") from None
    seen: set[str] = set()
    for member in archive.infolist():
        reason = _refusal(member)
        if member.filename in seen:
            reason = "is in it twice"
        seen.add(member.filename)
        if reason:
            archive.close()
            raise UserError(f"'{shown}' is refused: its member '{member.filename}' {reason}.")
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
    most = _MAX_ARCHIVE_BYTES if member.filename.lower().endswith(".zip") else MAX_FILE_BYTES
    if bomb or member.file_size > most:
        return f"would unpack to {member.file_size / 2**20:.0f} MiB, as no slice does"
    return ""


def _inner_file(outer: zipfile.ZipFile, archive: Archive) -> BinaryIO:
    """Return a zip file inside another as a file: where it is stored as it is, a window on the outer file.

    A compressed one can't be read from any place in it, and is unpacked once into the cache.
    """
    assert archive.member is not None
    member = outer.getinfo(archive.member)
    if member.compress_type == zipfile.ZIP_STORED:
        with archive.path.open("rb") as stream:
            stream.seek(member.header_offset + 26)
            name_length, extra_length = (int.from_bytes(stream.read(2), "little") for _ in range(2))
        start = member.header_offset + 30 + name_length + extra_length
        return _Window(archive.path, start, member.file_size)  # type: ignore[return-value]
    key = hashlib.sha256(f"{file_signature(archive.path)} {archive.member}".encode()).hexdigest()
    unpacked = cache_root() / "unpacked" / f"{key[:32]}.zip"
    with locked(unpacked.parent):
        if not unpacked.is_file():
            require_space(unpacked.parent, member.file_size)
            with written_file(unpacked) as unfinished, unfinished.open("wb") as target, outer.open(member) as stream:
                while block := stream.read(2**20):
                    target.write(block)
    return unpacked.open("rb")


class _Window:
    """Part of a file, as a file that can be read and sought; zipfile asks for nothing more.

    Args:
        path: of the file.
        start: first byte.
        length: in bytes.
    """

    def __init__(self, path: Path, start: int, length: int) -> None:
        self._stream = path.open("rb")
        self._start, self._length, self._at = start, length, 0

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        if base + offset < 0:
            raise OSError("before the start")
        self._at = base + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._length - self._at)
        self._stream.seek(self._start + self._at)
        block = self._stream.read(left if size < 0 else min(size, left))
        self._at += len(block)
        return block

    def close(self) -> None:
        self._stream.close()


def read_bytes(path: Path) -> bytes:
    """Return a file's content; raises ``UserError`` where it can't be read or is larger than any slice."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
            raise UserError(f"Image '{printable(str(path))}' is not a regular file.")
        if status.st_size > MAX_FILE_BYTES:
            size = status.st_size / 2**20
            raise UserError(f"Image '{printable(str(path))}' has {size:.0f} MiB: no slice has as many.")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"Image '{printable(str(path))}' can't be read ({error.strerror}).") from None


def file_signature(path: Path) -> str:
    """Return a hash of a file's path, size and time."""
    status = path.stat()
    return hashlib.sha256(os.fsencode(f"file {path} {status.st_size} {status.st_mtime_ns}")).hexdigest()


def folder_signature(root: Path) -> str:
    """Return a hash over names, sizes and times of all files below a folder.

    Above 20,000 files over the folders' times alone: these change when a file is added, removed or renamed, not
    when one is overwritten in place.
    """
    digest = hashlib.sha256(os.fsencode(f"folder {root}"))
    tree = list(walk(root))
    looked_at = [folder for folder, _ in tree]
    if sum(len(files) for _, files in tree) <= _STAT_EACH:
        looked_at += [file for _, files in tree for file in files]
    for path in looked_at:
        stat = os.stat(path)  # noqa: PTH116 (a Path per file would double the time)
        digest.update(os.fsencode(f"{path} {stat.st_size} {stat.st_mtime_ns}\n"))
    return digest.hexdigest()


def walk(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder from ``root`` down, with its files' paths, sorted; hidden ones are left out.

    Raises:
        UserError: a folder that can't be read, a link out of ``root`` or to a folder.
    """
    pending = [str(root)]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as scan:
                entries = sorted((entry for entry in scan if not entry.name.startswith(".")), key=lambda e: e.name)
            files = []
            for entry in entries:
                if entry.is_symlink():
                    _check_link(Path(entry.path), root)
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                else:
                    files.append(entry.path)
        except OSError as error:
            raise UserError(f"Folder '{printable(folder)}' can't be read ({error.strerror}).") from None
        yield folder, files


def _check_link(link: Path, root: Path) -> None:
    if not link.resolve().is_relative_to(root):
        raise UserError(f"'{link}' links out of its folder, to '{link.resolve()}': copy the images instead.")
    if link.is_dir():
        raise UserError(f"'{link}' is a link to a folder: name each folder once, without links.")


def inside(folder: Path, path: str) -> Path | None:
    """Return the file that a relative path names below a folder; ``None`` where it leads out of it."""
    pure = PurePosixPath(path.replace("\\", "/"))
    target = (folder / pure).resolve()
    return None if pure.is_absolute() or not target.is_relative_to(folder) else target
