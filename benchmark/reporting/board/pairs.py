"""Pairs of rows: which differ, by how much, and whether it could be chance."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.evaluation.comparison import Comparison, Comparisons, compare
from benchmark.evaluation.statistics import compare_each
from benchmark.reporting.board.board import Board, BoardRow
from benchmark.reporting.board.drawn_rows import drawn_rows
from benchmark.reporting.board.folds import predictions_by_fold
from benchmark.reporting.board.phrases import p_text
from benchmark.reporting.documents.markdown_cells import HIGHER, LOWER, escaped, table
from benchmark.reporting.figures.labels import full_names

COMPARISONS = {  # the columns of comparisons.csv, and what each means
    "block": "The block in which the two rows are compared.",
    "first": "The row with the higher macro-F1.",
    "second": "The row with the lower macro-F1.",
    "macro_f1_difference": "Macro-F1 of the first row less that of the second.",
    "difference_low": "Lower end of the difference's 95 % interval, of this pair alone: not corrected.",
    "difference_high": "Upper end of the difference's 95 % interval, of this pair alone: not corrected.",
    "p": "p-value of the paired bootstrap of macro-F1, of this pair alone: not corrected.",
    "p_adjusted": "p-value of the paired bootstrap of macro-F1, corrected for all pairs of the block (Romano and "
    "Wolf's step-down): it decides.",
    "better": "The row that is significantly better; empty where the two can't be told apart.",
    "p_mcnemar": "p-value of McNemar's test of accuracy, of this pair alone.",
    "p_nadeau_bengio": "p-value of Nadeau and Bengio's test over folds, of this pair alone; empty without folds.",
}

ALL_ROWS = 5  # up to so many rows every pair is listed; beyond, those with the best row, and a table of all


@dataclass(frozen=True)
class RowPair:
    """Two rows of a block that are both shown, the one with the higher macro-F1 first.

    Args:
        rows: the two.
        names: the names of the two.
        compared: how they compare.
    """

    rows: tuple[BoardRow, BoardRow]
    names: tuple[str, str]
    compared: Comparison

    @property
    def better(self) -> str:
        """Name of the row that is significantly better, empty where they can't be told apart."""
        if self.compared.better is None:
            return ""
        return self.names[0] if self.compared.better == self.compared.first else self.names[1]


@dataclass(frozen=True)
class RowPairs:
    """Pairs of rows of a block; each is made when it is asked for, as a thousand rows have half a million.

    Args:
        rows, names: the block's rows and their names, in the order of its statistics.
        pairs: all pairs of the block.
        places: int64, shape (M,), numbers of those pairs of which both rows are shown.
    """

    rows: Sequence[BoardRow]
    names: Sequence[str]
    pairs: Comparisons
    places: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[RowPair]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, place: int) -> RowPair:
        pair = self.pairs[int(self.places[place])]
        first, second = pair.first, pair.second
        return RowPair((self.rows[first], self.rows[second]), (self.names[first], self.names[second]), pair)

    def of(self, row: BoardRow) -> "RowPairs":
        """Return the pairs that a row is one of."""
        number = next((number for number, each in enumerate(self.rows) if each is row), -1)
        compared = self.pairs
        mine = (compared.first == number) | (compared.second == number)
        return replace(self, places=self.places[mine[self.places]])

    def among(self, rows: Iterable[BoardRow]) -> "RowPairs":
        """Return the pairs of which both rows are among these."""
        ids = {id(row) for row in rows}
        inside = np.array([id(row) in ids for row in self.rows], dtype=np.bool_)
        compared = self.pairs
        both = inside[compared.first] & inside[compared.second]
        return replace(self, places=self.places[both[self.places]])


def row_pairs(board: Board, block: str) -> RowPairs:
    """Return all pairs of rows of a block that were compared and are shown."""
    if block not in board.statistics:
        return RowPairs((), (), compare(()), np.zeros(0, dtype=np.int64))
    rows = board.ranked(block)
    pairs = board.statistics[block].pairs
    hidden = {id(row) for row in board.hidden}
    every = RowPairs(rows, full_names(rows), pairs, np.arange(len(pairs)))
    return every.among(row for row in rows if id(row) not in hidden) if hidden else every


def sentence(pair: RowPair) -> str:
    """Return in a few words whether two rows of a block differ."""
    compared = pair.compared
    return (
        f"{_verdict(pair.better)}: {_more(pair.names, compared)} on the same images, p "
        f"{p_text(compared.p_adjusted)} corrected for all pairs of the block. Of this pair alone: "
        f"{ends_text(compared)}, p {p_text(compared.p)}; McNemar's p of accuracy {p_text(compared.p_mcnemar)}."
    )


def sentences_across(rows: Sequence[BoardRow]) -> dict[tuple[int, int], str]:
    """Return whether two rows differ, for every pair of rows of different blocks that were read on the same images.

    Args:
        rows: of one comparison group, each with scores, the higher macro-F1 first.

    Returns:
        A few words by the numbers of the two rows, the smaller first.
    """
    if len({row.block.name for row in rows}) < 2:
        return {}
    names = full_names(rows)
    sentences = {}
    for compared in compare_each([predictions_by_fold(row.results) for row in rows]):
        first, second = rows[compared.first], rows[compared.second]
        if first.block.name != second.block.name:
            better = "" if compared.better is None else names[compared.better]
            pair = names[compared.first], names[compared.second]
            sentences[compared.first, compared.second] = (
                f"{_verdict(better)}: {_more(pair, compared)} on the same images; of this pair alone: "
                f"{ends_text(compared)}, p {p_text(compared.p)}. The two stand in different blocks "
                f"({first.block.place}; {second.block.place}): their starting weights or their runs differ."
            )
    return sentences


def _verdict(better: str) -> str:
    return f"{better} is better" if better else "The two can't be told apart"


def _more(names: tuple[str, str], compared: Comparison) -> str:
    """Return by how much the first row's macro-F1 is above the second's; the names change places where it is not."""
    high, low = names if compared.difference >= 0 else names[::-1]
    return f"{high} has {abs(compared.difference):.3f} more macro-F1 than {low}"


def ends_text(compared: Comparison) -> str:
    """Return the 95 % interval of a difference, its ends turned round where the difference is below zero."""
    low, high = compared.interval.low, compared.interval.high
    if compared.difference < 0:
        low, high = -high, -low
    return f"95 % interval {low:.3f} to {high:.3f}"


def comparison_columns(board: Board) -> list[Sequence[Any]]:
    """Return the columns of ``comparisons.csv``, under :data:`COMPARISONS`: a value for each pair of a block."""
    columns: list[list[Any]] = [[] for _ in COMPARISONS]
    for block in board.statistics:
        pairs = row_pairs(board, block)
        compared, places = pairs.pairs, pairs.places
        first, second, better = (
            numbers[places].tolist() for numbers in (compared.first, compared.second, compared.better)
        )
        numbers = ("difference", "low", "high", "p", "p_adjusted")
        names = pairs.names
        of_block: list[list[Any]] = [
            [block] * len(places),
            [names[number] for number in first],
            [names[number] for number in second],
            *(getattr(compared, name)[places].tolist() for name in numbers),
            ["" if number < 0 else names[number] for number in better],
            compared.p_mcnemar[places].tolist(),
            [None] * len(places) if compared.p_folds is None else compared.p_folds[places].tolist(),
        ]
        for column, values in zip(columns, of_block, strict=True):
            column += values
    return list(columns)


def pair_tables(board: Board, blocks: Sequence[str]) -> list[str]:
    """Return as Markdown which rows of a comparison group's blocks differ; nothing where there are no pairs.

    Up to five rows, every pair; beyond, the pairs with the best row, and the differences of all in a table of rows
    by rows; of more rows than a table has room for, the best ones.
    """
    parts = []
    for block in blocks:
        every = row_pairs(board, block)
        if not every:
            continue
        compared = list({id(row): row for pair in (every.of(every[0].rows[0])) for row in pair.rows}.values())
        shown = drawn_rows(compared)
        pairs = every if len(shown) == len(compared) else every.among(shown)
        rows = {id(row): name for pair in pairs for row, name in zip(pair.rows, pair.names, strict=True)}
        listed = (
            list(pairs) if len(rows) <= ALL_ROWS else [pair for pair in pairs if pair.rows[0] is pairs[0].rows[0]]
        )
        if len(blocks) > 1:
            parts.append(f"{escaped(pairs[0].rows[0].block.place.capitalize())}:")
        if len(shown) < len(compared):
            parts.append(_SOME.format(shown=len(shown), rows=len(compared)))
        parts.append(_list(listed))
        if len(listed) < len(pairs):
            parts += [_ALL if len(shown) == len(compared) else _ALL_SHOWN, _matrix(pairs, rows)]
    return ["### Which rows differ", _READING, *parts] if parts else []


_READING = (
    "Difference of macro-F1 on the same test images. The 95 % interval and the p beside it (paired bootstrap) are of "
    "this pair alone. p (corrected) allows for all pairs of the block (Romano and Wolf's step-down), and it decides: "
    "bold where it tells the rows apart. McNemar's p is of accuracy, of this pair alone. All pairs: "
    "[comparisons.csv](comparisons.csv)."
)
_ALL = "All pairs: macro-F1 of the line's row less that of the column's; bold where the two are told apart."

_SOME = (
    "The {shown} rows with the highest macro-F1 of {rows}; [comparisons.csv](comparisons.csv) has the pairs of all."
)
_ALL_SHOWN = (
    "All pairs of these: macro-F1 of the line's row less that of the column's; bold where the two are told apart."
)


def _list(pairs: Sequence[RowPair]) -> str:
    folds = any(pair.compared.p_folds is not None for pair in pairs)
    head = [
        HIGHER,
        LOWER,
        "difference (95 % interval)",
        "p",
        "p (corrected)",
        "p (McNemar)",
        *(["p over folds"] if folds else []),
    ]
    lines = []
    for pair in pairs:
        compared, p = pair.compared, escaped(p_text(pair.compared.p_adjusted))
        cells = [
            *map(escaped, pair.names),
            f"{compared.difference:.3f} ({compared.interval.low:.3f} to {compared.interval.high:.3f})",
            escaped(p_text(compared.p)),
            f"**{p}**" if pair.better else p,
            escaped(p_text(compared.p_mcnemar)),
        ]
        lines.append([*cells, escaped(p_text(compared.p_folds))] if folds else cells)
    return table(head, lines)


def _matrix(pairs: Iterable[RowPair], rows: dict[int, str]) -> str:
    """Return the differences of all pairs: rows by rows, the best first.

    Args:
        rows: their names, by identity.
    """
    place = {row: number for number, row in enumerate(rows)}
    cells = [[""] * len(rows) for _ in rows]
    for pair in pairs:
        text = f"{pair.compared.difference:.2f}"
        first, second = (place[id(row)] for row in pair.rows)
        cells[first][second] = f"**{text}**" if pair.better else text
    numbered = list(enumerate(rows.values(), 1))
    lines = [[f"{number} {escaped(name)}", *line[1:]] for (number, name), line in zip(numbered, cells, strict=True)]
    return table(["backbone", *(str(number) for number, _ in numbered[1:])], lines[:-1])
