"""``--json``: a command's answer as one JSON object on standard output, for programs."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def json_option(command: Command) -> Command:
    """Add ``--json`` to a click command, which gets it as ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Answer in JSON, for programs.")(command)


def print_json(values: Mapping[str, Any]) -> None:
    """Print values as JSON; all else that a command says belongs on standard error.

    Paths become text, NumPy's numbers become numbers, and what is no finite number becomes null: JSON has no NaN.
    """
    click.echo(json.dumps(_plain(values), indent=1, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(each) for each in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # an array of NumPy, or one of its numbers
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
