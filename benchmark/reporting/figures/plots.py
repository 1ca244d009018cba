"""The plots of a board, as PNG and SVG. What each shows is drawn in a module of its own."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmark.reporting.board.board import Board, BoardRow
from benchmark.reporting.board.drawn_rows import drawn_note, drawn_rows
from benchmark.reporting.figures import decisions, errors, learning_curves, speed
from benchmark.reporting.figures.kept_figures import KeptFigures, what_rows_show
from benchmark.reporting.figures.style import remove_others, say_below_title, slug

Draw = Callable[[Any, Sequence[BoardRow]], None]

SPEED = "plot_macro_f1_vs_throughput"
PER_COMPARISON_GROUP: dict[str, Draw] = {
    "plot_false_negatives": errors.draw_false_negatives,
    "plot_confusion_matrices": errors.draw_confusion_matrices,
    "plot_learning_curves_macro_f1": learning_curves.draw_macro_f1,
    "plot_learning_curves_loss": learning_curves.draw_losses,
    "plot_risk_coverage": decisions.draw_risk_coverage,
    "plot_net_benefit": decisions.draw_net_benefit,
}


def write_plots(board: Board, out: Path, kept: KeptFigures = KeptFigures()) -> list[Path]:  # noqa: B008 - no state
    """Write every plot that the board has data for; plots of an earlier board are removed.

    The first data set of a board has the plain names (``plot_false_negatives.png``); further ones, and further
    devices, have theirs after it. Of more rows than a picture has room for, the best are drawn, and it says so.

    Args:
        kept: plots that were drawn before.

    Returns:
        The paths written, PNG and SVG.
    """
    paths: list[Path] = []
    for stem, draw, rows in wanted(board):
        points = draw is speed.draw_speed  # a point for each row, and what is said of them is its own
        shown, note = (rows, "") if points else (drawn_rows(rows), drawn_note(rows, counted=False))
        content = None if points else what_rows_show(shown)  # points are drawn as fast as they are looked up
        paths += kept.saved(
            out,
            stem,
            partial(_draw, draw=draw, rows=shown, note=note),
            None if content is None else [draw.__name__, note, content],
        )
    for stem in (SPEED, *PER_COMPARISON_GROUP):
        remove_others(out, stem, paths)
    return paths


def _draw(made: Any, draw: Draw, rows: Sequence[BoardRow], note: str) -> None:
    draw(made, rows)
    say_below_title(made, note)


def wanted(board: Board) -> list[tuple[str, Draw, list[BoardRow]]]:
    """Return the plots that a board has data for: name without suffix, how it is drawn, and of which rows."""
    plots: list[tuple[str, Draw, list[BoardRow]]] = []
    for number, comparison_group in enumerate(board.comparison_groups()):
        scored = [row for row in comparison_group if row.values["n_runs"]]
        for rows in speed.by_speed_block(scored):
            first = not any(stem == SPEED for stem, _, _ in plots)
            name = slug(f"{rows[0].block.comparison_group_name} {rows[0].values['speed_block']}")
            plots.append((SPEED if first else f"{SPEED}_{name}", speed.draw_speed, rows))
        if scored:
            tail = f"_{slug(scored[0].block.comparison_group_name)}" if number else ""
            plots += [
                (stem + tail, draw, scored)
                for stem, draw in PER_COMPARISON_GROUP.items()
                if draw is not decisions.draw_net_benefit or decisions.has_net_benefit(scored)
            ]
    return plots
