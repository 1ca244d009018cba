"""CSV that a spreadsheet takes for text and numbers alone."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

Column = Sequence[Any] | npt.NDArray[Any]

_TOGETHER = 4096  # lines that are made ready at once
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def csv_text(lines: Iterable[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Return lines as CSV with the columns of these names; absent values are empty."""
    kept = list(lines)
    stream = io.StringIO(newline="")
    _write(stream, [[line.get(name) for line in kept] for name in names], names)
    return stream.getvalue()


def write_columns(
    path: Path, columns: Sequence[Column], names: Sequence[str], *, significant_digits: int | None = None
) -> None:
    """Write columns of equal length to a file as :func:`csv_text` has them.

    Args:
        path: of the file, which is replaced.
        columns: texts, numbers, and ``None`` for what is absent.
        names: their headings.
        significant_digits: with which numbers of a NumPy array of floats are written, at most; by default with as
            many as tell them apart, which takes three times as long.
    """
    with path.open("w", encoding="utf-8", newline="") as stream:
        _write(stream, columns, names, None if significant_digits is None else f"%.{significant_digits}g")


def _write(stream: TextIO, columns: Sequence[Column], names: Sequence[str], float_format: str | None = None) -> None:
    """Write columns below their headings; what is absent (``None``, ``nan``) is empty."""
    texts = _Texts()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([_harmless(name) for name in names])  # of classes too
    for start in range(0, max(map(len, columns), default=0), _TOGETHER):  # there may be millions of lines
        cells = (_cells(column[start : start + _TOGETHER], texts, float_format) for column in columns)
        writer.writerows(zip(*cells, strict=True))


class _Texts(dict[str, str]):
    """Texts made harmless: most stand in many lines."""

    def __missing__(self, text: str) -> str:
        return self.setdefault(text, _harmless(text))


def _cells(column: Column, texts: _Texts, float_format: str | None) -> list[Any]:
    """Return what is written of some values of a column."""
    values: Sequence[Any] = column.tolist() if isinstance(column, np.ndarray) else column
    if not isinstance(column, np.ndarray) or column.dtype.kind not in "fiub":
        return [texts[value] if isinstance(value, str) else "" if value != value else value for value in values]
    cells = list(values)  # all are numbers: only those that are absent are looked at
    if column.dtype.kind == "f":
        if float_format is not None:
            cells = [float_format % value for value in values]
        for place in np.flatnonzero(np.isnan(column)):
            cells[place] = ""
    return cells


def _harmless(value: str) -> str:
    """Return a text that a spreadsheet takes for text and a terminal shows as it is.

    What begins like a formula gets an apostrophe before it, as spreadsheets mark text (OWASP, "CSV Injection").
    """
    text = value if value.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in value)
    return f"'{text}" if value[:1] in _FORMULAS else text
