"""The board as tables: CSV for programs, Markdown for people."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmark.reporting.board import Board, board_lines, run_lines
from benchmark.reporting.files import write_atomically
from benchmark.reporting.markdown import markdown
from benchmark.reporting.rows import Row, averaged, columns


def write_tables(board: Board, out: Path) -> None:
    """Write ``runs.csv``, ``leaderboard.csv`` and ``leaderboard.md``."""
    names = columns(board.class_names, board.tumour_names)
    lines = board_lines(board)
    write_atomically(out / "runs.csv", _csv(run_lines(board), names))
    spreads = [f"{name}_sd" for name in averaged(board.class_names)]
    used = [name for name in spreads if any(name in line for line in lines)]
    write_atomically(out / "leaderboard.csv", _csv(lines, [*names, *used]))
    write_atomically(out / "leaderboard.md", markdown(board))


def _csv(lines: Iterable[Row], names: Sequence[str]) -> str:
    """Return lines as CSV; absent values are empty."""
    import pandas as pd

    # dtype object: an integer column with gaps stays one of integers
    frame = pd.DataFrame(list(lines), columns=list(names), dtype=object)
    return str(frame.to_csv(index=False, lineterminator="\n"))
