"""Which rows a picture, or a table of rows by rows, shows where a board has more than it has room for."""

from collections.abc import Sequence

from benchmark.grouping import grouped
from benchmark.reporting.board.board import BoardRow

MOST_DRAWN = 24  # rows of a picture: more bars, panels or names can't be read


def drawn_rows(rows: Sequence[BoardRow], most: int = MOST_DRAWN) -> list[BoardRow]:
    """Return the rows that are shown, in their order: all where there are no more than ``most``, else the best rows
    of each block by macro-F1, the blocks in turn.
    """
    if len(rows) <= most:
        return list(rows)
    blocks = grouped((row.block.place, row) for row in sorted(rows, key=lambda row: (row.guessed, -row.macro_f1)))
    turns = [(turn, number, row) for number, block in enumerate(blocks.values()) for turn, row in enumerate(block)]
    kept = {id(row) for *_, row in sorted(turns, key=lambda each: each[:2])[:most]}
    return [row for row in rows if id(row) in kept]


def drawn_note(rows: Sequence[BoardRow], *, counted: bool = True) -> str:
    """Return which of the rows :func:`drawn_rows` leaves, and where the others are; empty where it leaves all.

    Args:
        counted: say how many rows there are. A picture that does not say it stays as it is where others are added.
    """
    if len(rows) <= MOST_DRAWN:
        return ""
    blocks = len({row.block.place for row in rows})
    which = "the highest macro-F1 of each block" if blocks > 1 else "the highest macro-F1"
    of = f" of {len(rows)}" if counted else ""
    return f"Shown: {MOST_DRAWN}{of} rows, those with {which}; all are in leaderboard.csv."
