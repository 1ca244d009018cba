"""Cells and tables of Markdown: text that shows as it is, scores with their intervals."""

import re
from collections.abc import Sequence

from benchmark.reporting.board.board import BoardRow
from benchmark.reporting.board.phrases import count, number
from benchmark.text import plain

_SPECIAL = re.compile(r"[\\`*\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")  # an underscore within a word is plain
HIGHER, LOWER = "higher macro-F1", "lower macro-F1"  # of two rows
WHO = ("backbone", "framework", "weights", "recipe")
_WORDS = {
    *(*WHO, "status", "reason", "block", "library", "data", "split", "device", "speed_block", "note", "key"),
    *("work", "model", "protocol", "patients", "item", "answer", "CLAIM", "metric", "map", HIGHER, LOWER),
}


def escaped(text: object) -> str:
    """Return text that Markdown and the HTML made of it show as it is, on one line."""
    safe = plain(str(text)).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\g<0>", safe)


def who(row: BoardRow) -> list[str]:
    """Return the cells that say which row it is, under :data:`WHO`."""
    return [escaped(row.values.get(name, "")) for name in WHO]


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table; columns of words to the left, of numbers to the right.

    Args:
        head: as it is; it is escaped here.
        lines: of cells that are escaped already.
    """
    rule = [":--" if name in _WORDS else "--:" for name in head]
    return "\n".join(f"| {' | '.join(line)} |" for line in ([escaped(name) for name in head], rule, *lines))


def score_cell(row: BoardRow, name: str) -> str:
    """Return a score with its spread over seeds and its interval; empty where the row has none."""
    if name not in row.values:
        return ""
    spread = f" ± {row.spread[name]:.3f}" if name in row.spread else ""
    interval = row.intervals.get(name)
    ends = f" ({interval.low:.3f}-{interval.high:.3f})" if interval else ""
    return f"{row.values[name]:.3f}{spread}{ends}"


def count_cell(row: BoardRow, name: str) -> str:
    """Return a count with its interval; empty where the row has none."""
    if name not in row.values:
        return ""
    interval = row.intervals.get(name)
    return count(row.values[name]) + (f" ({interval.low:.1f}-{interval.high:.1f})" if interval else "")


def number_cell(row: BoardRow, name: str) -> str:
    """Return a number; empty where the row has none."""
    return number(row.values[name]) if name in row.values else ""
