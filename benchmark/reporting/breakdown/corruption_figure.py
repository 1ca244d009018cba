"""Spoilt images as a figure: macro-F1 by severity, a panel for each corruption, a line for each row."""

import math
from typing import Any

import numpy as np

from benchmark.draws.corruptions import SEVERITIES
from benchmark.reporting.breakdown.corruptions import Robustness
from benchmark.reporting.figures.labels import wrapped
from benchmark.reporting.figures.style import LINE_STYLES, explain, lowest, panels, set_height, set_title, title

STEM = "plot_corruptions"
MOST_ROWS = len(LINE_STYLES)  # the best first


def draw_corruptions(made: Any, robustness: Robustness) -> None:
    """Draw a panel for each corruption, and one for their mean; severity 0 is the images as they are."""
    count = min(MOST_ROWS, len(robustness.rows))
    names = robustness.titles + (["mean of all"] if len(robustness.titles) > 1 else [])
    columns = min(2, len(names))
    set_height(made, 22 + 25 * math.ceil(len(names) / columns) + 5 * math.ceil(count / 2))
    grid = panels(made, len(names), columns)
    severities = np.arange(SEVERITIES + 1)
    for k, (axes, name) in enumerate(zip(grid, names, strict=True)):
        for row, label, scores, style in zip(
            robustness.rows, robustness.names, robustness.scores, LINE_STYLES, strict=False
        ):
            values = scores.macro_f1[k] if k < len(robustness.titles) else scores.macro_f1.mean(axis=0)
            axes.plot(severities, [row.macro_f1, *values], label=label, markersize=2.5, **style)
        axes.set_title(name, fontsize=6.5, loc="left", pad=3)
        axes.set_xticks(severities)
        axes.set_ylim(0, 1)
        axes.grid(True)
    for axes in lowest(grid, columns):
        axes.set_xlabel("severity")
    rest = len(robustness.rows) - count
    made.supylabel("macro-F1", fontsize=7)
    set_title(made, title(robustness.rows))
    handles, texts = grid[0].get_legend_handles_labels()
    more = f"\nThe best {count} of {len(robustness.rows)} rows; all stand in corruptions.csv." if rest else ""
    labels = [wrapped(text, 26) for text in texts]
    note = f"Severity 0: images as they are.{more}"
    explain(made, note, handles, labels, alignment="left", ncols=2 if count > 1 else 1)
