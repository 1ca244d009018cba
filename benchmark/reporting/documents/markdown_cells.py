"""Cells and tables of Markdown: text that shows as it is, scores with their intervals."""

import re
from collections.abc import Collection, Iterable, Sequence

from benchmark.reporting.board.board import NAMED_BY, BoardRow
from benchmark.reporting.board.column import Column, Kind
from benchmark.reporting.board.columns import COLUMNS
from benchmark.text import plain

_SPECIAL = re.compile(r"[\\`*\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")  # an underscore within a word is plain
HIGHER, LOWER = "higher macro-F1", "lower macro-F1"  # of two rows
_LEFT = {
    *(column.name for column in COLUMNS if column.kind is Kind.TEXT),
    *(
        "work",
        "model",
        "protocol",
        "patients",
        "item",
        "answer",
        "CLAIM",
        "TRIPOD+AI",
        "metric",
        "map",
        "less",
        "predictions",
        HIGHER,
        LOWER,
    ),
}


def escaped(text: object) -> str:
    """Return text that Markdown and the HTML made of it show as it is, on one line."""
    safe = plain(str(text)).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\g<0>", safe)


def bullets(texts: Iterable[str]) -> str:
    """Return texts, which are escaped here, as a list."""
    return "\n".join(f"- {escaped(text)}" for text in texts)


def who(row: BoardRow) -> list[str]:
    """Return the cells that say which row it is, under :data:`NAMED_BY`."""
    return [escaped(row.values.get(name, "")) for name in NAMED_BY]


def table(head: Sequence[str], lines: Sequence[Sequence[str]], left: Collection[str] = _LEFT) -> str:
    """Return a table; columns of text to the left, of numbers to the right.

    Args:
        head: the headings, which are escaped here.
        lines: the cells of each line, escaped already.
        left: the headings of the columns of text.
    """
    rule = [":--" if name in left else "--:" for name in head]
    return "\n".join(f"| {' | '.join(line)} |" for line in ([escaped(name) for name in head], rule, *lines))


def text_table(head: Sequence[str], lines: Sequence[Sequence[str]], left: Collection[str] = _LEFT) -> str:
    """Return a table as :func:`table` does of cells that are plain text: they are escaped here."""
    return table(head, [[escaped(text) for text in line] for line in lines], left)


def cell(row: BoardRow, column: Column) -> str:
    """Return a value with a score's spread over seeds and its interval; empty where the row has none."""
    value, spread = row.values.get(column.name), ""
    if column.kind is Kind.SCORE and column.name in row.spread:
        spread = f" ± {column.text(row.spread[column.name])}"
    ends = column.ends(row.intervals.get(column.name))
    return column.text(value) + spread + (f" ({ends})" if ends and value is not None else "")
