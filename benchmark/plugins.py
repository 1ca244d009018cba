"""Plug-in files: Python files of the user's own that declare backbones."""

from collections.abc import Iterable
from pathlib import Path

from backbones.registry import Registry, load_registry
from benchmark.errors import UserError


def plugin_files(paths: Iterable[Path | str]) -> tuple[Path, ...]:
    """Return plug-in files as absolute paths, each once.

    Raises:
        UserError: one does not exist.
    """
    files = tuple(dict.fromkeys(Path(path).expanduser().resolve() for path in paths))
    for file in files:
        if not file.is_file():
            raise UserError(f"There is no plug-in file '{file}'.")
    return files


def registry_with(files: tuple[Path, ...]) -> Registry:
    """Return all registered backbones with those of plug-in files, which are run.

    Raises:
        UserError: one of the files can't be used. A broken plug-in that is installed is no error.
    """
    registry = load_registry(files)
    for broken in registry.broken:
        if broken.origin in map(str, files):
            raise UserError(f"The plug-in '{broken.origin}' can't be used: {broken.reason}.")
    return registry
