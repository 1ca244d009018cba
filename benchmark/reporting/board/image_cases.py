"""The test images of a comparison group, and what each of its rows predicted of each image."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from benchmark.engines.cam_stage import FINEST_NEEDED
from benchmark.evaluation.cam_metrics import CAM_METHODS
from benchmark.evaluation.label_errors import likely_label_errors
from benchmark.evaluation.metrics import decide
from benchmark.reporting.board.board import BoardRow
from benchmark.reporting.board.folds import by_fold
from benchmark.reporting.board.rows import Result
from benchmark.reporting.figures.labels import full_names


@dataclass(frozen=True)
class Cases:
    """The N test images of a comparison group (over its folds), read by R rows.

    Of a row with several seeds it is the run of the lowest seed that reads.

    Args:
        rows: those with scores, the highest macro-F1 first.
        names: R names of the rows, each unique where it can be.
        classes: C names.
        negative: number of the class without a tumour, ``None`` where there is none.
        image_ids: N names, ascending.
        labels: int64, shape (N,).
        groups: N patients, empty where they are not known.
        copies: N numbers, the same for images that are copies or near-copies; all differ where patients are known.
        predicted: int64, shape (R, N), the predicted class; -1 where the row did not read the image.
        probabilities: float64, shape (R, N, C), 0 to 1; 0 where the row did not read the image.
    """

    rows: tuple[BoardRow, ...]
    names: tuple[str, ...]
    classes: tuple[str, ...]
    negative: int | None
    image_ids: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    groups: tuple[str, ...]
    copies: tuple[int, ...]
    predicted: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]

    @classmethod
    def of(cls, rows: Sequence[BoardRow]) -> "Cases":
        """Return the cases of the rows of one comparison group."""
        data = rows[0].first.record.data
        scored = scored_rows(rows)
        labels_and_groups: dict[str, tuple[int, str]] = {}
        read: set[tuple[bytes, ...]] = set()  # most rows read the same images
        tests = [[run.predictions.part("test") for run in first_seed(row) if run.predictions] for row in scored]
        for test in itertools.chain.from_iterable(tests):
            images = tuple(values.tobytes() for values in (test.image_ids, test.labels, test.groups))
            if images not in read:
                read.add(images)
                for name, label, group in zip(test.image_ids, test.labels, test.groups, strict=True):
                    labels_and_groups.setdefault(str(name), (int(label), str(group)))
        ids = sorted(labels_and_groups)
        place = {name: number for number, name in enumerate(ids)}
        places: dict[bytes, list[int]] = {}
        predicted = np.full((len(scored), len(ids)), -1, dtype=np.int64)
        probabilities = np.zeros((len(scored), len(ids), len(data.class_names)))
        for number, of_row in enumerate(tests):
            for test in of_row:
                images_read = test.image_ids.tobytes()
                if images_read not in places:
                    places[images_read] = [place[str(image)] for image in test.image_ids]
                at = places[images_read]
                predicted[number, at], probabilities[number, at] = decide(test.probabilities), test.probabilities
        return cls(
            rows=tuple(scored),
            names=tuple(full_names(scored)),
            classes=data.class_names,
            negative=data.negative,
            image_ids=tuple(ids),
            labels=np.array([labels_and_groups[name][0] for name in ids], dtype=np.int64),
            # where patients are unknown, groups are copies of one image
            groups=tuple(labels_and_groups[name][1] if data.grouped else "" for name in ids),
            copies=_numbered([labels_and_groups[name][1] if not data.grouped else "" for name in ids]),
            predicted=predicted,
            probabilities=probabilities,
        )

    def only(self, rows: Iterable[BoardRow]) -> "Cases":
        """Return what some of the rows read, of all images."""
        ids = {id(row) for row in rows}
        kept = [number for number, row in enumerate(self.rows) if id(row) in ids]
        return replace(
            self,
            rows=tuple(self.rows[number] for number in kept),
            names=tuple(self.names[number] for number in kept),
            predicted=self.predicted[kept],
            probabilities=self.probabilities[kept],
        )

    @cached_property
    def wrong(self) -> npt.NDArray[np.bool_]:
        """Whether each row read each image as another class, shape (R, N)."""
        return np.asarray((self.predicted >= 0) & (self.predicted != self.labels))

    @cached_property
    def missed(self) -> npt.NDArray[np.bool_]:
        """Whether each row called each tumour healthy, shape (R, N); without a negative class, as ``wrong``."""
        if self.negative is None:
            return self.wrong
        return np.asarray((self.predicted == self.negative) & (self.labels != self.negative))

    @property
    def what(self) -> str:
        """What a gallery of these cases shows."""
        return "wrong images" if self.negative is None else "missed tumours"

    def gallery(self) -> list[tuple[str, npt.NDArray[np.int64]]]:
        """Return every missed tumour's number once, in parts with a title; an empty part is left out.

        First those that all rows miss, then those that one row alone misses,
        row by row, then the others. Within a part, those come first whose class the rows gave the least.
        """
        missed, read = self.missed, (self.predicted >= 0).sum(axis=0)
        count = missed.sum(axis=0)
        own = self.probabilities[:, np.arange(len(self.labels)), self.labels].sum(axis=0) / np.maximum(1, read)
        who = missed.argmax(axis=0)
        every = (count > 0) & (count == read)
        one = (count == 1) & ~every
        some = (count > 1) & ~every
        word = "wrong" if self.negative is None else "missed"
        all_rows = f"{word} by every row"
        parts = [
            (
                f"{word} by {self.names[0]}" if len(self.rows) == 1 else all_rows,
                np.lexsort((own, ~every))[: int(every.sum())],
            ),
            (f"{word} by one row only", np.lexsort((own, who, ~one))[: int(one.sum())]),
            (f"{word} by some rows", np.lexsort((own, -count, ~some))[: int(some.sum())]),
        ]
        return [(title, numbers.astype(np.int64)) for title, numbers in parts if len(numbers)]

    def likely_label_errors(self) -> npt.NDArray[np.int64]:
        """Return the numbers of the images whose label is likely wrong by the mean probabilities of all rows.

        Rows that are no better than guessing do not count, and an image that not all the others read is left out.
        """
        able = [number for number, row in enumerate(self.rows) if not row.guessed]
        whole = np.flatnonzero((self.predicted[able] >= 0).all(axis=0)) if able else np.zeros(0, dtype=np.int64)
        if not len(whole):
            return whole
        mean = self.probabilities[able].mean(axis=0)
        return np.asarray(whole[likely_label_errors(self.labels[whole], mean[whole])], dtype=np.int64)


def _numbered(groups: Sequence[str]) -> tuple[int, ...]:
    """Return the number of the first member of each image's group, its own where it has none."""
    first: dict[str, int] = {}
    return tuple(first.setdefault(group, number) if group else number for number, group in enumerate(groups))


LABEL_ERRORS = "likely label errors (confident learning)"


def scored_rows(rows: Sequence[BoardRow]) -> list[BoardRow]:
    """Return the rows with scores, the highest macro-F1 first."""
    return sorted((row for row in rows if row.values["n_runs"]), key=lambda row: -row.macro_f1)


def first_seed(row: BoardRow) -> list[Result]:
    """Return for each fold the scored run of the lowest seed."""
    return [runs[0] for runs in by_fold(row.results).values()]


@dataclass(frozen=True)
class HeatMap:
    """Where a row looked on one image.

    Args:
        heat: float32, shape (h, w), the largest value 1 (or all 0).
        lesion: bool, shape (S, S), or (0, 0) where no masks are known.
        explained: the class whose map it is: the one that was predicted.
    """

    heat: npt.NDArray[np.float32]
    lesion: npt.NDArray[np.bool_]
    explained: int


def heat_maps(row: BoardRow) -> dict[str, HeatMap]:
    """Return a row's Grad-CAM maps by image, as far as there are any."""
    maps: dict[str, HeatMap] = {}
    for run in first_seed(row):
        if run.cams is not None:
            masks = run.cams.lesions()
            for number, name in enumerate(run.cams.image_ids.tolist()):
                heat, explained = run.cams.maps[number].astype(np.float32), int(run.cams.predicted[number])
                maps.setdefault(name, HeatMap(heat, masks[number], explained))
    return maps


def cam_source(row: BoardRow) -> str:
    """Return the stage that a row's maps come from and their size, the method where it is not Grad-CAM, and a remark
    where they are too coarse; empty where it has none.
    """
    run = _explained(row)
    if run is None or run.cams is None or run.record.cam is None:
        return ""
    _, high, wide = run.cams.maps.shape
    remark = ", too coarse to point at a lesion" if too_coarse(row) else ""
    method = CAM_METHODS.get(run.record.cam.method, (run.record.cam.method,))[0]
    other = "" if run.record.cam.method == "grad-cam" else f", {method}"
    return f"{run.record.cam.stage}, {high} x {wide} pixels{other}{remark}"


def too_coarse(row: BoardRow) -> bool:
    """Return whether a row's maps have so few pixels that even a perfect one could not point at a lesion."""
    run = _explained(row)
    return run is not None and run.cams is not None and min(run.cams.maps.shape[1:]) < FINEST_NEEDED


def finest_first(rows: Iterable[BoardRow]) -> list[BoardRow]:
    """Return rows in their order, those whose maps are too coarse last."""
    return sorted(rows, key=too_coarse)


def _explained(row: BoardRow) -> Result | None:
    return next((result for result in row.results if result.cams is not None), None)
