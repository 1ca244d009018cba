"""The leaderboard: records in, tables and plots out. Scores are computed from the records alone."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from benchmark.atomic_files import write_atomically
from benchmark.data.preparation.process_copy import can_work_beside
from benchmark.data.preparation.shared_work import Item, Made, ShareOut, Work, done_here
from benchmark.errors import UserError
from benchmark.evaluation.costs import Costs
from benchmark.evaluation.many_rows.kept_statistics import KeptStatistics
from benchmark.records.results_folder import GUIDE, RECORDS, VIEW_MARK, write_guide
from benchmark.reporting.board.board import Board, make_board
from benchmark.reporting.board.column import Values
from benchmark.reporting.board.filters import View
from benchmark.reporting.board.load_records import gather
from benchmark.reporting.board.parity import with_certificates
from benchmark.reporting.board.rows import Result, evaluate
from benchmark.reporting.breakdown.cross_matrix import CrossMatrix, cross_sentences
from benchmark.reporting.ensembles import Ensembles, with_ensembles
from benchmark.reporting.figures.head_masks import heads
from benchmark.reporting.figures.thumbnails import Thumbnails
from benchmark.reporting.large_boards.garbage import left_alone, uncollected
from benchmark.reporting.large_boards.kept_runs import KeptRuns
from benchmark.reporting.large_boards.shared_out import shared_out
from benchmark.reporting.large_boards.written_parts import Part, Parts
from benchmark.reporting.summary.answers import answer_lines
from benchmark.reporting.summary.reference_rows import with_references
from benchmark.text import plain

_MANY = 100  # rows, or runs, from which on a second process pays


@dataclass(frozen=True)
class PageFile:
    """How the page is written.

    Args:
        name: of its file.
        images: ``inside`` it, so that it is one file, or files ``beside`` it, which a browser fetches when they come
            into view.
        guide: the file beside it that says what lies there, to which it leads; a ``README.txt`` is written, any other
            is the caller's.
    """

    name: str = "leaderboard.html"
    images: Literal["inside", "beside"] = "inside"
    guide: str = GUIDE


@dataclass(frozen=True)
class WrittenBoard:
    """A leaderboard that was written.

    Args:
        page: the path of the page.
        answers: the board's answer, a sentence an entry.
        board: what was written, without the rows that were not asked for.
    """

    page: Path
    answers: tuple[str, ...]
    board: Board


def read_board(
    *folders: Path,
    costs: Costs | None = None,
    ensembles: Ensembles | None = None,
    measured: Mapping[str, Values] = MappingProxyType({}),
    share_out: ShareOut = done_here,
) -> Board:
    """Score every record in results folders and gather them into a board; what can't be used is named on it.

    Args:
        folders: the results folders.
        costs: what each error costs, for the column ``cost``; without them it is empty.
        ensembles: rows that are averages of others.
        measured: by the key of a run, values of columns that were measured beside it.
        share_out: has runs read and scored, by this process or two.

    Raises:
        UserError: a folder has no record at all, or an ensemble can't be made.
    """
    kept = KeptStatistics.of_user()
    runs = KeptRuns(kept)
    with uncollected():
        results, problems = _evaluated(folders, runs, share_out)
    results = [
        replace(result, score_values={**result.score_values, **measured[key]})
        if (key := result.record.key) in measured
        else result
        for result in results
    ]
    if ensembles is not None:
        results = with_ensembles(results, ensembles.asked, ensembles.weights)
    with left_alone():
        board = with_certificates(make_board(results, problems, costs, kept, share_out), folders)
        kept.tidy()
        return with_references(board, costs)


def _evaluated(folders: Sequence[Path], runs: KeptRuns, share_out: ShareOut) -> tuple[list[Result], tuple[str, ...]]:
    """Return all runs with what they are worth, and a sentence for each record that is not used."""
    stored = gather(folders, runs, share_out)
    of_sets = {name: heads(Thumbnails(folders, name)) for name in {record.data.fingerprint for record, _ in stored}}
    results = []
    for record, predictions in stored:
        key, content = record.key, stored.contents[record.key]
        cams, corrupted, head = stored.cams.get(key), stored.corrupted.get(key), of_sets[record.data.fingerprint]
        score = runs.scored_of(content, stored.remembered.get(key))
        result = evaluate(record, predictions, cams, head, corrupted, score)
        results.append(replace(result, content=content))
    return results, stored.problems


def _by_two(work: Work[Item, Made], items: Sequence[Item]) -> Iterator[Made]:
    """Yield what comes of each item; of many, a copy of this process makes some."""
    return shared_out(work, items) if len(items) >= _MANY and can_work_beside() else done_here(work, items)


def require_no_full_tables(out: Path) -> None:
    """Raise ``UserError`` where a folder holds records, or tables that are not known to be a part of others."""
    full = (out / "leaderboard.csv").exists() and not (out / VIEW_MARK).exists()
    if full or out.joinpath(*RECORDS).exists():
        raise UserError(
            f"'{out}' holds the full tables, and a part of them (--filter, --sort, --columns) would take their "
            "place: leave --out away, or give another folder."
        )


def write_leaderboard(
    out: Path,
    folders: Sequence[Path] = (),
    view: View = View(),  # noqa: B008 - frozen
    costs: Costs | None = None,
    say: Callable[[str], None] = lambda text: None,
    ensembles: Ensembles | None = None,
    measured: Mapping[str, Values] = MappingProxyType({}),
    page_file: PageFile = PageFile(),
) -> WrittenBoard:
    """Write the tables (CSV, Markdown, LaTeX), the plots, the gallery and the interactive page of results folders.

    Args:
        out: the folder to write to, which is made where it does not exist.
        folders: the results folders that hold the records; ``out`` where none are named.
        view: which rows and columns are shown.
        costs: what each error costs, for the column ``cost``; without them it is empty.
        say: is told what is being done, a few words at a time.
        ensembles: rows that are averages of others.
        measured: by the key of a run, values of columns that were measured beside it.
        page_file: how the page is written.

    Raises:
        UserError: there is no record at all, an ensemble can't be made, the view asks for what is not there, or the
            folder holds full tables, which a view would replace.
    """
    from benchmark.reporting.documents.reference_report import with_reports, write_reports
    from benchmark.reporting.figures.fonts import letters_note
    from benchmark.reporting.figures.montage import copy_montages

    folders = list(folders) or [out]
    if view:
        require_no_full_tables(out)
    say("Reading records, computing intervals")
    board = read_board(*folders, costs=costs, ensembles=ensembles, measured=measured, share_out=_by_two)
    board, reports = with_reports(view.of(board), folders, out)
    board = replace(board, notes=(*board.notes, *letters_note(board.class_names)))
    out.mkdir(parents=True, exist_ok=True)
    if view:
        whole = ", ".join(plain(str(folder)) for folder in folders)
        write_atomically(out / VIEW_MARK, f"A part of the board of {whole}: {view}\n")
    else:
        if page_file.guide == GUIDE:
            write_guide(out)
        (out / VIEW_MARK).unlink(missing_ok=True)
    for folder in folders:
        copy_montages(folder, out)
    with left_alone():
        matrices = _write_files(board, out, folders, replace(page_file, guide="" if view else page_file.guide), say)
    write_reports(reports, out)
    return WrittenBoard(out / page_file.name, (*cross_sentences(matrices), *answer_lines(board)), board)


def _write_files(
    board: Board, out: Path, folders: Sequence[Path], page_file: PageFile, say: Callable[[str], None]
) -> Sequence[CrossMatrix]:
    """Write tables, plots, gallery and page; return what crossed networks reach.

    Of a large board a second process writes some of it.
    """
    from benchmark.reporting.breakdown.breakdowns import breakdowns_of, write_breakdown_plots
    from benchmark.reporting.breakdown.image_facts import read_image_facts
    from benchmark.reporting.documents.gallery import write_gallery
    from benchmark.reporting.documents.tables import write_comparisons, write_csv_files, write_documents
    from benchmark.reporting.figures.cams import write_cam_plots
    from benchmark.reporting.figures.kept_figures import KeptFigures
    from benchmark.reporting.figures.plots import write_plots  # matplotlib takes its time
    from benchmark.reporting.page.data import Thumbnails as Pictures
    from benchmark.reporting.page.images import remove_images, write_images
    from benchmark.reporting.page.page import page

    fingerprints = {result.record.data.fingerprint for result in board.results}
    thumbnails = {fingerprint: Thumbnails(folders, fingerprint) for fingerprint in fingerprints}
    say("Breaking scores down")
    facts = {fingerprint: read_image_facts(folders, fingerprint) for fingerprint in fingerprints}
    breakdowns = breakdowns_of(board, facts)
    kept = KeptFigures(KeptStatistics.of_user())

    def write_page() -> None:
        pictures: Pictures = thumbnails
        if page_file.images == "beside":
            pictures = write_images(thumbnails, out)
        write_atomically(out / page_file.name, page(board, pictures, breakdowns, guide=page_file.guide))
        if page_file.images == "inside" and all(path.name == page_file.name for path in out.glob("*.html")):
            remove_images(out)  # no other page shows them, as that of a publication does

    def write_pictures_and_documents() -> None:
        write_plots(board, out, kept)
        write_breakdown_plots(board, breakdowns, out)
        write_cam_plots(board, thumbnails, out)
        write_documents(board, out, breakdowns)  # which show the plots that are there

    parts = [  # the tables first, for which a nearly full disk has room; then those that take longest
        Part("Writing tables for programs", lambda: write_csv_files(board, out, breakdowns)),
        Part("Writing the page", write_page),
        Part("Drawing figures, writing tables", write_pictures_and_documents),
        Part("Writing comparisons", lambda: write_comparisons(board, out)),
        Part("Drawing the gallery", lambda: write_gallery(board, thumbnails, out, kept)),
    ]
    two = len(board.rows) >= _MANY and can_work_beside()
    for _ in shared_out(Parts(say), parts, together=1) if two else done_here(Parts(say), parts):
        pass
    return breakdowns.matrices
