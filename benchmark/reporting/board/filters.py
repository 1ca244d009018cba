"""What of a board is shown, and in which order: ``--filter``, ``--sort`` and ``--columns``.

Ranks and intervals are computed before: a row that is hidden still counts among those that were compared.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from benchmark.errors import UserError, nearest
from benchmark.reporting.board.board import Board
from benchmark.reporting.board.column import Values
from benchmark.reporting.board.columns import all_columns

_CONDITION = re.compile(r"\s*([^=!<>]+?)\s*(!=|<=|>=|=|<|>)\s*(.*?)\s*", re.DOTALL)
_COMPARE = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


@dataclass(frozen=True)
class Condition:
    """One ``--filter``: a column, an operator, and a value (alternatives with commas, ``*`` for any text)."""

    column: str
    operator: str
    value: str

    @classmethod
    def read(cls, text: str) -> "Condition":
        """Return the condition that a text says.

        Raises:
            UserError: it says none.
        """
        match = _CONDITION.fullmatch(text)
        if match is None:
            raise UserError(
                f"--filter {text}: give a column, one of = != < <= > >=, and a value, such as library=timm or "
                f"'macro_f1>0.9'."
            )
        condition = cls(*match.groups())
        if condition.operator in _COMPARE and _number(condition.value) is None:
            raise UserError(f"--filter {text}: '{condition.value}' is not a number; compare words with = or !=.")
        return condition

    def holds(self, row: Values) -> bool:
        """Return whether a row meets it. An empty cell equals an empty value and nothing else."""
        cell = row.get(self.column)
        if self.operator in _COMPARE:
            number = None if cell is None else _number(str(cell))
            return number is not None and _COMPARE[self.operator](number, _number(self.value))
        meets = any(_equal(cell, value.strip()) for value in self.value.split(","))
        return meets if self.operator == "=" else not meets


@dataclass(frozen=True)
class View:
    """What is shown of a board.

    Args:
        filters: conditions as they were typed; a row must meet all of them.
        sort: a column, from low to high; with a minus before it, from high to low. Empty: as ranked.
        columns: names; empty: all.
    """

    filters: tuple[str, ...] = ()
    sort: str = ""
    columns: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything is asked for: what is shown is then not the full table."""
        return bool(self.filters or self.sort or self.columns)

    def __str__(self) -> str:
        """What was asked for, as it is typed."""
        words = [word for text in self.filters for word in ("--filter", text)]
        words += [f"--sort={self.sort}"] if self.sort else []
        words += ["--columns", ",".join(self.columns)] if self.columns else []
        return shlex.join(words)

    def of(self, board: Board) -> Board:
        """Return the board with the rows, the order and the columns that are asked for.

        Raises:
            UserError: a column that does not exist, a filter that can't be read, or one that no row meets.
        """
        conditions = [Condition.read(text) for text in self.filters]
        names = list(all_columns(board.class_names, board.tumour_names))
        for text, condition in zip(self.filters, conditions, strict=True):
            _check(f"--filter {text}", condition.column, names)
        for name in self.columns:
            _check(f"--columns {','.join(self.columns)}", name, names)
        column = self.sort.removeprefix("-")
        if column:
            _check(f"--sort {self.sort}", column, names)
        rows = [row for row in board.rows if all(condition.holds(row.line) for condition in conditions)]
        if not board.rows:
            raise UserError(f"None of the records can be used. {' '.join(board.problems[:1])}")
        if not rows:
            asked = " ".join(f"--filter {text}" for text in self.filters)
            raise UserError(f"{asked}: none of the {len(board.rows)} rows meets this; nothing is written.")
        if column:
            present = [row for row in rows if row.line.get(column) is not None]
            present.sort(key=lambda row: _order(row.line[column]), reverse=self.sort.startswith("-"))
            rows = [*present, *(row for row in rows if row.line.get(column) is None)]
        shown = {id(row) for row in rows}
        notes = list(board.notes)
        if len(rows) < len(board.rows):
            notes.append(
                f"{len(rows)} of {len(board.rows)} rows are shown ({'; '.join(self.filters)}); ranks are among all."
            )
        return replace(
            board,
            rows=tuple(rows),
            references={} if conditions else board.references,
            results=tuple(result for row in rows for result in row.results),
            hidden=tuple(row for row in board.rows if id(row) not in shown),
            columns=self.columns,
            notes=tuple(notes),
        )


def _check(asked: str, column: str, names: Sequence[str]) -> None:
    if column not in names:
        near = nearest(column, list(names))
        raise UserError(
            f"{asked}: there is no column '{column}'.{near} columns.csv has them all, with what they mean."
        )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _equal(cell: object, value: str) -> bool:
    if cell is None:
        return value == ""
    numbers = _number(str(cell)), _number(value)
    if None not in numbers:
        return numbers[0] == numbers[1]
    return fnmatchcase(str(cell).casefold(), value.casefold())


def _order(cell: object) -> tuple[int, float, str]:
    number = _number(str(cell))
    return (0, number, "") if number is not None else (1, 0.0, str(cell).casefold())
