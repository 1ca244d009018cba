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
    """Return what differs between two CSV files beyond rounding, in the columns that the first one has.

    Intervals are left out: they follow the statistics of the code, and a kept board those of its day.
    """
    tables = [list(csv.DictReader(path.read_text(encoding="utf-8").splitlines())) for path in (first, second)]
    if len(tables[0]) != len(tables[1]):
        return ["another number of lines"]
    return [
        f"{heading}: {one} and {line.get(heading)}"
        for kept, line in zip(*tables, strict=True)
        for heading, one in kept.items()
        if not heading.endswith(("_low", "_high"))
        if one != line.get(heading)
        and not math.isclose(_number(one), _number(line.get(heading) or ""), rel_tol=TOLERANCE)
    ]
