"""A folder of images: ``Training/<class>/*`` with ``Testing/<class>/*``, or class folders alone."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from benchmark.data.sources.base import Item, Loaded
from benchmark.data.sources.files import MAX_FILE_BYTES, decode_file, folders_of, is_image
from benchmark.data.sources.kaggle_releases import Release, recognise
from benchmark.data.sources.layout import Layout, read_layout
from benchmark.errors import UserError

_STAT_EACH = 20_000  # above as many files, a signature looks at folders only: it must not take seconds


class ImageFolders(ABC):
    """What folders and archives have in common: their layout says all but the pixels.

    Args:
        root: the folder or file, resolved.
    """

    synthetic = False
    lettered_patients = False
    licence = ""

    def __init__(self, root: Path) -> None:
        self.root = root

    @abstractmethod
    def _read_layout(self) -> Layout:
        """List the images and say what their folders mean."""

    @cached_property
    def _layout(self) -> Layout:
        return self._read_layout()

    @cached_property
    def _release(self) -> Release | None:
        return recognise(self._layout.items)

    @property
    def name(self) -> str:
        """The file's or folder's; notes tell which known release it is."""
        return self.root.name.removesuffix(".zip") or "images"

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
    def citation(self) -> str:
        """Of the release that was recognised."""
        return self._release.citation if self._release else ""

    @property
    def notes(self) -> tuple[str, ...]:
        """Which release this is, what was ignored or merged."""
        return (*(self._release.notes if self._release else ()), *self._layout.notes)


class FolderSource(ImageFolders):
    """Images in folders. Links that lead out of the folder are refused.

    Args:
        root: the folder.

    Raises:
        UserError: on use, when the folder can't be read or holds no usable images.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root.resolve())

    def _read_layout(self) -> Layout:
        start = len(str(self.root)) + 1
        tree = [(folder[start:], [file[start:] for file in files]) for folder, files in tree_of(self.root)]
        images = [file.replace(os.sep, "/") for _, files in tree for file in files if is_image(file)]
        empty = {folder.replace(os.sep, "/") for folder, _ in tree} - folders_of(images) - {""}
        return read_layout(images, sorted(empty), str(self.root))

    def signature(self) -> str:
        """Return a hash over the files; see :func:`folder_signature`."""
        return folder_signature(self.root)

    def load(self, index: int) -> Loaded:
        """Read and decode one image; raises ``UserError`` naming the file."""
        path = self.root / self._layout.paths[index]
        data = read_bytes(path)
        return Loaded(decode_file(data, str(path)), hashlib.sha256(data).digest())


def read_bytes(path: Path) -> bytes:
    """Return a file's content; raises ``UserError`` where it can't be read or is larger than any slice."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UserError(f"Image '{path}' has {path.stat().st_size / 2**20:.0f} MiB: no slice has as many.")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"Image '{path}' can't be read ({error.strerror}).") from None


def folder_signature(root: Path) -> str:
    """Return a hash over names, sizes and times of all files below a folder.

    Above 20,000 files over the folders' times alone: these change when a file is added, removed or renamed, not
    when one is overwritten in place.
    """
    digest = hashlib.sha256(f"folder {root}".encode())
    tree = list(tree_of(root))
    looked_at = [folder for folder, _ in tree]
    if sum(len(files) for _, files in tree) <= _STAT_EACH:
        looked_at += [file for _, files in tree for file in files]
    for path in looked_at:
        stat = os.stat(path)  # noqa: PTH116 (a Path per file would double the time)
        digest.update(f"{path} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def tree_of(root: Path) -> Iterator[tuple[str, list[str]]]:
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
            raise UserError(f"Folder '{folder}' can't be read ({error.strerror}).") from None
        yield folder, files


def _check_link(link: Path, root: Path) -> None:
    if not link.resolve().is_relative_to(root):
        raise UserError(f"'{link}' links out of its folder, to '{link.resolve()}': copy the images instead.")
    if link.is_dir():
        raise UserError(f"'{link}' is a link to a folder: name each folder once, without links.")
