"""The Cheng data set (figshare 1512427): 3064 contrast-enhanced T1 slices of 233 patients, with tumour masks."""

import hashlib
import itertools
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmark.data.preparation.pixels import WINDOW, to_uint8
from benchmark.data.preparation.threads import thread_map
from benchmark.data.sources.archive import Archives, file_signature, first_members, read_member
from benchmark.data.sources.base import Item, Loaded
from benchmark.data.sources.cheng_files import CLASSES, N_SLICES, read_folds, read_identity, read_labels, read_slice
from benchmark.data.sources.folder import folder_signature, read_bytes, tree_of
from benchmark.errors import UserError

_SLICE = re.compile(r"(?:^|/)(\d+)\.mat$")
_ARCHIVE = re.compile(r"(?:^|/)brainTumorDataPublic[^/]*\.zip$")
_FOLD_FILES = ("cvind.mat", "cvind5fold.mat")
_OWN_FOLDS = Path(__file__).with_name("cheng_cvind5fold.mat")  # the author's


@dataclass(frozen=True)
class _Place:
    """Where a slice is stored: a file, or a member of an archive."""

    number: int
    file: str
    archive: str | None = None

    @property
    def name(self) -> str:
        return f"{self.archive}/{self.file}" if self.archive else self.file


class ChengSource:
    """The slices in a folder (``N.mat`` files, or the author's zip files) or in one zip file.

    Patients are the PIDs; folds are those of ``cvind.mat`` or ``cvind5fold.mat`` beside the slices, else, for the
    whole set, the author's own that come with this package. No patient crosses a fold: that is checked.

    Args:
        root: the folder or zip file.

    Raises:
        UserError: on use, for a slice that stands there twice, and folds that do not fit or part a patient.
    """

    synthetic = False
    lettered_patients = True
    licence = "CC BY 4.0"
    citation = (
        "J. Cheng, brain tumor dataset, figshare, doi:10.6084/m9.figshare.1512427; J. Cheng et al., Enhanced "
        "performance of brain tumor classification via tumor region augmentation and partition, PLoS ONE 10(10), 2015"
    )
    name = "cheng"
    negative_class = None

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._archives = Archives()

    @staticmethod
    def recognises(path: Path) -> bool:
        """Return whether a folder or zip file holds slices of this data set, by the names of some of its files."""
        if path.is_file():
            return any(_SLICE.search(name) for name in first_members(path))
        below = [path, *(Path(entry.path) for entry in _some_entries(path) if entry.is_dir(follow_symlinks=False))]
        names = (entry.name for folder in below for entry in _some_entries(folder))
        return any(_SLICE.search(name) or _ARCHIVE.search(name) for name in names)

    @cached_property
    def _places(self) -> tuple[_Place, ...]:
        """Where the slices are, by number; loose files go before archives."""
        files = (
            [file for _, files in tree_of(self.root) for file in files] if self.root.is_dir() else [str(self.root)]
        )
        found = [_Place(int(match[1]), file) for file in files if (match := _SLICE.search(file))]
        if not found:
            for path in files:
                members = self._archives.at(Path(path)).namelist() if path.endswith(".zip") else []
                found += [_Place(int(match[1]), name, path) for name in members if (match := _SLICE.search(name))]
        places: dict[int, _Place] = {}
        for place in found:
            first = places.setdefault(place.number, place)
            if first is not place:
                raise UserError(f"Slice {place.number} stands there twice: '{first.name}' and '{place.name}'.")
        return tuple(places[number] for number in sorted(places))

    def _bytes(self, place: _Place) -> bytes:
        if place.archive is None:
            return read_bytes(Path(place.file))
        return read_member(self._archives.at(Path(place.archive)), place.file)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Those of the slices that are there: a part of the set may lack one."""
        names = {CLASSES[identity[0]] for identity in self._identities if identity}
        if len(names) < 2:
            what = f"one class only ('{next(iter(names))}')" if names else "no slice that can be read"
            raise UserError(f"'{self.root}' has {what}: slices of at least two classes are needed.")
        return tuple(sorted(names))

    @cached_property
    def _identities(self) -> tuple[tuple[int, str] | None, ...]:
        """Label and patient of each slice, ``None`` where it can't be read."""
        identities = tuple(thread_map(self._identity, self._places))
        self._check_labels(identities)
        return identities

    @cached_property
    def items(self) -> tuple[Item, ...]:
        """The slices in the order of their numbers; reads the label and patient of each."""
        folds = self._folds
        items = []
        for place, identity in zip(self._places, self._identities, strict=True):
            # what can't be read has no class yet: load() will say why, and then it has no place in the data set
            class_name, patient = (CLASSES[identity[0]], identity[1]) if identity else (self.class_names[0], None)
            fold = int(folds[place.number - 1]) if folds is not None else None
            items.append(Item(f"{place.number}.mat", class_name, group=patient, fold=fold))
        _check_folds(items, self._fold_file)
        return tuple(items)

    def _identity(self, place: _Place) -> tuple[int, str] | None:
        try:
            return read_identity(self._bytes(place), place.name)
        except UserError:
            return None

    def _check_labels(self, identities: tuple[tuple[int, str] | None, ...]) -> None:
        """Compare with the author's ``label.mat`` where it lies beside the slices."""
        path = self.root / "label.mat"
        if not path.is_file():
            return
        labels = read_labels(path)
        for place, identity in zip(self._places, identities, strict=True):
            if identity and place.number <= len(labels) and labels[place.number - 1] != identity[0]:
                raise UserError(
                    f"'{place.name}' has the label {identity[0]} and '{path}' gives it {labels[place.number - 1]}."
                )

    @cached_property
    def _fold_file(self) -> Path | None:
        beside = [self.root / name for name in _FOLD_FILES] if self.root.is_dir() else []
        complete = len(self._places) == N_SLICES
        return next((path for path in beside if path.is_file()), _OWN_FOLDS if complete else None)

    @cached_property
    def _folds(self) -> npt.NDArray[np.int64] | None:
        if self._fold_file is None:
            return None
        folds = read_folds(self._fold_file)
        last = self._places[-1].number
        if last > len(folds):
            raise UserError(f"'{self._fold_file}' gives folds of {len(folds)} slices, and there is a slice {last}.")
        return folds

    @property
    def notes(self) -> tuple[str, ...]:
        """The intensity rule, where the folds come from, what is absent."""
        notes = [f"int16 intensities are scaled per slice: percentiles {WINDOW[0]} and {WINDOW[1]} become 0 and 255"]
        if self._fold_file is not None:
            notes.append(
                f"official folds from {self._fold_file.name.removeprefix('cheng_')}; no patient id crosses a fold"
            )
        if len(self._places) != N_SLICES:
            notes.append(f"{len(self._places)} of {N_SLICES} slices")
        return tuple(notes)

    def signature(self) -> str:
        """Return a hash over names, sizes and times of the files."""
        return folder_signature(self.root) if self.root.is_dir() else file_signature(self.root)

    def load(self, index: int) -> Loaded:
        """Read and decode one slice with its mask; raises ``UserError`` naming the file."""
        place = self._places[index]
        data = self._bytes(place)
        stored = read_slice(data, place.name)
        return Loaded(to_uint8(stored.image, place.name), hashlib.sha256(data).digest(), stored.mask)


def _some_entries(folder: Path) -> "list[os.DirEntry[str]]":
    """Return up to 500 entries of a folder, none where it can't be read: whoever opens it says why."""
    try:
        with os.scandir(folder) as scan:
            return list(itertools.islice(scan, 500))
    except OSError:
        return []


def _check_folds(items: list[Item], path: Path | None) -> None:
    """Raise ``UserError`` where a patient has slices in two folds."""
    home: dict[str, int] = {}
    for item in items:
        if item.group is None or item.fold is None:
            continue
        if home.setdefault(item.group, item.fold) != item.fold:
            raise UserError(
                f"'{path}' parts patient {item.group} (folds {home[item.group]} and {item.fold}): "
                "these folds are not by patient; remove that file to use the author's own."
            )
