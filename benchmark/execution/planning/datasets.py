"""The images of a plan: each data set opened once, each split cut once, and a table of each split for the records."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from benchmark.atomic_files import inside
from benchmark.data.audit.audit import Audit, audit_data
from benchmark.data.dataset import DataSet, Split
from benchmark.data.duplicates.near_duplicates import are_known
from benchmark.data.options import DataOptions, open_data
from benchmark.data.splits.external import KIND as EXTERNAL
from benchmark.data.splits.files import save_split, save_split_table, split_table
from benchmark.data.splits.splits import SplitOptions, make_splits
from benchmark.errors import UserError, writing
from benchmark.execution.planning.cross import CrossImages, cross_cells
from benchmark.execution.planning.request import Request
from benchmark.hashing import hash_bytes, hash_json
from benchmark.recipe import Recipe
from benchmark.records.record import DataFacts, ExternalFacts
from benchmark.records.results_folder import SPLITS
from benchmark.records.store import short


class Say(Protocol):
    """Is told what is being done."""

    def __call__(self, text: str, share: float | None = None, /) -> None:
        """Take a sentence, and how much of what it tells is done (0 to 1), where that is counted."""


Folds = tuple[int, ...] | Literal["all"] | None


@dataclass(frozen=True)
class Fold:
    """A data set at one size with one of its splits: the images of a run.

    Args:
        data: opened; it lies in a folder.
        split: positions in it.
        table_hash: SHA-256 of :func:`~benchmark.data.splits.files.split_table`: which image is where.
        images_hash: SHA-256 over the ids of the chosen images, sorted.
        audit: what could flatter a score on these images.
        external: of which two sets they are, where one is tested on another.
        untrainable: a sentence on why nothing can be trained on these images, else empty.
    """

    data: DataSet
    split: Split
    table_hash: str
    images_hash: str
    audit: Audit
    external: ExternalFacts | None = None
    untrainable: str = ""

    @property
    def folder(self) -> Path:
        """Where the prepared images are."""
        assert self.data.folder is not None, "an opened data set lies in a folder"
        return self.data.folder

    def split_file(self, out: Path) -> Path:
        """Return where a results folder keeps the split for workers; beside it a table for people."""
        return out.joinpath(*SPLITS, f"{short(self.table_hash)}.npz")

    def save(self, out: Path) -> None:
        """Write the split, and its table, whose SHA-256 stands in each run's identity."""
        path = self.split_file(out)
        inside(out, *SPLITS, path.name)
        save_split(self.split, path)
        save_split_table(self.data, (self.split,), path.with_suffix(".csv"))

    def facts(self) -> DataFacts:
        """Return what a record says of its data."""
        data = self.data
        names = ("name", "fingerprint", "class_names", "negative_class", "synthetic", "grouping")
        own = {name: getattr(data, name) for name in names}
        return DataFacts.of(
            self.split, self.table_hash, grouped=data.groups is not None, external=self.external, **own
        )

    def notes(self) -> tuple[str, ...]:
        """Return what a user must know of these images before reading scores on them."""
        grouping = (self.data.grouping,) if self.data.grouping else ()
        notes = [*self.data.notes, *grouping, *self.split.notes, *(finding.text for finding in self.audit.findings)]
        if self.split.removed is not None and self.split.kind != EXTERNAL:  # its own note says more
            notes.append(f"{self.split.removed} training images that are also in test are left out (--dedupe)")
        return tuple(notes)


class Images:
    """Opens data sets, cuts splits and audits them as runs ask for them; the same images for every size and seed.

    Args:
        request: which images, and how they are split.
        say: gets a sentence where decoding or the audit takes long.
    """

    def __init__(self, request: Request, say: Say) -> None:
        self._request, self._say = request, say
        self._opened: dict[DataOptions, DataSet] = {}
        self._folds: dict[tuple[int, str, float, Folds], tuple[Fold, ...]] = {}
        self._facts: dict[tuple[str, str], tuple[str, str, Audit]] = {}

    def folds(self, recipe: Recipe, size: int, folds: Folds) -> tuple[Fold, ...]:
        """Return the images at one size, once for each fold that is asked for, or once without folds; of a cross test
        once for each pair of sets.

        Raises:
            UserError: data that can't be opened, or not split so.
        """
        key = size, recipe.resize, recipe.validation_fraction, folds
        if key not in self._folds:
            data = replace(self._request.data, size=size, resize=recipe.resize)
            split = replace(self._request.split, validation_fraction=recipe.validation_fraction, folds=folds)
            self._folds[key] = tuple(self._fold(cell) for cell in self._cells(data, split))
        return self._folds[key]

    def _cells(self, data: DataOptions, split: SplitOptions) -> list[CrossImages]:
        if self._request.cross:
            if split.folds is not None:
                raise UserError("--cross tests each set by its own one split: leave the folds out.")
            return cross_cells(self._request.cross, data, split, open_=self._open, table_hash=_table_hash)
        opened = self._open(data)
        return [CrossImages(opened, one) for one in make_splits(opened, split)]

    def save(self, out: Path) -> None:
        """Write every split into a results folder; raises ``UserError`` where it can't be written."""
        every = {fold.table_hash: fold for folds in self._folds.values() for fold in folds}
        with writing(f"--out {out}"):
            for fold in every.values():  # the same images at another size are the same split
                fold.save(out)

    def _open(self, options: DataOptions) -> DataSet:
        if options not in self._opened:
            what = options.source if options.test_data is None else f"{options.source} and {options.test_data}"
            progress = _progress_lines(what, options.size, self._request.split.limit, self._say)
            data = open_data(options, progress=progress)
            if not are_known(data):
                self._say(f"Looking for near-duplicates among {len(data)} images of {data.name}")
            self._opened[options] = data
        return self._opened[options]

    def _fold(self, cell: CrossImages) -> Fold:
        data, split = cell.data, cell.split
        key = data.fingerprint, split.hash
        if key not in self._facts:
            chosen = np.sort(np.concatenate([split.train, split.validation, split.test]))
            images = hash_json([str(name) for name in data.image_ids[chosen]])
            self._facts[key] = _table_hash(data, split), images, audit_data(data, split, self._say)
        return Fold(data, split, *self._facts[key], cell.external, cell.untrainable)


def _table_hash(data: DataSet, split: Split) -> str:
    return hash_bytes(split_table(data, (split,)))


def _progress_lines(source: str, size: int, limit: int | None, say: Say) -> Callable[[int, int], None]:
    """Return a callback that says how far the decoding of a data set is."""
    taken = "" if limit is None else f"; --limit takes {limit} of them"

    def progress(done: int, total: int) -> None:
        share = done / max(1, total)
        say(f"Preparing {source} at {size} px: {done} of {total} images{taken}", share)

    return progress
