"""CSV that a spreadsheet takes for text and numbers alone."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def csv_text(lines: Iterable[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Return lines as CSV with the columns of these names; absent values are empty."""
    import pandas as pd

    # dtype object: an integer column with gaps stays one of integers
    safe = [{name: _harmless(value) for name, value in line.items()} for line in lines]
    frame = pd.DataFrame(safe, columns=list(names), dtype=object)
    headings = [str(_harmless(name)) for name in names]  # of classes too
    return str(frame.to_csv(index=False, header=headings, lineterminator="\n"))


def write_columns(path: Path, columns: Sequence[Sequence[Any]], names: Sequence[str]) -> None:
    """Write columns of equal length to a file as :func:`csv_text` has them, line by line: there may be millions.

    Args:
        path: of the file, which is replaced.
        columns: texts, numbers, and ``None`` for what is absent.
        names: their headings.
    """
    texts: dict[str, str] = {}
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([_harmless(name) for name in names])
        for line in zip(*columns, strict=True):
            writer.writerow(
                [
                    value
                    if not isinstance(value, str)
                    else texts.get(value) or texts.setdefault(value, _harmless(value))
                    for value in line
                ]
            )


def _harmless(value: Any) -> Any:
    """Return a cell that a spreadsheet takes for text and a terminal shows as it is.

    What begins like a formula gets an apostrophe before it, as spreadsheets mark text (OWASP, "CSV Injection").
    """
    if not isinstance(value, str):
        return value
    text = value if value.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in value)
    return f"'{text}" if value[:1] in _FORMULAS else text
