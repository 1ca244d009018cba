"""The cross matrix: macro-F1 by the data set that trained and the data set that tested, and the loss away from home.

Home and away are compared on the classes that both sets have: macro-F1 over those, of test images of those. The two
are read on different images, drawn independently, so that the variance of the loss is the sum of both variances.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from benchmark.evaluation.bootstrap import Bootstrap, Estimate
from benchmark.evaluation.clusters import ClusteredImages, confusion_by_cluster
from benchmark.evaluation.intervals import Interval, named_ends
from benchmark.grouping import grouped
from benchmark.hashing import hash_json
from benchmark.reporting.board.board import Board, BoardRow
from benchmark.reporting.board.column import WHO, Values
from benchmark.reporting.figures.labels import full_names

TITLE = "Trained on each set, tested on each"
READING = (
    "A line is the set that trained, a column the set that tested. In bold: at home, on the test images of the "
    "set's own split. Elsewhere: on all images of the other set, where the training left out the images that both "
    "sets hold (near-duplicates, and all images of their patients). The loss is macro-F1 at home less macro-F1 "
    "away, both over the classes that both sets have; its interval treats the two sets of test images as "
    "independent, and is of these trained networks."
)
COLUMNS = {  # of cross_matrix.csv, and what each means
    **{name: meaning for name, meaning in WHO.items() if name != "comparison_group"},
    "trained_on": "The set that trained.",
    "tested_on": "The set that tested.",
    "home": "Whether they are one set: the test images are then those of its own split.",
    "n_runs": "Runs with scores.",
    "n_train": "Images to train.",
    "left_out": "Training images that were left out because the other set holds them or their patients.",
    "n_test": "Images to test.",
    "classes": "The classes that both sets have, over which the scores are means.",
    "macro_f1": "Macro-F1 over these classes.",
    "macro_f1_low": "Lower end of its 95 % interval for other patients.",
    "macro_f1_high": "Upper end of its 95 % interval for other patients.",
    "home_macro_f1": "Macro-F1 at home of what the same set trained, over the same classes.",
    "loss": "Macro-F1 at home less macro-F1 away.",
    "loss_low": "Lower end of its 95 % interval.",
    "loss_high": "Upper end of its 95 % interval.",
    "status": "ok, or how the run that failed ended.",
    "reason": "Why there is no score.",
}
_HOME, _AWAY = 0, 1  # seeds of the two bootstraps, which must be independent


@dataclass(frozen=True)
class Cell:
    """One network: where it trained, where it was tested, and what it loses there.

    Args:
        row: of the board.
        trained_on, tested_on: numbers of the sets in the matrix.
        classes: those that both sets have, over which the scores are means.
        macro_f1: with its interval; ``None`` where the runs have no scores.
        home_macro_f1: of the network that is tested at home, over the same classes; ``None`` where there is none, and
            in the cell at home itself.
        loss: that score less this one.
    """

    row: BoardRow
    trained_on: int
    tested_on: int
    classes: tuple[str, ...]
    macro_f1: float | None = None
    interval: Interval | None = None
    home_macro_f1: float | None = None
    loss: float | None = None
    loss_interval: Interval | None = None

    @property
    def at_home(self) -> bool:
        """Whether the set that trained is the set that tested."""
        return self.trained_on == self.tested_on

    @property
    def left_out(self) -> int:
        """How many images were left out of training because the other set holds them, or their patients."""
        data = self.row.first.record.data
        return 0 if data.external is None else data.removed or 0

    @property
    def reason(self) -> str:
        """Why there is no score, else empty."""
        return "" if self.macro_f1 is not None else str(self.row.values.get("reason", ""))


@dataclass(frozen=True)
class CrossMatrix:
    """The cells of one backbone with one recipe and kind of weights.

    Args:
        name: which network, for people.
        sets: names of the sets, each once.
        cells: by the numbers of the sets that trained and tested; some may be absent.
    """

    name: str
    sets: tuple[str, ...]
    cells: dict[tuple[int, int], Cell]

    @property
    def remarks(self) -> tuple[str, ...]:
        """A sentence for each cell whose training lost images, that has no score, or that leaks at home."""
        sentences = []
        for (trained, tested), cell in sorted(self.cells.items()):
            pair = f"{self.sets[trained]} tested on {self.sets[tested]}"
            external = cell.row.first.record.data.external
            if cell.at_home:
                sentences += _leaks_at_home(cell, self.sets[trained])
            elif cell.reason:
                sentences.append(f"{pair}: {cell.row.values['status']}. {cell.reason}")
            elif cell.left_out and external is not None:
                sentences.append(
                    f"{pair}: {cell.left_out} of {external.of_training} training images are left out, since "
                    f"{self.sets[tested]} holds them or their patients too."
                )
        return tuple(sentences)


def cross_matrices(board: Board) -> list[CrossMatrix]:
    """Return a matrix for each backbone, recipe and kind of weights that was crossed, in the order of the board."""
    away = [row for row in board.rows if row.first.record.data.external is not None]
    names: dict[str, str] = {}
    for row in away:
        external = row.first.record.data.external
        assert external is not None
        names |= {external.trained_fingerprint: external.trained_on, external.tested_fingerprint: external.tested_on}
    numbers = {fingerprint: k for k, fingerprint in enumerate(sorted(names, key=lambda key: (names[key], key)))}
    shown = [f"{names[key]} #{key[:6]}" if Counter(names.values())[names[key]] > 1 else names[key] for key in numbers]
    trained_alike = grouped((_network(row), row) for row in away).values()
    titles = full_names([rows[0] for rows in trained_alike])
    return [
        CrossMatrix(title, tuple(shown), _cells(rows, _homes(board, rows), numbers))
        for title, rows in zip(titles, trained_alike, strict=True)
    ]


def cross_lines(matrices: Sequence[CrossMatrix]) -> list[Values]:
    """Return a line for each cell, under :data:`COLUMNS`."""
    lines = []
    for matrix in matrices:
        for (trained, tested), cell in sorted(matrix.cells.items()):
            values: Values = {name: cell.row.values.get(name) for name in COLUMNS}
            values |= {"trained_on": matrix.sets[trained], "tested_on": matrix.sets[tested], "home": cell.at_home}
            values |= {"left_out": cell.left_out, "classes": " ".join(cell.classes), "macro_f1": cell.macro_f1}
            values |= {"home_macro_f1": cell.home_macro_f1, "loss": cell.loss, "reason": cell.reason}
            lines.append(values | named_ends("macro_f1", cell.interval) | named_ends("loss", cell.loss_interval))
    return lines


def cross_sentences(matrices: Sequence[CrossMatrix]) -> list[str]:
    """Return a sentence for each network and set that trained: its macro-F1 at home and away."""
    sentences = []
    for matrix in matrices:
        for trained, name in enumerate(matrix.sets):
            cells = [matrix.cells.get((trained, tested)) for tested in range(len(matrix.sets))]
            read = [_in_words(matrix, cell) for cell in cells if cell is not None and not cell.at_home]
            home = cells[trained]
            at_home = "" if home is None or home.macro_f1 is None else f"{home.macro_f1:.3f} at home, "
            if read:
                sentences.append(f"{matrix.name}, trained on {name}: macro-F1 {at_home}{', '.join(read)}.")
    return sentences


def _leaks_at_home(cell: Cell, name: str) -> list[str]:
    """Say that a set's score at home is too high where its own split leaks, and so is the loss from it."""
    record = cell.row.first.record
    leaks = record.data.leaks if record.audit is None else record.audit.leaks
    if not leaks:
        return []
    text = "; ".join(leak.removesuffix(".") for leak in leaks)
    return [f"{name} at home: {text}. Its score there, and every loss from it, is too high (--dedupe)."]


def _in_words(matrix: CrossMatrix, cell: Cell) -> str:
    where = matrix.sets[cell.tested_on]
    if cell.macro_f1 is None:
        return f"none on {where} ({cell.row.values['status']})"
    loss = "" if cell.loss is None else f" (loss {cell.loss:.3f} on the same classes)"
    return f"{cell.macro_f1:.3f} on {where}{loss}"


def _network(row: BoardRow) -> str:
    """Return what rows share that differ in their images alone."""
    record = row.first.record
    own = ("data_fingerprint", "images_hash", "split_hash", "seed")
    identity = {name: value for name, value in record.identity.items() if name not in own}
    return hash_json([identity, record.weights.fell_back])


def _homes(board: Board, away: Sequence[BoardRow]) -> dict[str, BoardRow]:
    """Return the rows in which the sets of some rows are tested at home, trained alike, by the set's fingerprint."""
    splits = {}
    for row in away:
        external = row.first.record.data.external
        assert external is not None
        splits[external.trained_fingerprint] = external.home_split_hash
    homes = {}
    for row in board.rows:
        data = row.first.record.data
        same_split = splits.get(data.fingerprint) == data.split_hash
        if data.external is None and same_split and _network(row) == _network(away[0]):
            homes[data.fingerprint] = row
    return homes


def _cells(
    away: Sequence[BoardRow], homes: dict[str, BoardRow], numbers: dict[str, int]
) -> dict[tuple[int, int], Cell]:
    @cache
    def at_home(fingerprint: str, classes: tuple[str, ...]) -> Estimate | None:
        row = homes.get(fingerprint)
        return None if row is None else _estimate(row, classes, _HOME)

    cells = {}
    for fingerprint, row in homes.items():
        place = numbers[fingerprint]
        cell = Cell(row, place, place, row.first.record.data.class_names)
        cells[place, place] = _scored(cell, at_home(fingerprint, cell.classes), None)
    for row in away:
        data = row.first.record.data
        assert data.external is not None
        trained, tested = data.external.trained_fingerprint, data.external.tested_fingerprint
        classes = tuple(name for name in data.class_names if name not in data.unscored)
        cell = Cell(row, numbers[trained], numbers[tested], classes)
        estimate = _estimate(row, classes, _AWAY)
        cells[cell.trained_on, cell.tested_on] = _scored(cell, estimate, at_home(trained, classes))
    return cells


def _scored(cell: Cell, estimate: Estimate | None, home: Estimate | None) -> Cell:
    if estimate is None:
        return cell
    cell = replace(cell, macro_f1=estimate.value, interval=estimate.interval())
    if home is None:
        return cell
    loss = replace(home.minus(estimate), clusters=min(home.clusters, estimate.clusters))
    return replace(cell, home_macro_f1=home.value, loss=loss.value, loss_interval=loss.interval(-1.0))


def _estimate(row: BoardRow, classes: Sequence[str], seed: int) -> Estimate | None:
    """Return macro-F1 over some classes, of test images of those classes, with its sampling distribution.

    The mean over the row's runs; ``None`` where there are no scores, or no such images.
    """
    names = row.first.record.data.class_names
    chosen = [names.index(name) for name in classes]
    tests = [
        result.predictions.part("test")
        for result in row.results
        if result.scores is not None and result.predictions is not None
    ]
    tests = [test.of(np.isin(test.labels, chosen)) for test in tests]
    if not tests or not len(tests[0].labels):
        return None
    images = ClusteredImages.of(tests[:1])
    aligned = [probabilities for test in tests if (probabilities := images.aligned([test])) is not None]
    confusions = np.stack([confusion_by_cluster(images, probabilities) for probabilities in aligned])
    return Bootstrap(images.count, seed).resample(confusions).estimate()
