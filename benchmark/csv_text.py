"""CSV that a spreadsheet takes for text and numbers alone."""

from collections.abc import Iterable, Mapping, Sequence
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


def _harmless(value: Any) -> Any:
    """Return a cell that a spreadsheet takes for text and a terminal shows as it is.

    What begins like a formula gets an apostrophe before it, as spreadsheets mark text (OWASP, "CSV Injection").
    """
    if not isinstance(value, str):
        return value
    text = "".join(c if c.isprintable() or c == " " else "\ufffd" for c in value)
    return f"'{text}" if value[:1] in _FORMULAS else text
