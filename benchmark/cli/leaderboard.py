"""``python -m benchmark leaderboard``: tables, plots and pages from records; nothing is trained."""

from pathlib import Path
from typing import Literal

import click

from benchmark.errors import UserError


@click.command("leaderboard")
@click.argument("folders", metavar="DIR ...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Where to write.  [default: the first folder]"
)
@click.option(
    "--filter",
    "filters",
    multiple=True,
    metavar="CONDITION",
    help="Show only some rows, such as library=timm,keras or 'macro_f1>0.9'; several must all hold.",
)
@click.option("--sort", default="", metavar="COLUMN", help="Order of the rows: low to high; -COLUMN: high to low.")
@click.option("--columns", default="", metavar="A,B,...", help="Show these columns in the tables.")
@click.option(
    "--costs",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A TOML file that says what each error costs: wrong = 1.0, and [costs.glioma] with notumor = 20.0.",
)
@click.option(
    "--ensemble",
    "asked",
    multiple=True,
    metavar="WHICH",
    help="Add the averaged probabilities of several rows as a row: top3 (the best three by validation), seeds (each "
    "row's seeds together), or NAME+NAME (repeatable).",
)
@click.option(
    "--ensemble-weights",
    type=click.Choice(["none", "validation"]),
    default="none",
    show_default=True,
    help="Whether an ensemble's members count alike, or as their validation images say.",
)
def leaderboard_command(
    folders: tuple[Path, ...],
    out: Path | None,
    filters: tuple[str, ...],
    sort: str,
    columns: str,
    costs: Path | None,
    asked: tuple[str, ...],
    ensemble_weights: Literal["none", "validation"],
) -> None:
    """Write the leaderboard of one results folder or several anew, from their records; nothing is trained.

    Several folders (of several machines, of several days) become one board; a run that is in two is shown once.
    Columns are those of leaderboard.csv. Rows that are not shown still count in ranks and corrections.
    """
    from rich.console import Console

    from benchmark.evaluation.costs import load_costs
    from benchmark.execution.progress import show_answers
    from benchmark.reporting.board.filters import View
    from benchmark.reporting.leaderboard import Ensembles, write_leaderboard

    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"There is no folder '{folder}'; give the folder that was --out of a run.")
    chosen = tuple(name.strip() for name in columns.split(",") if name.strip())
    price = None if costs is None else load_costs(costs)
    target = out or folders[0]
    try:
        with Console(stderr=True).status("Reading records") as status:
            written = write_leaderboard(
                target, folders, View(filters, sort, chosen), price, say=status.update,
                ensembles=Ensembles(asked, ensemble_weights) if asked else None,
            )  # fmt: skip
    except OSError as error:
        raise UserError(f"'{target}' can't be written: {error.strerror or error}.") from None
    show_answers(Console(), written.answers)
    click.echo(f"Leaderboard: {written.page}")
