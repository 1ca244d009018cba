"""Where prepared data lives on disk: one folder per source, written atomically, one writer at a time."""

import contextlib
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from backbones._cache import CACHE_VARIABLE
from backbones._cache import cache_root as shared_root
from benchmark.atomic_files import UNFINISHED, flush
from benchmark.errors import UserError
from benchmark.ownership import PRIVATE_FILE, make_private, other_writers


def cache_root(cache: Path | None = None) -> Path:
    """Return the folder of all caches: ``cache``, else ``$TUMORBOARD_CACHE``, else the system's place for them.

    Raises:
        UserError: the system has no place for them.
    """
    if cache is not None:
        return cache
    try:
        return shared_root()
    except RuntimeError:
        raise UserError(
            f"There is no home directory for the cache: name a folder for it in the environment variable "
            f"{CACHE_VARIABLE}."
        ) from None


def make_folder(folder: Path) -> Path:
    """Create a folder with its parents, for this user alone to write; raises ``UserError`` where it can't be written,
    or where others may write to it.
    """
    try:
        make_private(folder)
    except OSError as error:
        raise UserError(
            f"The cache folder '{folder}' can't be created ({error.strerror}): "
            f"name another in the environment variable {CACHE_VARIABLE}."
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(
            f"The cache folder '{folder}' is not writable: name another in the environment variable {CACHE_VARIABLE}."
        )
    require_own(folder)
    return folder


def require_own(*paths: Path) -> None:
    """Raise ``UserError`` unless this user alone may write to files and folders of the cache.

    Whoever may write there can change labels and pixels, and with them every score, under the same fingerprint.
    """
    for path in paths:
        others = other_writers(path)
        if others:
            raise UserError(
                f"The cache '{path}' is not used, because {others}, and who writes there can change results: name a "
                f"folder of your own in the environment variable {CACHE_VARIABLE}, or make it yours alone "
                f"(chmod -R go-w)."
            )


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Create a cache folder and hold its lock, which the system frees when a process dies, however it dies.

    What an earlier process left unfinished in it is dead then, and is removed.
    """
    make_folder(folder)
    with FileLock(folder / ".lock"):
        for dead in folder.glob(f"{UNFINISHED}*"):
            shutil.rmtree(dead, ignore_errors=True)
        yield


@contextlib.contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Give an empty folder to fill, and rename it to ``target`` when the block ends well."""
    unfinished = target.with_name(f"{UNFINISHED}{uuid.uuid4().hex}")
    make_folder(unfinished)
    try:
        yield unfinished
        for file in unfinished.iterdir():
            file.chmod(stat.S_IMODE(file.stat().st_mode) & PRIVATE_FILE)
            flush(file)
        unfinished.rename(target)
        flush(target.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def require_space(folder: Path, needed_bytes: int) -> None:
    """Raise ``UserError`` where the disk of ``folder`` has not ``needed_bytes`` free."""
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise UserError(
            f"Preparing the images needs {needed_bytes / 1e9:.1f} GB in '{folder}' and {free / 1e9:.1f} GB are free: "
            f"free some, choose a smaller --size, or name another folder in {CACHE_VARIABLE}."
        )
