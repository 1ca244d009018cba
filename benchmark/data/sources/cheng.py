"""The Cheng data set (figshare 1512427): 3064 contrast-enhanced T1 slices of 233 patients, with tumour masks."""

import hashlib
import re
from functools import cached_property

import numpy as np
import numpy.typing as npt

from benchmark.data.preparation.pixels import WINDOW, to_uint8
from benchmark.data.preparation.threads import thread_map
from benchmark.data.sources import cheng_numbers
from benchmark.data.sources.base import Item, Loaded, SourceFacts
from benchmark.data.sources.cheng_files import CLASSES, N_SLICES, read_folds, read_identity, read_labels, read_slice
from benchmark.data.sources.tree import FileTree
from benchmark.errors import UserError

_SLICE = re.compile(r"(?:^|/)(\d+)\.mat$")
_FOLD_FILES = ("cvind.mat", "cvind5fold.mat")


class ChengSource:
    """The slices as ``N.mat`` files: loose in a folder at any depth, or in the author's zip files.

    Patients are the PIDs; folds are those of ``cvind.mat`` or ``cvind5fold.mat`` among the files, else, for the
    whole set, the author's own that come with this package. No PID crosses a fold: that is checked.

    Args:
        tree: the files.

    Raises:
        UserError: on use, for a slice that is there twice, and folds that do not fit or part a patient.
    """

    def __init__(self, tree: FileTree) -> None:
        self.tree = tree

    @staticmethod
    def recognises(tree: FileTree) -> bool:
        """Return whether some files are named like slices of this data set."""
        return any(_SLICE.search(name) for name in tree.files)

    @cached_property
    def _slices(self) -> tuple[tuple[int, str], ...]:
        """The number and the file of each slice, by number."""
        files: dict[int, str] = {}
        for name in self.tree.files:
            if match := _SLICE.search(name):
                first = files.setdefault(int(match[1]), name)
                if first is not name:
                    both = f"'{self.tree.shown(first)}' and '{self.tree.shown(name)}'"
                    raise UserError(f"Slice {match[1]} is there twice: {both}.")
        return tuple(sorted(files.items()))

    def _beside(self, *names: str) -> str | None:
        """Return the first file of one of these names, in their order; the least deep of several."""
        files = sorted(self.tree.files, key=lambda file: file.count("/"))
        return next((file for name in names for file in files if file.rpartition("/")[2] == name), None)

    @cached_property
    def _class_names(self) -> tuple[str, ...]:
        """Those of the slices that are there: a part of the set may lack one."""
        names = {CLASSES[identity[0]] for identity in self._identities if identity}
        if len(names) < 2:
            what = f"one class only ('{next(iter(names))}')" if names else "no slice that can be read"
            raise UserError(f"'{self.tree.root}' has {what}: slices of at least two classes are needed.")
        return tuple(sorted(names))

    @cached_property
    def _identities(self) -> tuple[tuple[int, str] | None, ...]:
        """Label and patient of each slice, ``None`` where it can't be read."""
        identities = tuple(thread_map(self._identity, self._slices))
        self._check_labels(identities)
        return identities

    @cached_property
    def items(self) -> tuple[Item, ...]:
        """The slices in the order of their numbers; reads the label and patient of each."""
        folds = self._folds
        items = []
        for (number, _), identity in zip(self._slices, self._identities, strict=True):
            # what can't be read has no class yet: load() will say why, and then it has no place in the data set
            class_name, patient = (CLASSES[identity[0]], identity[1]) if identity else (self._class_names[0], None)
            fold = int(folds[number - 1]) if folds is not None else None
            items.append(Item(f"{number}.mat", class_name, group=patient, fold=fold))
        _check_folds(items, self._fold_file[0])
        return tuple(items)

    def _identity(self, numbered: tuple[int, str]) -> tuple[int, str] | None:
        try:
            return read_identity(self.tree.read(numbered[1]), numbered[1])
        except UserError:
            return None

    def _check_labels(self, identities: tuple[tuple[int, str] | None, ...]) -> None:
        """Compare with the author's ``label.mat`` where it lies beside the slices."""
        file = self._beside("label.mat")
        if file is None:
            return
        labels = read_labels(self.tree.read(file), self.tree.shown(file))
        for (number, name), identity in zip(self._slices, identities, strict=True):
            if identity and number <= len(labels) and labels[number - 1] != identity[0]:
                raise UserError(
                    f"'{self.tree.shown(name)}' has the label {identity[0]} and '{self.tree.shown(file)}' gives it "
                    f"{labels[number - 1]}."
                )

    @cached_property
    def _fold_file(self) -> tuple[str, bytes | None]:
        """How a message names the file of folds, and its content; ``None`` where there is none."""
        file = self._beside(*_FOLD_FILES)
        if file is not None:
            return self.tree.shown(file), self.tree.read(file)
        own = cheng_numbers.OWN_FOLDS
        return "cvind5fold.mat", own.read_bytes() if len(self._slices) == N_SLICES else None

    @cached_property
    def _folds(self) -> npt.NDArray[np.int64] | None:
        shown, data = self._fold_file
        if data is None:
            return None
        folds = read_folds(data, shown)
        last = self._slices[-1][0]
        if last > len(folds):
            raise UserError(f"'{shown}' gives folds of {len(folds)} slices, and there is a slice {last}.")
        return folds

    @cached_property
    def facts(self) -> SourceFacts:
        """With notes on the intensity rule, where the folds come from, what is absent."""
        notes = [f"int16 intensities are scaled per slice: percentiles {WINDOW[0]} and {WINDOW[1]} become 0 and 255"]
        if self._folds is not None:
            name = self._fold_file[0].rpartition("/")[2]
            notes.append(f"official folds from {name}; no patient id crosses a fold")
        if len(self._slices) != N_SLICES:
            notes.append(f"{len(self._slices)} of {N_SLICES} slices")
        return SourceFacts(
            name="cheng",
            class_names=self._class_names,
            lettered_patients=True,
            licence=cheng_numbers.LICENCE,
            citation=cheng_numbers.CITATION,
            notes=tuple(notes),
        )

    def signature(self) -> str:
        """Return a hash over names, sizes and times of the files."""
        return self.tree.signature()

    def load(self, index: int) -> Loaded:
        """Read and decode one slice with its mask; raises ``UserError`` naming the file."""
        name = self._slices[index][1]
        data, shown = self.tree.read(name), self.tree.shown(name)
        stored = read_slice(data, shown)
        return Loaded(to_uint8(stored.image, shown), hashlib.sha256(data).digest(), stored.mask)


def _check_folds(items: list[Item], shown: str) -> None:
    """Raise ``UserError`` where a patient has slices in two folds."""
    home: dict[str, int] = {}
    for item in items:
        if item.group is None or item.fold is None:
            continue
        if home.setdefault(item.group, item.fold) != item.fold:
            raise UserError(
                f"'{shown}' has patient {item.group} in two folds ({home[item.group]} and {item.fold}): "
                "these folds are not by patient; remove that file to use the author's own."
            )
