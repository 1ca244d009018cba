"""Pairs of rows: which differ, by how much, and whether it could be chance."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.evaluation.statistics import Pair
from benchmark.reporting.board.board import Board, BoardRow
from benchmark.reporting.board.column import Values
from benchmark.reporting.board.phrases import p_text
from benchmark.reporting.documents.markdown_cells import HIGHER, LOWER, escaped, table
from benchmark.reporting.figures.labels import full_names

COMPARISONS = (
    "block",
    "first",
    "second",
    "macro_f1_difference",
    "difference_low",
    "difference_high",
    "p",
    "p_adjusted",
    "better",
    "p_mcnemar",
    "p_nadeau_bengio",
)

ALL_ROWS = 5  # up to so many rows every pair is listed; beyond, those with the best row, and a table of all


@dataclass(frozen=True)
class RowPair:
    """Two rows of a block that are both shown, the one with the higher macro-F1 first.

    Args:
        rows: the two.
        names: the names of the two.
        statistics: how they compare.
    """

    rows: tuple[BoardRow, BoardRow]
    names: tuple[str, str]
    statistics: Pair

    @property
    def better(self) -> str:
        """Name of the row that is significantly better, empty where they can't be told apart."""
        compared = self.statistics.comparison
        if compared.better is None:
            return ""
        return self.names[0] if compared.better == compared.first else self.names[1]


def row_pairs(board: Board, block: str) -> list[RowPair]:
    """Return all pairs of rows of a block that were compared and are shown."""
    if block not in board.statistics:
        return []
    rows = board.ranked(block)
    names = full_names(rows)
    hidden = {id(row) for row in board.hidden}
    pairs = []
    for pair in board.statistics[block].pairs:
        first, second = pair.comparison.first, pair.comparison.second
        if not hidden & {id(rows[first]), id(rows[second])}:
            pairs.append(RowPair((rows[first], rows[second]), (names[first], names[second]), pair))
    return pairs


def sentence(pair: RowPair) -> str:
    """Return in a sentence whether two rows differ."""
    compared, p = pair.statistics.comparison, pair.statistics.p_mcnemar
    verdict = f"{pair.better} is better" if pair.better else "The two can't be told apart"
    return (
        f"{verdict}: {pair.names[0]} has {compared.difference:.3f} more macro-F1 ({compared.interval.low:.3f} to "
        f"{compared.interval.high:.3f}), p {p_text(compared.p_adjusted)} corrected for all pairs; "
        f"McNemar's p {p_text(p)}."
    )


def comparison_lines(board: Board) -> list[Values]:
    """Return one line per pair of rows of a block, under :data:`COMPARISONS`."""
    return [
        {
            "block": block,
            "first": pair.names[0],
            "second": pair.names[1],
            "macro_f1_difference": pair.statistics.comparison.difference,
            "difference_low": pair.statistics.comparison.interval.low,
            "difference_high": pair.statistics.comparison.interval.high,
            "p": pair.statistics.comparison.p,
            "p_adjusted": pair.statistics.comparison.p_adjusted,
            "better": pair.better,
            "p_mcnemar": pair.statistics.p_mcnemar,
            "p_nadeau_bengio": pair.statistics.p_folds,
        }
        for block in board.statistics
        for pair in row_pairs(board, block)
    ]


def pair_tables(board: Board, blocks: Sequence[str]) -> list[str]:
    """Return as Markdown which rows of a comparison group's blocks differ; nothing where there are no pairs.

    Up to five rows, every pair; beyond, the pairs with the best row, and the differences of all in a table of rows
    by rows.
    """
    parts = []
    for block in blocks:
        pairs = row_pairs(board, block)
        if not pairs:
            continue
        rows = {id(row): name for pair in pairs for row, name in zip(pair.rows, pair.names, strict=True)}
        listed = pairs if len(rows) <= ALL_ROWS else [pair for pair in pairs if pair.rows[0] is pairs[0].rows[0]]
        if len(blocks) > 1:
            parts.append(f"{escaped(pairs[0].rows[0].block.place.capitalize())}:")
        parts.append(_list(listed))
        if len(listed) < len(pairs):
            parts += [_ALL, _matrix(pairs, rows)]
    return ["### Which rows differ", _READING, *parts] if parts else []


_READING = (
    "Difference of macro-F1 on the same test images. The 95 % interval and the p beside it (paired bootstrap) are of "
    "this pair alone. p (corrected) allows for all pairs of the block (Romano and Wolf's step-down), and it decides: "
    "bold where it tells the rows apart. McNemar's p is of accuracy, of this pair alone. All pairs: "
    "[comparisons.csv](comparisons.csv)."
)
_ALL = "All pairs: macro-F1 of the line's row less that of the column's; bold where the two are told apart."


def _list(pairs: Sequence[RowPair]) -> str:
    folds = any(pair.statistics.p_folds is not None for pair in pairs)
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
        compared, p = pair.statistics.comparison, escaped(p_text(pair.statistics.comparison.p_adjusted))
        cells = [
            *map(escaped, pair.names),
            f"{compared.difference:.3f} ({compared.interval.low:.3f} to {compared.interval.high:.3f})",
            escaped(p_text(compared.p)),
            f"**{p}**" if pair.better else p,
            escaped(p_text(pair.statistics.p_mcnemar)),
        ]
        lines.append([*cells, escaped(p_text(pair.statistics.p_folds))] if folds else cells)
    return table(head, lines)


def _matrix(pairs: Sequence[RowPair], rows: dict[int, str]) -> str:
    """Return the differences of all pairs: rows by rows, the best first.

    Args:
        rows: their names, by identity.
    """
    place = {row: number for number, row in enumerate(rows)}
    cells = [[""] * len(rows) for _ in rows]
    for pair in pairs:
        text = f"{pair.statistics.comparison.difference:.2f}"
        first, second = (place[id(row)] for row in pair.rows)
        cells[first][second] = f"**{text}**" if pair.better else text
    numbered = list(enumerate(rows.values(), 1))
    lines = [[f"{number} {escaped(name)}", *line[1:]] for (number, name), line in zip(numbered, cells, strict=True)]
    return table(["backbone", *(str(number) for number, _ in numbered[1:])], lines[:-1])
