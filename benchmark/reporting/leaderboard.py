"""The leaderboard: records in, tables and plots out. Scores are computed anew from the records each time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.atomic_files import write_atomically
from benchmark.evaluation.costs import Costs
from benchmark.reporting.board.board import Board, make_board
from benchmark.reporting.board.filters import View
from benchmark.reporting.board.load_records import gather
from benchmark.reporting.board.parity import with_certificates
from benchmark.reporting.board.rows import evaluate
from benchmark.reporting.ensembles import Weights, with_ensembles
from benchmark.reporting.summary.answers import answer_lines


@dataclass(frozen=True)
class WrittenBoard:
    """A leaderboard that was written.

    Args:
        page: the path of ``leaderboard.html``.
        answers: the board's answer, a sentence an entry.
        board: what stands in it.
    """

    page: Path
    answers: tuple[str, ...]
    board: Board


@dataclass(frozen=True)
class Ensembles:
    """Which ensembles are shown; see :func:`benchmark.reporting.ensembles.with_ensembles`."""

    asked: tuple[str, ...]
    weights: Weights = "none"


def read_board(*folders: Path, costs: Costs | None = None, ensembles: Ensembles | None = None) -> Board:
    """Score every record in results folders and gather them into a board; what can't be used is named on it.

    Args:
        folders: the results folders.
        costs: what each error costs, for the column ``cost``; without them it is empty.
        ensembles: rows that are averages of others.

    Raises:
        UserError: a folder has no record at all, or an ensemble can't be made.
    """
    stored = gather(folders)
    results = [evaluate(record, predictions, stored.cams.get(record.key)) for record, predictions in stored]
    if ensembles is not None:
        results = with_ensembles(results, ensembles.asked, ensembles.weights)
    return with_certificates(make_board(results, stored.problems, costs), folders)


def write_leaderboard(
    out: Path,
    folders: Sequence[Path] = (),
    view: View = View(),  # noqa: B008 - frozen
    costs: Costs | None = None,
    say: Callable[[str], None] = lambda text: None,
    ensembles: Ensembles | None = None,
) -> WrittenBoard:
    """Write the tables (CSV, Markdown, LaTeX), the plots, the gallery and the interactive page of results folders.

    Args:
        out: the folder to write to, which is made where it does not exist.
        folders: the results folders that hold the records; ``out`` where none are named.
        view: which rows and columns are shown.
        costs: what each error costs, for the column ``cost``; without them it is empty.
        say: is told what is being done, a few words at a time.
        ensembles: rows that are averages of others.

    Raises:
        UserError: there is no record at all, an ensemble can't be made, or the view asks for what is not there.
    """
    from benchmark.reporting.documents.gallery import write_gallery
    from benchmark.reporting.documents.reference_report import free_for_reports, with_reports, write_reports
    from benchmark.reporting.documents.tables import write_tables
    from benchmark.reporting.figures.cams import write_cam_plots
    from benchmark.reporting.figures.montage import copy_montages
    from benchmark.reporting.figures.plots import write_plots  # matplotlib takes its time
    from benchmark.reporting.figures.thumbnails import Thumbnails
    from benchmark.reporting.page.page import page

    folders = list(folders) or [out]
    say("Reading records, computing intervals")
    board, reports = with_reports(view.of(read_board(*folders, costs=costs, ensembles=ensembles)), folders)
    board, reports = free_for_reports(board, reports, out)
    out.mkdir(parents=True, exist_ok=True)
    for folder in folders:
        copy_montages(folder, out)
    fingerprints = {result.record.data.fingerprint for result in board.results}
    thumbnails = {fingerprint: Thumbnails(folders, fingerprint) for fingerprint in fingerprints}
    say("Drawing figures")
    write_plots(board, out)
    say("Drawing heat maps")
    write_cam_plots(board, thumbnails, out)
    say("Drawing the gallery")
    write_gallery(board, thumbnails, out)
    say("Writing tables and the page")
    write_tables(board, out)
    write_reports(reports, out)
    page_file = out / "leaderboard.html"
    write_atomically(page_file, page(board, thumbnails))
    return WrittenBoard(page_file, tuple(answer_lines(board)), board)
