"""The leaderboard: records in, tables and plots out. Scores are computed anew from the records each time."""

from pathlib import Path

from benchmark.errors import UserError
from benchmark.execution.store import RecordStore
from benchmark.reporting.board import Board, make_board
from benchmark.reporting.files import write_atomically
from benchmark.reporting.rows import evaluate


def read_board(out: Path) -> Board:
    """Score every record in a results folder and gather them into a board; what can't be used is named on it.

    Raises:
        UserError: there is no record at all.
    """
    stored = RecordStore(out).read_all()
    if not stored.entries and not stored.problems:
        raise UserError(f"'{out}' has no records of runs; give the folder that was --out of a run.")
    return make_board((evaluate(record, predictions) for record, predictions in stored), stored.problems)


def write_leaderboard(out: Path) -> Path:
    """Write the tables (CSV, Markdown, LaTeX), the plots and the interactive page of a results folder.

    Args:
        out: the folder that holds the records.

    Returns:
        The path of ``leaderboard.md``.

    Raises:
        UserError: there is no record at all.
    """
    from benchmark.reporting.page import page
    from benchmark.reporting.plots import write_plots  # matplotlib takes its time
    from benchmark.reporting.tables import write_tables
    from benchmark.reporting.thumbnails import read_thumbnails

    board = read_board(out)
    write_plots(board, out)
    write_tables(board, out)
    fingerprints = {result.record.data.fingerprint for result in board.results}
    thumbnails = {fingerprint: read_thumbnails(out, fingerprint) for fingerprint in fingerprints}
    write_atomically(out / "leaderboard.html", page(board, thumbnails))
    return out / "leaderboard.md"
