"""Strata as a figure: recall of each stratum with its interval, and what its classes alone would give."""

from typing import Any

import numpy as np

from benchmark.evaluation.intervals import Interval
from benchmark.reporting.breakdown.strata import Strata
from benchmark.reporting.figures.labels import wrapped
from benchmark.reporting.figures.style import GREY, explain, set_height, set_title, title

STEM = "plot_strata"
MOST_ROWS = 4  # of the comparison group, the best first
_COLOURS = ("#0072B2", "#B84E00", "#007A5A", "#9E4A7E")  # as of libraries: letters in them can be read on white


def draw_strata(made: Any, strata: Strata) -> None:
    """Draw a panel for each facet: strata from the worst down, the rows of each side by side."""
    facets, count = strata.facets, min(MOST_ROWS, len(strata.rows))
    names = [[_in_lines(name) for name in facet.names] for facet in facets]
    heights = [len(each) * max(1.6 + 2.6 * count, 8.0) + 7 for each in names]
    set_height(made, 18 + sum(heights) + 4 * count)
    grid = made.subplots(len(facets), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axes, facet, labels in zip(grid, facets, names, strict=True):
        for k, (stratified, colour) in enumerate(zip(facet.rows[:count], _COLOURS, strict=False)):
            at = np.arange(len(labels)) + (k - (count - 1) / 2) * 0.72 / count
            recall = np.array([each.recall for each in stratified.strata])
            ends = [each.interval or Interval(each.recall, each.recall) for each in stratified.strata]
            low, high = np.array([each.low for each in ends]), np.array([each.high for each in ends])
            axes.hlines(at, low, high, color=colour, linewidth=1.0)
            axes.plot(recall, at, "o", color=colour, markersize=3, label=strata.names[k])
            expected = [each.expected for each in stratified.strata]
            axes.plot(expected, at, "|", color=GREY, markersize=5, markeredgewidth=1.0, label="_expected")
        sizes = [f"{each.images} images, {each.clusters} patients" for each in facet.rows[0].strata]
        if not strata.rows[0].first.record.data.grouped:
            sizes = [f"{each.images} images" for each in facet.rows[0].strata]
        axes.set_yticks(range(len(labels)), [f"{a}\n{b}" for a, b in zip(labels, sizes, strict=True)], fontsize=5.5)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_title(facet.title, loc="left", fontsize=6.5)
        axes.grid(axis="x")
    grid[-1].set_xlabel("recall (share of images read as their class)")
    set_title(made, title(strata.rows))
    handles, texts = grid[0].get_legend_handles_labels()
    more = f"; {len(strata.rows) - count} more rows in strata.csv" if len(strata.rows) > count else ""
    note = f"Bars: 95 % intervals. Grey ticks: expected from the classes{more}."
    explain(made, note, handles, [wrapped(text, 40) for text in texts])


def _in_lines(name: str) -> str:
    """Return a stratum's name in lines, the bounds of a third in one of their own."""
    head, bracket, bounds = name.partition(" (")
    return wrapped(head, 26) + (f"\n({bounds}" if bracket else "")
