"""Options that several commands have alike, and kinds of options. Imports nothing but click."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

Option = Callable[[Any], Any]  # adds an option to a command


def choice_option(name: str, choices: Sequence[str], default: str, text: str) -> Option:
    """Return an option that takes one of some words; its help says which it is without."""
    return click.option(name, type=click.Choice(choices), default=default, show_default=True, help=text)


def path_option(name: str, metavar: str, text: str) -> Option:
    """Return an option that takes a path: of a ``FILE`` or ``DIR``, as ``metavar`` says."""
    return click.option(name, type=click.Path(path_type=Path), metavar=metavar, help=text)


def together(*options: Option) -> Option:
    """Return what adds several options to a command, in their order."""

    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


device_option = choice_option(
    "--device",
    ["auto", "cpu", "cuda"],
    "auto",
    "What computes: a GPU where there is one (auto), the processor, or a GPU.",
)
keras_backend_option = choice_option(
    "--keras-backend", ["tensorflow", "torch"], "tensorflow", "What Keras networks run on."
)


def _files(_: click.Context, __: click.Parameter, paths: tuple[Path, ...]) -> tuple[Path, ...]:
    from benchmark.plugins import plugin_files

    return plugin_files(paths)


# the command gets ``plugins``: absolute paths of files that exist
plugin_option: Option = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    type=click.Path(path_type=Path),
    callback=_files,
    metavar="FILE",
    help="A Python file with backbones of your own (repeatable).",
)
