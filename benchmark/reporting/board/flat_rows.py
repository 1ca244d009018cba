"""The board as flat lines: what stands in the CSV files."""

from collections.abc import Sequence

from benchmark.reporting.board.board import Board, BoardRow
from benchmark.reporting.board.rows import Row, run_row


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
