"""Reading a manifest's table, CSV or Parquet, as text."""

import csv
import io
from typing import Any

from benchmark.errors import UserError, nearest

MANIFESTS = (".csv", ".parquet")
REQUIRED = ("path", "label")
OPTIONAL = ("group", "split", "mask", "slice", "plane")

Cells = dict[str, str]  # of one line, by column


def read_table(data: bytes, name: str) -> list[Cells]:
    """Return the lines of a manifest as text by column.

    Args:
        data: the file.
        name: of the file; its suffix tells CSV from Parquet.

    Raises:
        UserError: not such a table, a column that is missing or unknown, no line.
    """
    try:
        parquet = name.lower().endswith(".parquet")
        columns, lines = _read_parquet(data, name) if parquet else _read_csv(data)
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise UserError(f"Manifest '{name}' can't be read ({error}).") from None
    allowed = (*REQUIRED, *OPTIONAL)
    for column in REQUIRED:
        if column not in columns:
            raise UserError(f"Manifest '{name}' has no column '{column}': {' and '.join(REQUIRED)} are needed.")
    for column in columns:
        if column not in allowed:
            raise UserError(
                f"Manifest '{name}' has an unknown column '{column}'.{nearest(column, allowed)} "
                f"Known: {', '.join(allowed)}."
            )
    if not lines:
        raise UserError(f"Manifest '{name}' lists no image.")
    return lines


def _read_csv(data: bytes) -> tuple[list[str], list[Cells]]:
    reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
    columns = [name.strip() for name in reader.fieldnames or ()]
    reader.fieldnames = columns
    lines = []
    for cells in reader:
        if None in cells or None in cells.values():
            raise ValueError(f"line {reader.line_num} has not {len(columns)} cells")
        lines.append({name: str(value).strip() for name, value in cells.items()})
    return columns, lines


def _read_parquet(data: bytes, name: str) -> tuple[list[str], list[Cells]]:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise UserError(f"Reading '{name}' needs pyarrow: pip install 'tumorboard[parquet]'.") from None
    table: Any = parquet.read_table(io.BytesIO(data))
    lines = table.to_pylist()
    return table.column_names, [{name: _text(value) for name, value in cells.items()} for cells in lines]


def _text(value: Any) -> str:
    """Return a Parquet cell as a CSV would hold it; missing numbers come as NaN."""
    if value is None or value != value:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
