"""All tables of a board, of which nothing is broken down."""

from pathlib import Path

from benchmark.reporting.board.board import Board
from benchmark.reporting.breakdown.breakdowns import Breakdowns
from benchmark.reporting.documents.tables import write_comparisons, write_csv_files, write_documents


def write_tables(board: Board, out: Path) -> None:
    """Write the CSV files and the documents of a board into a folder."""
    write_comparisons(board, out)
    write_csv_files(board, out, Breakdowns())
    write_documents(board, out, Breakdowns())
