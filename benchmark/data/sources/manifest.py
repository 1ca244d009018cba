"""A table of a user's own images, as CSV or Parquet: ``path,label`` and what else is known of each image."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

from benchmark.data.preparation.pixels import decode, decode_mask
from benchmark.data.sources import cheng_numbers
from benchmark.data.sources.base import Item, Loaded, SourceFacts
from benchmark.data.sources.cheng_numbers import Recognised, recognise_cheng
from benchmark.data.sources.dicom_headers import with_headers
from benchmark.data.sources.files import content_hash, is_image, suffix_of
from benchmark.data.sources.layout import NEGATIVE, part_of, tidy_class, with_parts
from benchmark.data.sources.manifest_table import REQUIRED, Cells, read_table
from benchmark.data.sources.medical import MEDICAL_SUFFIXES, Volumes, require_libraries
from benchmark.data.sources.tree import FileTree, file_signature, inside, read_bytes
from benchmark.errors import UserError

_MOST_DIGITS, _LONGEST_PATH, _SHOWN = 9, 4096, 200  # of a slice's number; characters of a path; those shown
_STAT_EACH = 20_000  # above as many images, a signature looks at the table only


@dataclass(frozen=True)
class Line:
    """One line of a manifest, checked; ``None`` where a cell is empty.

    Args:
        item: what it says of the image, whose id is the path, with the slice's number where the table gives one.
        path, mask: relative to the manifest's folder, with forward slashes.
        slice_number: of a volume or of several frames, from 0.
    """

    item: Item
    path: str
    mask: str | None
    slice_number: int | None


class _Beside:
    """The files beside a table on disk, looked at one by one: the folder may hold much else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._within: dict[str, bool] = {}  # whether a folder that was asked for lies within, by its name

    def shown(self, name: str) -> str:
        return str(self.folder / name)

    def holds(self, name: str) -> bool:
        return (self.folder / name).is_file()  # asked of what does not lead out

    def leads_out(self, name: str) -> bool:
        above = name.rpartition("/")[0]
        if above not in self._within:  # resolved once: a table has many images of one folder
            self._within[above] = inside(self.folder, above) is not None
        # a link may lead anywhere, and so may two dots at the end
        plain_file = self._within[above] and name[-2:] != ".." and not (self.folder / name).is_symlink()
        return not plain_file and inside(self.folder, name) is None

    def read(self, name: str) -> bytes:
        return read_bytes(self.folder / name)


class _Within:
    """The files of a tree, below the folder of a table in it."""

    def __init__(self, tree: FileTree, folder: str) -> None:
        self.tree = tree
        self.folder = f"{folder}/" if folder else ""

    def shown(self, name: str) -> str:
        return self.tree.shown(self.folder + name) if self.holds(name) else name

    def holds(self, name: str) -> bool:
        return self.folder + name in self.tree.places

    def leads_out(self, name: str) -> bool:
        return PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts

    def read(self, name: str) -> bytes:
        return self.tree.read(self.folder + name)


class ManifestSource:
    """Images that a table lists. Paths are relative to the table's folder and stay in it.

    Slices of one file are of one patient, where the table has no column ``group``.

    Args:
        root: the table, or the folder or zip file that holds it.
        tree: the files of a folder or zip file; ``None`` where the table is given itself.
        table: its path in the tree.

    Raises:
        UserError: on use: not such a table, a column missing or unknown, a file missing or outside the folder, an
            image twice, values that are not known.
    """

    def __init__(self, root: Path, tree: FileTree | None = None, table: str = "") -> None:
        self.path = root.resolve()
        self._tree, self._table = tree, table
        self._files: _Beside | _Within
        if tree is None:
            self._name, self.shown = self.path.stem, str(self.path)
            self._files = _Beside(self.path.parent)
        else:
            self._name, self.shown = tree.name, f"{self.path}/{table}"
            self._files = _Within(tree, table.rpartition("/")[0])
        self._volumes = Volumes()

    @cached_property
    def _cells(self) -> list[Cells]:
        data = read_bytes(self.path) if self._tree is None else self._tree.read(self._table)
        return read_table(data, self.shown)

    @cached_property
    def _lines(self) -> tuple[Line, ...]:
        named = Counter((cells["path"], cells.get("slice", "")) for cells in self._cells)
        for (path, _), count in named.items():
            if count > 1 and path:  # found before any file is looked at, which takes time
                raise UserError(f"'{self.shown}' lists the image '{path[:_SHOWN]}' twice.")
        lines = tuple(self._line(number, cells) for number, cells in enumerate(self._cells, start=1))
        twice = [name for name, count in Counter(line.item.image_id for line in lines).items() if count > 1]
        if twice:
            raise UserError(f"'{self.shown}' lists the image '{twice[0]}' twice.")
        parts = {line.item.part for line in lines}
        if None in parts and parts != {None}:
            raise UserError(f"'{self.shown}' gives some images a split, others none: fill the column or remove it.")
        if len({line.item.class_name for line in lines}) < 2:
            raise UserError(
                f"'{self.shown}' has one class only ('{lines[0].item.class_name}'): at least two are needed."
            )
        require_libraries(line.path for line in lines)
        return lines

    def _line(self, number: int, cells: Cells) -> Line:
        for column in REQUIRED:
            if not cells[column]:
                raise UserError(f"'{self.shown}' has no {column} in row {number}.")
        split = cells.get("split", "")
        if split and part_of(split) is None:
            raise UserError(
                f"'{self.shown}' has the split '{split}' in row {number}: train, validation and test are known."
            )
        slice_number = cells.get("slice", "")
        if slice_number and not (slice_number.isdecimal() and len(slice_number) <= _MOST_DIGITS):
            raise UserError(
                f"'{self.shown}' has the slice '{slice_number[:_SHOWN]}' in row {number}: give a number from 0."
            )
        path = self._checked(cells["path"], "file")
        return Line(
            Item(
                f"{path}#{int(slice_number)}" if slice_number else path,
                tidy_class(cells["label"]),
                part=part_of(split),
                group=cells.get("group") or None,
                plane=cells.get("plane") or None,
                scanner=cells.get("scanner") or None,
                source=cells.get("source") or None,
            ),
            path,
            mask=self._checked(cells["mask"], "mask") if cells.get("mask") else None,
            slice_number=int(slice_number) if slice_number else None,
        )

    def _checked(self, path: str, what: str) -> str:
        """Return a path in its plain form; raises ``UserError`` unless it names an image inside the folder."""
        plain = PurePosixPath(path.replace("\\", "/")).as_posix()
        if "\0" in plain or len(plain) > _LONGEST_PATH:
            raise UserError(f"'{self.shown}' names '{path[:_SHOWN]}', which can't be the name of a file.")
        if self._files.leads_out(plain):
            raise UserError(f"'{self.shown}' names '{path}', outside its folder.")
        if not self._files.holds(plain):
            raise UserError(f"'{self.shown}' names a {what} that does not exist: '{path}'.")
        if not is_image(plain):
            raise UserError(f"'{self.shown}' names '{path}', which is not an image.")
        return plain

    @cached_property
    def _cheng(self) -> Recognised | None:
        return recognise_cheng([line.item for line in self._lines])

    @cached_property
    def _items_and_notes(self) -> tuple[tuple[Item, ...], tuple[str, ...]]:
        volumes = {line.path for line in self._lines if line.slice_number is not None}
        by_file = bool(volumes) and all(line.item.group is None for line in self._lines)
        items: Sequence[Item] = [
            replace(line.item, group=line.path) if by_file else line.item for line in self._lines
        ]
        items, notes = with_headers(items, [line.path for line in self._lines], self._files.read)
        if by_file:
            notes += (f"the slices of one file are of one patient: {len(volumes)} files with several slices",)
        if self._cheng:
            items = tuple(
                replace(item, class_name=cheng.class_name, group=cheng.group, fold=cheng.fold)
                for item, cheng in zip(items, self._cheng.items, strict=True)
            )
            notes = (self._cheng.note, *notes)
        if any(item.part for item in items):
            items, part_notes = with_parts(items, self.shown)
            notes += tuple(part_notes)
        return tuple(items), notes

    @property
    def items(self) -> Sequence[Item]:
        """The images, in the table's order."""
        return self._items_and_notes[0]

    @cached_property
    def facts(self) -> SourceFacts:
        """Named as the table, or the folder or zip file that holds it; what was recognised, and what the harness
        understands that the table does not say. A split in it is no random one: who writes it there asks for it.
        """
        class_names = tuple(sorted({item.class_name for item in self.items}))
        negative_class = NEGATIVE if NEGATIVE in class_names else None
        facts = SourceFacts(self._name, class_names, negative_class, notes=self._items_and_notes[1])
        if not self._cheng:
            return facts
        licence, citation = cheng_numbers.LICENCE, cheng_numbers.CITATION
        return replace(facts, lettered_patients=True, licence=licence, citation=citation)

    def signature(self) -> str:
        """Return a hash over the table, and up to 20,000 images over the sizes and times of their files too."""
        if self._tree is not None:
            return hashlib.sha256(f"{self._tree.signature()} {self._table}".encode()).hexdigest()
        digest = hashlib.sha256(file_signature(self.path).encode())
        if len(self._cells) <= _STAT_EACH:
            for name in (cells.get(column) for column in ("path", "mask") for cells in self._cells):
                path = self.path.parent / name if name else None
                status = path.stat() if path and path.is_file() else None
                digest.update(f"{name} {status and (status.st_size, status.st_mtime_ns)}\n".encode())
        return digest.hexdigest()

    def load(self, index: int) -> Loaded:
        """Read and decode one image and its mask; raises ``UserError`` naming the file."""
        line = self._lines[index]
        shown = self._files.shown(line.path)
        if suffix_of(line.path) in MEDICAL_SUFFIXES:
            volume = self._volumes.at(line.path, shown, lambda: self._files.read(line.path))
            pixels, bytes_hash = volume.image(line.slice_number), volume.slice_hash(line.slice_number)
        else:
            data = self._files.read(line.path)
            pixels = decode(data, shown, line.slice_number)
            bytes_hash = content_hash(data, line.slice_number)
        if line.mask is None:
            return Loaded(pixels, bytes_hash)
        mask_path = line.mask
        mask_shown = self._files.shown(mask_path)
        if suffix_of(mask_path) in MEDICAL_SUFFIXES:
            mask_volume = self._volumes.at(mask_path, mask_shown, lambda: self._files.read(mask_path))
            mask = mask_volume.mask(line.slice_number)
        else:
            mask = decode_mask(self._files.read(mask_path), mask_shown, line.slice_number)
        if mask.shape != pixels.shape[:2]:
            sizes = [f"{height} x {width}" for height, width in (mask.shape, pixels.shape[:2])]
            raise UserError(f"Mask '{mask_shown}' has {sizes[0]} pixels and its image {sizes[1]}.")
        return Loaded(pixels, bytes_hash, mask)
