"""Text of unknown origin, made fit to be shown."""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from unicodedata import category

_LONGEST_LINE = 300


def plain(text: str) -> str:
    """Return a text on one line, without what steers a terminal, turns the order of letters or can't be encoded.

    Spaces of any kind become one; any other character that is not printable becomes ``\\ufffd``.
    """
    return " ".join("".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text).split())


def shown(text: str) -> str:
    """Return a text for the terminal as :func:`plain` does, but for its lines and spaces, which stay."""
    return "".join(c if c.isprintable() or c == "\n" or category(c) == "Zs" else _in_place_of(c) for c in text)


def _in_place_of(character: str) -> str:
    return " " if character.isspace() else "\ufffd"


def aligned(lines: Sequence[Sequence[str]], *, numbers: bool = False) -> list[str]:
    """Return lines of as many cells each as lines of text whose cells stand below one another.

    Args:
        numbers: whether all columns but the first stand to the right.
    """
    columns = list(zip(*lines, strict=True))
    widths = [max(map(len, column)) for column in columns]
    places = [str.rjust if numbers and k else str.ljust for k in range(len(columns))]
    return [
        "  ".join(place(cell, width) for place, cell, width in zip(places, line, widths, strict=True)).rstrip()
        for line in lines
    ]


def seconds_of(text: str) -> float:
    """Return the seconds of ``90``, ``45s``, ``30m`` or ``2h``; raises ``ValueError`` for any other text."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if match is None:
        raise ValueError(text)
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def last_lines(provenance: Mapping[str, Any], count: int) -> list[str]:
    """Return the last lines of a worker's log that a record's provenance has, at most ``count``, each cut short."""
    lines = provenance.get("log_tail")
    if not isinstance(lines, (list, tuple)):
        return []
    shown = [plain(str(line)) for line in lines[-count:]]
    return [line if len(line) <= _LONGEST_LINE else line[: _LONGEST_LINE - 1] + "\u2026" for line in shown]
