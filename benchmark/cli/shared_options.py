"""Options that several commands have alike."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="What computes: a GPU where there is one (auto), the processor, or a GPU.",
)
keras_backend_option = click.option(
    "--keras-backend",
    type=click.Choice(["tensorflow", "torch"]),
    default="tensorflow",
    show_default=True,
    help="What Keras networks run on.",
)


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
