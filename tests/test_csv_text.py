"""CSV of lines and of columns: the same text, whatever the columns are held in."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.csv_text import csv_text, write_columns


def columns(count: int) -> dict[str, Any]:
    """Return columns of every kind that is written."""
    rng = np.random.default_rng(0)
    floats = rng.random(count)
    floats[::7] = np.nan
    return {
        "=name": np.array([f'{"=+-@"[k % 4]}{k}, "x"' for k in range(count)]),
        "float": floats,
        "float32": rng.random(count).astype(np.float32),
        "int": rng.integers(-5, 5, count),
        "flag": rng.random(count) > 0.5,
        "text": ["" if k % 3 else "a\nb" for k in range(count)],
        "mixed": [None if k % 5 == 0 else float("nan") if k % 5 == 1 else k / 7 for k in range(count)],
    }


def test_columns_are_written_as_lines_are(tmp_path: Path) -> None:
    held = columns(9000)  # more than are made ready at once
    write_columns(tmp_path / "x.csv", list(held.values()), list(held))
    text = (tmp_path / "x.csv").read_bytes().decode()
    plain = {name: column.tolist() if isinstance(column, np.ndarray) else column for name, column in held.items()}
    lines = [dict(zip(plain, values, strict=True)) for values in zip(*plain.values(), strict=True)]
    assert text == csv_text(lines, list(held))
    first, *rows = csv.reader(text.splitlines(keepends=True))
    assert first[0] == "'=name"
    assert len(rows) == 9000
    assert rows[0][:2] == ['\'=0, "x"', ""]
    assert rows[2][6] == repr(2 / 7)
    assert [row[6] for row in rows[:2]] == ["", ""]
    assert {row[5] for row in rows} == {"", "a\ufffdb"}
    assert [float(row[1]) for row in rows[1:7]] == held["float"][1:7].tolist()
    assert {row[4] for row in rows} == {"True", "False"}


def test_nothing_has_a_heading_alone(tmp_path: Path) -> None:
    assert csv_text([], ["a", "b"]) == "a,b\n"
    write_columns(tmp_path / "x.csv", [np.zeros(0), []], ["a", "b"])
    assert (tmp_path / "x.csv").read_text() == "a,b\n"
