"""The sections of a comparison group's table: one for each block, and one for the rows that learned nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.reporting.board.board import Block, BoardRow
from benchmark.reporting.board.row_notes import why_guessed

WITHOUT = "Without a network"
_REASONS = {  # why rows have no rank
    "leak": "the split leaks",
    "fell back": "the pretrained weights could not be had",
    "incomplete": "some runs have no score",
}


@dataclass(frozen=True)
class TableSection:
    """Rows that stand together under a heading.

    Args:
        heading: for people, such as ``Pretrained``.
        why: a sentence on why they stand apart, empty for the rows of a block.
        rows: the rows, in their order on the board.
    """

    heading: str
    why: str
    rows: tuple[BoardRow, ...]

    @property
    def folded(self) -> bool:
        """Whether the rows are hidden until they are asked for."""
        return bool(self.why)


def table_sections(rows: Sequence[BoardRow], references: Sequence[BoardRow] = ()) -> list[TableSection]:
    """Return the sections of a comparison group: its blocks in order, the rows that may have guessed, and those
    without a network.

    Blocks do not mix: a rank is given within one, so that rank 1 of two blocks says nothing of the two rows.
    """
    guesses = tuple(row for row in rows if row.guessed)
    others = [row for row in rows if not row.guessed]
    sections = [
        TableSection(_heading(block), "", tuple(row for row in others if row.block == block))
        for block in dict.fromkeys(row.block for row in others)
    ]
    if guesses:
        why = "; ".join(dict.fromkeys(why_guessed(row) for row in guesses))
        sections.append(TableSection("Not shown to be better than guessing", f"{why}.", guesses))
    if references:
        sections.append(TableSection(WITHOUT, "", tuple(references)))
    return sections


def reasons(unranked: Sequence[str]) -> str:
    """Return in words why rows have no rank."""
    return " and ".join(_REASONS.get(each, each) for each in unranked)


def place_text(block: Block) -> str:
    """Return where a block stands within its comparison group in words: ``pretrained; the split leaks``."""
    weights = {True: ["pretrained"], False: ["from random weights"], None: []}[block.pretrained]
    return "; ".join([*weights, *([reasons(block.unranked)] if block.unranked else [])])


def _heading(block: Block) -> str:
    """Return the heading of a block: the starting weights, then why it is not ranked."""
    weights = {True: "Pretrained", False: "From scratch (random weights)"}
    if block.pretrained is None:
        return block.place.capitalize()
    return weights[block.pretrained] + (f"; not ranked: {reasons(block.unranked)}" if block.unranked else "")
