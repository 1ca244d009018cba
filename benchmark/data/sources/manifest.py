"""A table of a user's own images: ``path,label[,group][,split][,mask][,slice][,plane]``, as CSV or Parquet."""

import csv
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from benchmark.data.sources.archive import file_signature
from benchmark.data.sources.base import Item, Loaded
from benchmark.data.sources.files import decode_file, decode_mask_file, is_image
from benchmark.data.sources.folder import read_bytes
from benchmark.data.sources.layout import NEGATIVE, PARTS, tidy_class
from benchmark.errors import UserError, nearest

MANIFESTS = (".csv", ".parquet")
REQUIRED = ("path", "label")
OPTIONAL = ("group", "split", "mask", "slice", "plane")
_VALIDATION = ("val", "valid", "validation")
_STAT_EACH = 20_000  # above as many images, a signature looks at the table only


@dataclass(frozen=True)
class Row:
    """One line of a manifest, checked; ``None`` where a cell is empty.

    Args:
        path, mask: relative to the manifest's folder, with forward slashes.
        label: tidied.
        part: ``train`` or ``test``.
        slice_number: of a volume, from 0.
    """

    path: str
    label: str
    group: str | None
    part: str | None
    mask: str | None
    slice_number: int | None
    plane: str | None

    @property
    def image_id(self) -> str:
        """The path, with the slice's number where the table gives one."""
        return self.path if self.slice_number is None else f"{self.path}#{self.slice_number}"


class ManifestSource:
    """Images that a table lists. Paths are relative to the table's folder and stay in it.

    Args:
        path: of the table.

    Raises:
        UserError: on use: not such a table, a column missing or unknown, a file missing or outside the folder, an
            image twice, values that are not known.
    """

    synthetic = False
    lettered_patients = False
    licence = ""
    citation = ""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.folder = self.path.parent
        self.name = path.stem

    @cached_property
    def _cells(self) -> list[dict[str, str]]:
        return _read_table(self.path)

    @cached_property
    def _rows(self) -> tuple[Row, ...]:
        rows = tuple(self._row(number, cells) for number, cells in enumerate(self._cells, start=1))
        twice = [name for name, count in Counter(row.image_id for row in rows).items() if count > 1]
        if twice:
            raise UserError(f"'{self.path}' lists the image '{twice[0]}' twice.")
        parts = {row.part for row in rows}
        if None in parts and parts != {None}:
            raise UserError(f"'{self.path}' gives some images a split and others none: fill the column or remove it.")
        if parts == {"test"}:
            raise UserError(f"'{self.path}' has test images and no training images.")
        if len({row.label for row in rows}) < 2:
            raise UserError(f"'{self.path}' has one class only ('{rows[0].label}'): at least two are needed.")
        return rows

    def _row(self, number: int, cells: dict[str, str]) -> Row:
        for column in REQUIRED:
            if not cells[column]:
                raise UserError(f"'{self.path}' has no {column} in row {number}.")
        split = cells.get("split", "").lower()
        part = "train" if split in _VALIDATION else PARTS.get(split)
        if split and part is None:
            raise UserError(
                f"'{self.path}' has the split '{cells['split']}' in row {number}: train and test are known."
            )
        slice_number = cells.get("slice", "")
        if slice_number and not slice_number.isdecimal():
            raise UserError(f"'{self.path}' has the slice '{slice_number}' in row {number}: give a number from 0.")
        return Row(
            path=self._checked(cells["path"], "file"),
            label=tidy_class(cells["label"]),
            group=cells.get("group") or None,
            part=part,
            mask=self._checked(cells["mask"], "mask") if cells.get("mask") else None,
            slice_number=int(slice_number) if slice_number else None,
            plane=cells.get("plane") or None,
        )

    def _checked(self, path: str, what: str) -> str:
        """Return a path in its plain form; raises ``UserError`` unless it names an image inside the folder."""
        pure = PurePosixPath(path.replace("\\", "/"))
        target = (self.folder / pure).resolve()
        if pure.is_absolute() or not target.is_relative_to(self.folder):
            raise UserError(f"'{self.path}' names '{path}', outside its folder '{self.folder}'.")
        if not target.is_file():
            raise UserError(f"'{self.path}' names a {what} that does not exist: '{path}'.")
        if not is_image(pure.name):
            raise UserError(f"'{self.path}' names '{path}', which is not an image.")
        return pure.as_posix()

    @cached_property
    def items(self) -> Sequence[Item]:
        """The images, in the table's order."""
        return tuple(
            Item(row.image_id, row.label, part=row.part, group=row.group, plane=row.plane) for row in self._rows
        )

    @property
    def class_names(self) -> tuple[str, ...]:
        """Tidied, sorted."""
        return tuple(sorted({row.label for row in self._rows}))

    @property
    def negative_class(self) -> str | None:
        """``notumor`` where a label says so, under any of its usual names."""
        return NEGATIVE if NEGATIVE in self.class_names else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the harness does otherwise than the table says."""
        validation = sum(cells.get("split", "").lower() in _VALIDATION for cells in self._cells)
        return (f"{validation} validation images count as training: the harness cuts its own",) if validation else ()

    def signature(self) -> str:
        """Return a hash over the table, and up to 20,000 images over the sizes and times of their files too."""
        digest = hashlib.sha256(file_signature(self.path).encode())
        if len(self._cells) <= _STAT_EACH:
            for name in (cells.get(column) for column in ("path", "mask") for cells in self._cells):
                path = self.folder / name if name else None
                status = path.stat() if path and path.is_file() else None
                digest.update(f"{name} {status and (status.st_size, status.st_mtime_ns)}\n".encode())
        return digest.hexdigest()

    def load(self, index: int) -> Loaded:
        """Read and decode one image and its mask; raises ``UserError`` naming the file."""
        row = self._rows[index]
        path = self.folder / row.path
        data = read_bytes(path)
        pixels = decode_file(data, str(path), row.slice_number)
        if row.mask is None:
            return Loaded(pixels, hashlib.sha256(data).digest())
        mask_path = self.folder / row.mask
        mask = decode_mask_file(read_bytes(mask_path), str(mask_path), row.slice_number)
        if mask.shape != pixels.shape[:2]:
            sizes = [f"{height} x {width}" for height, width in (mask.shape, pixels.shape[:2])]
            raise UserError(f"Mask '{mask_path}' has {sizes[0]} pixels and its image {sizes[1]}.")
        return Loaded(pixels, hashlib.sha256(data).digest(), mask)


def _read_table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV or Parquet table as text; raises ``UserError`` where it can't."""
    try:
        columns, cells = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path)
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise UserError(f"Manifest '{path}' can't be read ({error}).") from None
    known = (*REQUIRED, *OPTIONAL)
    for column in REQUIRED:
        if column not in columns:
            raise UserError(f"Manifest '{path}' has no column '{column}': {' and '.join(REQUIRED)} are needed.")
    for column in columns:
        if column not in known:
            raise UserError(
                f"Manifest '{path}' has an unknown column '{column}'.{nearest(column, known)} "
                f"Known: {', '.join(known)}."
            )
    if not cells:
        raise UserError(f"Manifest '{path}' lists no image.")
    return cells


def _read_csv(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream, strict=True)
        columns = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        cells = []
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(f"line {reader.line_num} has not {len(columns)} cells")
            cells.append({name: str(value).strip() for name, value in row.items()})
    return columns, cells


def _read_parquet(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise UserError(f"Reading '{path}' needs pyarrow: pip install 'tumorboard[parquet]'.") from None
    table: Any = parquet.read_table(path)
    rows = table.to_pylist()
    return table.column_names, [{name: _text(value) for name, value in row.items()} for row in rows]


def _text(value: Any) -> str:
    """Return a Parquet cell as a CSV would hold it; missing numbers come as NaN."""
    if value is None or value != value:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
