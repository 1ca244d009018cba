"""Publications in folders: complete or absent, known by their marker, and never in the place of anything else."""

import json
import shutil
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmark.atomic_files import put_in_place, tidy_folder, write_atomically
from benchmark.errors import UserError, writing
from benchmark.foreign_files import Refused, read_foreign
from benchmark.hashing import hash_file
from benchmark.models.description import FILE as MODEL_FILE
from benchmark.publishing.board import Contents, write_board
from benchmark.publishing.model import copy_model
from benchmark.version import __version__

MARKER, SUMS = "publication.json", "SHA256SUMS"
FORMAT = 1
_MAX_MARKER = 2**16


def is_model(source: Path) -> bool:
    """Return whether what is to be published is a kept model, rather than a board."""
    return (source / MODEL_FILE).is_file()


def publish_to_folder(source: Path, target: Path, contents: Contents) -> Path:
    """Publish a results folder, or a kept model, into a folder; return what is to be opened there.

    It is written beside its place and renamed: after a crash it is complete or absent. A publication that stands
    there is replaced.

    Raises:
        UserError: something else stands there, there is nothing to publish, or it can't be written.
    """
    target = target.expanduser().absolute()
    if source.resolve() == target.resolve() or target.resolve().is_relative_to(source.resolve()):
        raise UserError(f"--to {target}: give a folder outside of '{source}'.")
    require_free(target)
    with writing(f"--to {target}"):
        target.parent.mkdir(parents=True, exist_ok=True)
        tidy_folder(target)
        new = target.with_name(f".new-{target.name}-{uuid4().hex[:8]}")
        try:
            opened = write_publication(source, new, contents)
            put_in_place(new, target)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return target / opened


def write_publication(source: Path, folder: Path, contents: Contents) -> str:
    """Write a publication into a folder that is made; return the name of the file to be opened.

    Raises:
        UserError: there is nothing to publish.
    """
    if is_model(source):
        copy_model(source, folder)
        opened = "README.md"
    else:
        folder.mkdir(parents=True)
        opened = write_board(source, folder, contents).page.name
    kind = "model" if is_model(source) else "board"
    facts: dict[str, Any] = {"format": FORMAT, "tumorboard": __version__, "kind": kind}
    write_atomically(folder / MARKER, json.dumps({**facts, "images": contents.images and kind == "board"}) + "\n")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = "".join(f"{hash_file(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)
    write_atomically(folder / SUMS, sums)
    return opened


def require_free(target: Path) -> None:
    """Raise ``UserError`` unless a place is empty, not there, or holds a publication."""
    if not target.exists() and not target.is_symlink():
        return
    if target.is_symlink() or not target.is_dir():
        raise UserError(f"--to {target}: a file or link of that name is there; give another name.")
    if any(target.iterdir()) and not is_publication(target):
        raise UserError(
            f"--to {target}: the folder holds something else than a publication of TumorBoard, which would be lost; "
            "give another name."
        )


def is_publication(folder: Path) -> bool:
    """Return whether a folder bears the marker of a publication."""
    try:
        values = json.loads(read_foreign(folder, MARKER, limit=_MAX_MARKER))
    except (Refused, OSError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and values.get("kind") in ("board", "model") and "tumorboard" in values
