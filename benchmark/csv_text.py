"""CSV that a spreadsheet takes for text and numbers alone."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def csv_text(lines: Iterable[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Return lines as CSV with the columns of these names; absent values are empty."""
    stream = io.StringIO(newline="")
    _write(stream, ([line.get(name) for name in names] for line in lines), names)
    return stream.getvalue()


def write_columns(path: Path, columns: Sequence[Sequence[Any]], names: Sequence[str]) -> None:
    """Write columns of equal length to a file as :func:`csv_text` has them, line by line: there may be millions.

    Args:
        path: of the file, which is replaced.
        columns: texts, numbers, and ``None`` for what is absent.
        names: their headings.
    """
    with path.open("w", encoding="utf-8", newline="") as stream:
        _write(stream, zip(*columns, strict=True), names)


def _write(stream: TextIO, lines: Iterable[Iterable[Any]], names: Sequence[str]) -> None:
    """Write lines of cells below their headings; what is absent (``None``, ``nan``) is empty."""
    texts: dict[str, str] = {}  # most texts stand in many lines

    def cell(value: Any) -> Any:
        if isinstance(value, str):
            return texts.get(value) or texts.setdefault(value, _harmless(value))
        return "" if value != value else value

    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([_harmless(name) for name in names])  # of classes too
    writer.writerows(map(cell, line) for line in lines)


def _harmless(value: str) -> str:
    """Return a text that a spreadsheet takes for text and a terminal shows as it is.

    What begins like a formula gets an apostrophe before it, as spreadsheets mark text (OWASP, "CSV Injection").
    """
    text = value if value.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in value)
    return f"'{text}" if value[:1] in _FORMULAS else text
