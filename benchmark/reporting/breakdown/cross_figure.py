"""The cross matrix as a figure: a panel a network, shaded by macro-F1, with the loss away from home."""

from collections.abc import Sequence
from typing import Any

from benchmark.reporting.breakdown.cross_matrix import Cell, CrossMatrix
from benchmark.reporting.figures.labels import wrapped
from benchmark.reporting.figures.style import GREY, explain, set_height

STEM = "plot_cross_matrix"
_MOST = 8  # panels; a page has no room for more
_DARK = 0.55  # macro-F1 from which letters are white


def draw_cross_matrices(made: Any, matrices: Sequence[CrossMatrix]) -> None:
    """Draw the first eight matrices; the rest stands in the tables, and the figure says so."""
    drawn = matrices[:_MOST]
    columns = 1 if len(drawn) == 1 or len(drawn[0].sets) > 4 else 2
    lines = -(-len(drawn) // columns)
    set_height(made, 12 + lines * (10 + 78 / columns))
    grid = made.subplots(lines, columns, squeeze=False)
    for axes in list(grid.flat)[len(drawn) :]:
        axes.set_visible(False)
    for axes, matrix in zip(grid.flat, drawn, strict=False):
        _panel(axes, matrix)
    rest = f" {len(matrices) - _MOST} more networks are in the tables." if len(matrices) > _MOST else ""
    explain(made, f"macro-F1; below it the difference to home\n(on the classes that both sets have).{rest}")


def _panel(axes: Any, matrix: CrossMatrix) -> None:
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    shade, count = colormaps["Blues"], len(matrix.sets)
    for trained in range(count):
        for tested in range(count):
            cell = matrix.cells.get((trained, tested))
            score = None if cell is None else cell.macro_f1
            axes.add_patch(
                Rectangle(
                    (tested - 0.5, trained - 0.5),
                    1,
                    1,
                    facecolor="#F2F2F2" if score is None else shade(score),
                    edgecolor="white",
                    linewidth=1.0,
                    hatch="///" if score is None else None,
                )
            )
            colour = GREY if score is None else "white" if score > _DARK else "black"
            axes.text(tested, trained, _text(cell), ha="center", va="center", fontsize=6.5, color=colour)
    for home in range(count):  # last, so that no neighbour lies on its frame
        axes.add_patch(
            Rectangle((home - 0.49, home - 0.49), 0.98, 0.98, fill=False, edgecolor="black", linewidth=1.2)
        )
    axes.set_xlim(-0.5, count - 0.5)
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_aspect("equal")
    names = [wrapped(name, 14) for name in matrix.sets]
    axes.set_xticks(range(count), names, rotation=0 if count < 4 else 45, fontsize=5.5)
    axes.set_yticks(range(count), names, fontsize=5.5)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("tested on")
    axes.set_ylabel("trained on")
    axes.set_title(wrapped(matrix.name, 34), loc="left", fontsize=6.5)


def _text(cell: Cell | None) -> str:
    if cell is None or cell.macro_f1 is None:
        return "" if cell is None else "none"
    return f"{cell.macro_f1:.3f}" + ("" if cell.loss is None else f"\n{-cell.loss:+.3f}")
