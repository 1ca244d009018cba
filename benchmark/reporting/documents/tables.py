"""The board as tables: CSV for programs, Markdown for people, LaTeX for papers."""

from collections.abc import Mapping
from pathlib import Path

from benchmark.atomic_files import write_atomically, written_file
from benchmark.csv_text import csv_text, write_columns
from benchmark.grouping import grouped
from benchmark.reporting.board.board import Board
from benchmark.reporting.board.column import Values
from benchmark.reporting.board.columns import all_columns, columns
from benchmark.reporting.board.flat_rows import board_lines, run_lines
from benchmark.reporting.board.pairs import COMPARISONS, comparison_columns
from benchmark.reporting.breakdown.breakdowns import Breakdowns
from benchmark.reporting.breakdown.budget import COLUMNS as BUDGET_COLUMNS
from benchmark.reporting.breakdown.budget import budget_lines
from benchmark.reporting.breakdown.corruptions import COLUMNS as CORRUPTION_COLUMNS
from benchmark.reporting.breakdown.corruptions import robustness_lines
from benchmark.reporting.breakdown.cross_matrix import COLUMNS as CROSS_COLUMNS
from benchmark.reporting.breakdown.cross_matrix import cross_lines
from benchmark.reporting.breakdown.strata import COLUMNS as STRATA_COLUMNS
from benchmark.reporting.breakdown.strata import strata_lines
from benchmark.reporting.documents.claim_checklist import report
from benchmark.reporting.documents.latex import latex
from benchmark.reporting.documents.markdown import markdown
from benchmark.reporting.figures.cams import cam_stems
from benchmark.reporting.figures.montage import montage_name
from benchmark.reporting.figures.plots import wanted


def write_documents(board: Board, out: Path, breakdowns: Breakdowns) -> None:
    """Write ``leaderboard.tex``, ``report.md``, and ``leaderboard.md``, which shows the plots that are there."""
    write_atomically(out / "leaderboard.tex", latex(board))
    write_atomically(out / "leaderboard.md", markdown(board, _plots(board, out), breakdowns))
    write_atomically(out / "report.md", report(board, breakdowns))


def write_comparisons(board: Board, out: Path) -> None:
    """Write ``comparisons.csv``: a line for each pair of rows of a block."""
    with written_file(out / "comparisons.csv") as unfinished:
        write_columns(unfinished, comparison_columns(board), list(COMPARISONS))


def write_csv_files(board: Board, out: Path, breakdowns: Breakdowns) -> None:
    """Write ``runs.csv``, ``leaderboard.csv`` and ``columns.csv`` (what each column means).

    Where there is something in them, ``cross_matrix.csv``, ``strata.csv``, ``corruptions.csv`` and ``budget.csv``.
    """
    classes = board.class_names, board.tumour_names
    names = [column.name for column in columns(*classes)]
    lines = board_lines(board)
    write_atomically(out / "runs.csv", csv_text(run_lines(board), names))
    further = [name for name in all_columns(*classes) if name not in names and any(name in line for line in lines)]
    write_atomically(out / "leaderboard.csv", csv_text(lines, board.columns or [*names, *further]))
    strata = [line for each in breakdowns.strata.values() for line in strata_lines(each)]
    spoilt = [line for each in breakdowns.robustness.values() for line in robustness_lines(each)]
    tuned = [line for each in breakdowns.budgets.values() for line in budget_lines(each)]
    meanings = {"comparisons.csv": COMPARISONS}
    for name, table, head in (
        ("cross_matrix.csv", cross_lines(breakdowns.matrices), CROSS_COLUMNS),
        ("strata.csv", strata, STRATA_COLUMNS),
        ("corruptions.csv", spoilt, CORRUPTION_COLUMNS),
        ("budget.csv", tuned, BUDGET_COLUMNS),
    ):
        if table:
            write_atomically(out / name, csv_text(table, list(head)))
            meanings[name] = head
        else:
            (out / name).unlink(missing_ok=True)  # of an earlier board
    write_atomically(out / "columns.csv", csv_text(_dictionary(board, meanings), DICTIONARY))


DICTIONARY = ("file", "column", "title", "meaning", "values", "better", "value_of_a_row")


def _dictionary(board: Board, meanings: Mapping[str, Mapping[str, str]]) -> list[Values]:
    """Return a line for each column of the CSV files under :data:`DICTIONARY`: what it means.

    Args:
        meanings: of the columns of files that have no lines for whole rows, by file and column.
    """
    own = {column.name for column in columns(board.class_names, board.tumour_names)}
    lines: list[Values] = [
        {
            "file": "leaderboard.csv, runs.csv" if column.name in own else "leaderboard.csv",
            "column": column.name,
            "title": column.title,
            "meaning": column.help,
            "values": column.kind.value,
            "better": column.better,
            "value_of_a_row": column.average.value,
        }
        for column in all_columns(board.class_names, board.tumour_names).values()
    ]
    return lines + [
        {"file": file, "column": name, "meaning": meaning}
        for file, columns_of_file in meanings.items()
        for name, meaning in columns_of_file.items()
    ]


def _plots(board: Board, out: Path) -> dict[str, list[str]]:
    """Return for each comparison group the names of the pictures of it that are in the folder."""
    stems = [(rows[0], stem) for stem, _, rows in wanted(board)]
    for number, rows in enumerate(board.comparison_groups()):
        data = rows[0].first.record.data
        stems += [(rows[0], stem) for stem in (*cam_stems(rows, number), montage_name(data.name, data.fingerprint))]
    names = grouped((row.block.comparison_group, stem) for row, stem in stems)
    return {name: [stem for stem in stems if (out / f"{stem}.png").exists()] for name, stems in names.items()}
