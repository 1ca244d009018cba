"""Reading a manifest's table, CSV or Parquet, as text."""

import csv
import io
from typing import Any

from benchmark.errors import UserError, nearest

MANIFESTS = (".csv", ".parquet")
REQUIRED = ("path", "label")
OPTIONAL = ("group", "split", "mask", "slice", "plane", "scanner", "source")

MAX_ROWS, MAX_CELL = 1_000_000, 4096  # lines; characters of a cell
_MAX_UNPACKED, _BATCH = 128 * 2**20, 1000  # bytes of a table's columns; lines that are read at once

Cells = dict[str, str]  # of one line, by column


def read_table(data: bytes, name: str, required: tuple[str, ...] = REQUIRED) -> list[Cells]:
    """Return the lines of a manifest as text by column.

    Args:
        data: the file.
        name: of the file; its suffix tells CSV from Parquet.
        required: the columns that it must have.

    Raises:
        UserError: not such a table, a column that is missing or unknown, no line.
    """
    try:
        parquet = name.lower().endswith(".parquet")
        columns, lines = _read_parquet(data, name) if parquet else _read_csv(data)
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise UserError(f"Manifest '{name}' can't be read ({error}).") from None
    allowed = (*REQUIRED, *OPTIONAL)
    for column in required:
        if column not in columns:
            raise UserError(f"Manifest '{name}' has no column '{column}': {' and '.join(required)} are needed.")
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
    if len(data) > _MAX_UNPACKED:
        raise ValueError(f"it has more than {_MAX_UNPACKED // 2**20} MiB")
    reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
    columns = [name.strip() for name in reader.fieldnames or ()]
    reader.fieldnames = columns
    lines = []
    for cells in reader:
        if None in cells or None in cells.values():
            raise ValueError(f"line {reader.line_num} has not {len(columns)} cells")
        lines.append({name: str(value).strip() for name, value in cells.items()})
        if len(lines) > MAX_ROWS:
            raise ValueError(f"it has more than {MAX_ROWS} rows")
    return columns, lines


def _read_parquet(data: bytes, name: str) -> tuple[list[str], list[Cells]]:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise UserError(f"Reading '{name}' needs pyarrow: pip install 'tumorboard[parquet]'.") from None
    file: Any = parquet.ParquetFile(io.BytesIO(data))
    columns = list(file.schema_arrow.names)
    if not set(columns) <= {*REQUIRED, *OPTIONAL}:
        return columns, []  # refused for the column that is unknown, before any is read
    if file.metadata.num_rows > MAX_ROWS:
        raise ValueError(f"it has more than {MAX_ROWS} rows")
    groups = (file.metadata.row_group(n) for n in range(file.metadata.num_row_groups))
    if sum(group.total_byte_size for group in groups) > _MAX_UNPACKED:
        raise ValueError(f"its columns have more than {_MAX_UNPACKED // 2**20} MiB")
    for kind in file.schema_arrow.types:
        if kind.num_fields:
            raise ValueError(f"a column has values of type {kind}: text and numbers are read")
    # a long text that stands once in the file and is named in each row stays one, until its length is known
    file = parquet.ParquetFile(io.BytesIO(data), read_dictionary=columns)
    lines: list[Cells] = []
    letters = 0
    for batch in file.iter_batches(batch_size=_BATCH):
        if len(lines) + batch.num_rows > MAX_ROWS:
            raise ValueError(f"it has more than {MAX_ROWS} rows")
        for column in batch.columns:
            _require_short(column)
        more = [{name: _text(value) for name, value in cells.items()} for cells in batch.to_pylist()]
        letters += sum(len(cell) for cells in more for cell in cells.values())
        if letters > _MAX_UNPACKED:  # text that stands once in the file is there for each row now
            raise ValueError(f"its cells have more than {_MAX_UNPACKED // 2**20} million characters")
        lines += more
    return columns, lines


def _require_short(column: Any) -> None:
    """Raise ``ValueError`` unless a Parquet column holds numbers, or text of a cell's length."""
    import pyarrow as arrow
    import pyarrow.compute as compute

    values = column.dictionary if arrow.types.is_dictionary(column.type) else column
    kind = values.type
    if arrow.types.is_string(kind) or arrow.types.is_large_string(kind):
        longest = compute.max(compute.binary_length(values)).as_py() or 0
        if longest > 4 * MAX_CELL:  # bytes of UTF-8
            raise ValueError(f"a cell has more than {MAX_CELL} characters")
    elif not (arrow.types.is_primitive(kind) or arrow.types.is_null(kind)):
        raise ValueError(f"a column has values of type {kind}: text and numbers are read")


def _text(value: Any) -> str:
    """Return a Parquet cell as a CSV would hold it; missing numbers come as NaN."""
    if value is None or value != value:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
