"""The option ``--plugin``, of every command that builds a backbone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def _files(_: click.Context, __: click.Parameter, paths: tuple[Path, ...]) -> tuple[Path, ...]:
    from benchmark.plugins import plugin_files

    return plugin_files(paths)


# the command gets ``plugins``: absolute paths of files that exist
plugin_option: Callable[[Any], Any] = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    type=click.Path(path_type=Path),
    callback=_files,
    metavar="FILE",
    help="A Python file with backbones of your own (repeatable).",
)
