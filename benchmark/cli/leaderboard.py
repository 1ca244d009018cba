"""``python -m benchmark leaderboard``: tables, plots and pages from records; nothing is trained."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from benchmark.cli.json_output import json_option, print_json
from benchmark.cli.shared_options import choice_option, path_option
from benchmark.cli.track import track_option, tracking_of
from benchmark.errors import UserError, writing
from benchmark.records.results_folder import VIEW
from benchmark.text import shown

if TYPE_CHECKING:
    from benchmark.reporting.board.filters import View
    from benchmark.reporting.leaderboard import WrittenBoard


@click.command("leaderboard")
@click.argument("folders", metavar="DIR ...", nargs=-1, required=True, type=click.Path(path_type=Path))
@path_option("--out", "DIR", "Where to write.  [default: the first folder, or view in it]")
@click.option(
    "--filter",
    "filters",
    multiple=True,
    metavar="CONDITION",
    help="Show only some rows, such as library=timm,keras or 'macro_f1>0.9'; several must all hold.",
)
@click.option("--sort", default="", metavar="COLUMN", help="Order of the rows: low to high; -COLUMN: high to low.")
@click.option("--columns", default="", metavar="A,B,...", help="Show these columns in the tables.")
@path_option(
    "--costs",
    "FILE",
    "A TOML file that says what each error costs: wrong = 1.0, and [costs.glioma] with notumor = 20.0.",
)
@click.option(
    "--ensemble",
    "asked",
    multiple=True,
    metavar="WHICH",
    help="Add the averaged probabilities of several rows as a row: top3 (the best three by validation), seeds (each "
    "row's seeds together), or NAME+NAME (repeatable).",
)
@choice_option(
    "--ensemble-weights",
    ["none", "validation"],
    "none",
    "Whether an ensemble's members count alike, or as their validation images say.",
)
@click.option(
    "--compare",
    "pair",
    nargs=2,
    metavar="A B",
    help="Print how two rows differ, and the images that they predict differently; nothing is written.",
)
@click.option(
    "--onnx-latency",
    is_flag=True,
    help="Show how long the ONNX files of kept models take for one image (see export).",
)
@choice_option(
    "--page-images",
    ["inside", "beside"],
    "inside",
    "Whether test images are in leaderboard.html, which is then one file, or files beside it, in images/.",
)
@track_option
@json_option
def leaderboard_command(
    folders: tuple[Path, ...],
    out: Path | None,
    filters: tuple[str, ...],
    sort: str,
    columns: str,
    costs: Path | None,
    asked: tuple[str, ...],
    ensemble_weights: Literal["none", "validation"],
    pair: tuple[str, str] | None,
    onnx_latency: bool,
    page_images: Literal["inside", "beside"],
    track: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write the leaderboard of one results folder, or of several, from their records; nothing is trained.

    Several folders (of several machines, of several days) become one board; a run that is in two is shown once.
    Columns are those of leaderboard.csv. Rows that are not shown still count in ranks and corrections. A part of the
    board (--filter, --sort, --columns) is written to the folder view in the first folder, or to --out: the full
    tables stay as they are.
    """
    from rich.console import Console

    from benchmark.evaluation.costs import load_costs
    from benchmark.models.best import onnx_latencies
    from benchmark.reporting.board.filters import View
    from benchmark.reporting.ensembles import Ensembles
    from benchmark.reporting.leaderboard import PageFile, write_leaderboard

    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"There is no folder '{folder}'; give the folder that was --out of a run.")
    chosen = tuple(name.strip() for name in columns.split(",") if name.strip())
    view = View(filters, sort, chosen)
    if pair is not None:
        if view or out or costs or asked or track or onnx_latency or page_images != "inside":
            raise UserError("--compare prints two rows and writes nothing: give it without other options but --json.")
        _compare(folders, pair, as_json=as_json)
        return
    target = out or (folders[0].joinpath(*VIEW) if view else folders[0])
    if track and view:
        raise UserError("--track tells of the whole board: give it without --filter, --sort and --columns.")
    write = partial(
        write_leaderboard,
        target,
        folders,
        view,
        None if costs is None else load_costs(costs),
        ensembles=Ensembles(asked, ensemble_weights) if asked else None,
        measured=onnx_latencies(folders) if onnx_latency else {},
        page_file=PageFile(images=page_images),
    )
    with tracking_of(track, folders[0], Console(stderr=True)) as tracking:
        written = _write(write, target, view, as_json=as_json)
        if tracking is not None:
            tracking.board(written)


def _write(write: Callable[..., "WrittenBoard"], target: Path, view: "View", *, as_json: bool) -> "WrittenBoard":
    """Write the board and print its answer.

    Args:
        write: writes it, and tells ``say`` what is being done.
        target: the folder that is written.
        view: which columns are printed.
    """
    from rich.console import Console

    from benchmark.execution.progress import Steps, show_answers

    with writing(f"'{target}'"), Steps(Console(stderr=True), "Reading records", lines=False) as say:
        written = write(say=say)
    if as_json:
        rows = [row.line for row in written.board.rows]
        names = view.columns or tuple(dict.fromkeys(name for line in rows for name in line))
        kept = [{name: line.get(name) for name in names} for line in rows]
        print_json(
            {"page": written.page, "answers": written.answers, "rows": kept, "problems": written.board.problems}
        )
        return written
    show_answers(Console(), written.answers)
    click.echo(f"Leaderboard: {written.page}")
    return written


def _compare(folders: Sequence[Path], pair: tuple[str, str], *, as_json: bool) -> None:
    from benchmark.reporting.results import load_results

    first, second = pair
    compared = load_results(*folders).compare(first, second)
    if as_json:
        images = compared.images.astype(object).where(compared.images.notna(), None).to_dict("records")
        numbers = {field.name: getattr(compared, field.name) for field in fields(compared)}
        print_json({"first": first, "second": second, **numbers, "images": images})
    else:
        click.echo(shown(compared.text(first, second)))
