"""TOML that a user wrote: read within bounds, refused in a sentence."""

import os
import stat
import tomllib
from pathlib import Path
from typing import Any

from benchmark.errors import UserError

_MAX_BYTES = 2**20  # a recipe or a suite is a few kilobytes


def read_toml(path: Path, what: str, where: str) -> dict[str, Any]:
    """Return what a TOML file says.

    Args:
        path: the path of the file.
        what: the beginning of the message that it can't be read (``Recipe file 'x.toml'``).
        where: what a message calls the file as a place (``recipe 'x'``).

    Raises:
        UserError: it can't be read, is too large, or is not TOML.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise UserError(f"{what} can't be read: it is not a regular file.")
            data = stream.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise UserError(f"{what} can't be read: it has more than {_MAX_BYTES // 2**10} KiB.")
        text = data.decode("utf-8")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a name with a null in it
        raise UserError(f"{what} can't be read: {error}.") from None
    return parse_toml(text, where)


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; of a pipe or a device, without waiting for someone at its other end."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """Return what TOML says; raises ``UserError`` that names ``where``."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise UserError(f"In {where}: brackets are nested too deeply.") from None
    except ValueError as error:  # not TOML, or a number of thousands of digits
        raise UserError(f"In {where}: {error}.") from None
