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


def test_numbers_have_no_more_digits_than_asked(tmp_path: Path) -> None:
    held = columns(5000)
    write_columns(tmp_path / "x.csv", list(held.values()), list(held), significant_digits=9)
    rows = list(csv.reader((tmp_path / "x.csv").read_text().splitlines(keepends=True)))[1:]
    assert [row[1] for row in rows[:2]] == ["", f"{held['float'][1]:.9g}"]
    assert max(len(row[1].strip("0.")) for row in rows if "e" not in row[1]) == 9
    read = np.array([float(row[2]) for row in rows], dtype=np.float32)
    np.testing.assert_array_equal(read, held["float32"], "nine tell numbers of float32 apart")
    assert rows[1][3] == str(held["int"][1])
    assert rows[2][6] == repr(2 / 7), "a column of no array is as it is"
