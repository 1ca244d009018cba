"""Learning curves: a panel for each row, so that twelve stay apart without twelve colours."""

import math
from collections.abc import Sequence
from statistics import median
from typing import Any

from benchmark.reporting.board.board import BoardRow
from benchmark.reporting.figures.labels import panel_names
from benchmark.reporting.figures.style import (
    columns_for,
    lowest,
    panels,
    plain_log_ticks,
    set_height,
    set_title,
    title,
)

TRAIN_COLOUR, VALIDATION_COLOUR, OTHERS_COLOUR = "#E08214", "#0072B2", "#D9D9D9"


def draw_macro_f1(made: Any, rows: Sequence[BoardRow]) -> None:
    """Draw each row's validation macro-F1 by epoch over those of all others, and the epoch that was kept."""
    from matplotlib.lines import Line2D

    grid, ordered = _panels(made, rows)
    others = _joined([curve for row in ordered for curve in _curves(row, "val_macro_f1")])
    for axes, row in zip(grid, ordered, strict=True):
        axes.plot(*others, color=OTHERS_COLOUR, linewidth=0.5, zorder=1)
        axes.plot(*_joined(_curves(row, "val_macro_f1")), color=VALIDATION_COLOUR, zorder=2)
        _mark_best(axes, row, "val_macro_f1")
    made.supylabel("macro-F1 on validation images", fontsize=7)
    own = Line2D([], [], color=VALIDATION_COLOUR, label="this row")
    _legend(made, own, Line2D([], [], color=OTHERS_COLOUR, label="the others"))


def draw_losses(made: Any, rows: Sequence[BoardRow]) -> None:
    """Draw each row's mean cross-entropy on training and validation images by epoch (log scale)."""
    from matplotlib.lines import Line2D

    grid, ordered = _panels(made, rows)
    curves = [curve for row in ordered for name in ("train_loss", "val_loss") for curve in _curves(row, name)]
    losses = [loss for _, values in curves for loss in values if loss > 0] or [1.0]
    top = _common_top([_largest_loss(row) for row in ordered])
    losses = [loss for loss in losses if loss <= top]
    for axes, row in zip(grid, ordered, strict=True):
        axes.plot(*_joined(_curves(row, "train_loss")), color=TRAIN_COLOUR, linestyle=(0, (3, 1.2)))
        axes.plot(*_joined(_curves(row, "val_loss")), color=VALIDATION_COLOUR)
        _mark_best(axes, row, "val_loss")
        axes.set_yscale("log")
        if math.isfinite(top):
            axes.set_ylim(top=top * 1.1)
            if _largest_loss(row) > top:
                text = f"cut off: up to {_largest_loss(row):.3g}"
                axes.text(0.98, 0.96, text, transform=axes.transAxes, fontsize=5.5, ha="right", va="top")
        plain_log_ticks(axes.yaxis, losses, subs=(1,) if max(losses) > 100 * min(losses) else (1, 2, 5))
    made.supylabel("cross-entropy (nats, log scale)", fontsize=7)
    training = Line2D([], [], color=TRAIN_COLOUR, linestyle=(0, (3, 1.2)), label="training")
    _legend(made, training, Line2D([], [], color=VALIDATION_COLOUR, label="validation"))


def _legend(made: Any, *lines: Any) -> None:
    """Name the lines, and the mark of the epoch whose weights were kept."""
    from matplotlib.lines import Line2D

    kept = Line2D([], [], color=VALIDATION_COLOUR, marker="o", markersize=3, ls="", label="weights kept")
    made.legend(handles=[*lines, kept], loc="outside lower center", ncols=3)


def _common_top(largest: Sequence[float]) -> float:
    """Return where the loss axis, which all panels share, ends: infinity where it need not be cut.

    One row whose loss is very large would make all other curves flat: more than six times the median row's largest
    loss is cut off.
    """
    end = 6 * median(largest) if largest else math.inf
    return end if largest and 0 < end < max(largest) else math.inf


def _largest_loss(row: BoardRow) -> float:
    values = [loss for name in ("train_loss", "val_loss") for _, curve in _curves(row, name) for loss in curve]
    return max((value for value in values if math.isfinite(value)), default=0.0)


def _panels(made: Any, rows: Sequence[BoardRow]) -> tuple[list[Any], list[BoardRow]]:
    from matplotlib.ticker import MaxNLocator

    ordered = sorted(rows, key=lambda row: -row.macro_f1)
    columns = columns_for(len(rows))
    height = {1: 40, 2: 28, 3: 22}[columns]
    set_height(made, 24 + height * math.ceil(len(rows) / columns))
    grid = panels(made, len(rows), columns)
    for axes, name in zip(grid, panel_names(ordered), strict=True):
        axes.set_title(name, fontsize=6, loc="left", pad=3)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.grid(True)
    for axes in lowest(grid, columns):
        axes.set_xlabel("epoch")
    set_title(made, title(rows))
    return grid, ordered


def _curves(row: BoardRow, name: str) -> list[tuple[list[int], list[float]]]:
    """Return epochs and values for each run of the row."""
    return [
        ([epoch.epoch for epoch in result.record.history], [getattr(epoch, name) for epoch in result.record.history])
        for result in row.results
        if result.scores
    ]


def _joined(curves: Sequence[tuple[list[int], list[float]]]) -> tuple[list[float], list[float]]:
    """Return curves as one with gaps, which is drawn as fast as one."""
    return (
        [epoch for epochs, _ in curves for epoch in (*epochs, math.nan)],
        [value for _, values in curves for value in (*values, math.nan)],
    )


def _mark_best(axes: Any, row: BoardRow, name: str) -> None:
    kept = [
        (epoch.epoch, getattr(epoch, name))
        for result in row.results
        if result.scores
        for epoch in result.record.history
        if epoch.epoch == result.record.best_epoch
    ]
    if kept:
        axes.plot(*zip(*kept, strict=True), "o", color=VALIDATION_COLOUR, markersize=3, zorder=3)
