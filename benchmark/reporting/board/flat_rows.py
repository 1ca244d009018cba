"""The board as flat lines: what stands in the CSV files."""

from benchmark.reporting.board.board import Board
from benchmark.reporting.board.column import Values


def run_lines(board: Board) -> list[Values]:
    """Return one line per run, with the rank and the block of the row that it is part of."""
    return [
        {
            **result.values,
            "block": row.block.name,
            **({"rank": row.line["rank"], "rank_last": row.line["rank_last"]} if result.scores else {}),
            "parity": row.values.get("parity"),
        }
        for row in board.rows
        for result in row.results
    ]


def board_lines(board: Board) -> list[Values]:
    """Return one line per row of the leaderboard, those without a network last."""
    groups = [rows[0].block.comparison_group for rows in board.comparison_groups()]
    references = [row for group in groups for row in board.references.get(group, ())]
    return [row.line for row in (*board.rows, *references)]
