"""The board as flat lines: what stands in the CSV files."""

from collections.abc import Sequence

from benchmark.reporting.board import Board, BoardRow
from benchmark.reporting.labels import full_names
from benchmark.reporting.rows import Row, run_row

COMPARISONS = (
    "block",
    "first",
    "second",
    "macro_f1_difference",
    "difference_low",
    "difference_high",
    "p",
    "p_holm",
    "better",
    "p_mcnemar",
    "p_nadeau_bengio",
)


def run_lines(board: Board) -> list[Row]:
    """Return one line per run, with the rank and the block of the row that it is part of."""
    return [
        {
            **run_row(result),
            "block": row.block.name,
            "rank": row.rank if result.scores else None,
            "parity": row.values.get("parity"),
        }
        for row in board.rows
        for result in row.results
    ]


def board_lines(board: Board) -> list[Row]:
    """Return one line per row of the leaderboard."""
    return row_lines(board.rows)


def row_lines(rows: Sequence[BoardRow]) -> list[Row]:
    """Return one line per row: spreads under ``<column>_sd``, intervals under ``<column>_low`` and ``_high``."""
    return [
        {
            **row.values,
            **{f"{name}_sd": value for name, value in row.spread.items()},
            **{f"{name}_low": interval.low for name, interval in row.intervals.items()},
            **{f"{name}_high": interval.high for name, interval in row.intervals.items()},
            "block": row.block.name,
            "rank": row.rank,
        }
        for row in rows
    ]


def comparison_lines(board: Board) -> list[Row]:
    """Return one line per pair of rows of a ranked block."""
    lines = []
    for block, statistics in board.statistics.items():
        rows = board.ranked(block)
        names = full_names(rows)
        hidden = {id(row) for row in board.hidden}
        for pair in statistics.pairs:
            found = pair.comparison
            if hidden & {id(rows[found.first]), id(rows[found.second])}:
                continue
            lines.append(
                {
                    "block": block,
                    "first": names[found.first],
                    "second": names[found.second],
                    "macro_f1_difference": found.difference,
                    "difference_low": found.interval.low,
                    "difference_high": found.interval.high,
                    "p": found.p,
                    "p_holm": found.p_holm,
                    "better": "" if found.better is None else names[found.better],
                    "p_mcnemar": pair.p_mcnemar,
                    "p_nadeau_bengio": pair.p_folds,
                }
            )
    return lines
