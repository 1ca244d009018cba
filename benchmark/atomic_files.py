"""The one way to write a small file: complete or absent, and on the disk when the writing is done."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

UNFINISHED = ".unfinished-"  # how the names of files that are being written begin


@contextmanager
def written_file(target: Path, mode: int = 0o666, *, durable: bool = True) -> Iterator[Path]:
    """Give the path of an empty file to fill, which takes the place of ``target`` when the block ends well.

    A reader sees the old content or the new one, never half, also after a power failure. The file has the
    permissions of any new file, or at most those of ``mode``, and its name can't be guessed. Where ``target`` is a
    link, the link is replaced and what it points to is left alone.

    Args:
        durable: whether it is on the disk when the block ends; without, a power failure may leave half of it.

    Raises:
        OSError: the folder can't be written, or the disk is full; ``target`` is then as it was.
    """
    unfinished = target.with_name(f"{UNFINISHED}{uuid4().hex}{target.suffix}")
    os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    try:
        yield unfinished
        if durable:
            flush(unfinished)
        unfinished.replace(target)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise
    if durable:
        flush(target.parent)  # the renaming itself is on the disk only after this


def inside(root: Path, *names: str) -> Path:
    """Return the path of a file to write below a folder, its own folder made; links on the way are resolved first.

    Raises:
        OSError: the path leads out of the folder, by a name or by a link, or its folder can't be made.
    """
    path = root.joinpath(*names)
    home = root.resolve()
    if not path.parent.resolve().is_relative_to(home) or any(name in ("", ".", "..") for name in names):
        raise OSError(errno.EPERM, f"'{path}' leads out of '{root}', and nothing is written there")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write_atomically(path: Path, content: str | bytes, mode: int = 0o666) -> Path:
    """Write a file as :func:`written_file` does, text as UTF-8; return ``path``."""
    with written_file(path, mode) as unfinished:
        unfinished.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return path


def flush(path: Path) -> None:
    """Wait until the content of a file or folder is on the disk."""
    if path.is_dir() and os.name != "posix":
        return  # only POSIX opens folders
    # Windows flushes only what is open for writing; elsewhere a file may be another user's
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put_in_place(new: Path, final: Path) -> None:
    """Give a file or folder that was written beside its place, and is on the disk, the name ``final``.

    A file takes the place of a file at once. What else stood there is put aside until the new one has its place; it
    stands again where that fails, and after a kill between the two renames once :func:`tidy_folder` is called.

    Raises:
        OSError: it can't be renamed.
    """
    old = final.with_name(f".old-{final.name}-{uuid4().hex[:8]}")
    if new.is_file() and not final.is_dir():
        new.replace(final)
    else:
        with suppress(FileNotFoundError):
            final.rename(old)
        try:
            new.rename(final)
        except BaseException:
            with suppress(OSError):
                old.rename(final)
            raise
    flush(final.parent)
    _remove(old)


def tidy_folder(final: Path) -> None:
    """Remove what a killed process left of writing a file or folder by way of ``.new-NAME-*`` and ``.old-NAME-*``.

    What it had put aside stands again where nothing took its place. Only who alone may write the folder may do this.
    """
    for left in sorted(final.parent.glob(f".old-{final.name}-*")):
        with suppress(OSError):
            if not final.exists():  # killed between its two renames
                left.rename(final)
    for left in (*final.parent.glob(f".old-{final.name}-*"), *final.parent.glob(f".new-{final.name}-*")):
        _remove(left)


def _remove(path: Path) -> None:
    """Remove a file or a folder, as far as that can be done."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
