"""Compares two tables of a board that were computed by different versions of the libraries."""

import csv
import math
from pathlib import Path

TOLERANCE = 1e-9  # NumPy 2.5 sums in another order than 2.4: the last digit differs


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


def differences(first: Path, second: Path) -> list[str]:
    """Return what differs between two CSV files, beyond rounding: texts, numbers, columns, the number of lines."""
    tables = [list(csv.reader(path.read_text(encoding="utf-8").splitlines())) for path in (first, second)]
    if [len(line) for line in tables[0]] != [len(line) for line in tables[1]]:
        return ["other numbers of lines or columns"]
    return [
        f"{heading}: {one} and {other}"
        for lines in zip(*tables, strict=True)
        for heading, one, other in zip(tables[0][0], *lines, strict=True)
        if one != other and not math.isclose(_number(one), _number(other), rel_tol=TOLERANCE)
    ]
