"""What each row misses: false negatives of both kinds by class, and confusion matrices."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmark.reporting.board.board import BoardRow
from benchmark.reporting.board.column import count, number
from benchmark.reporting.figures.labels import full_names, panel_names, shortened, wrapped
from benchmark.reporting.figures.style import GREY, columns_for, explain, lowest, panels, set_height, set_title, title

FN_COLOUR, MISSED_COLOUR = "#9EC4DE", "#B84E00"
MAX_PANELS = 8  # more don't fit a page: then the classes are lines of one table
_LONGEST = 16  # characters of a class that can stand aslant below a matrix
_NUMBERED = 20  # classes; beyond, not every column has its number, and cells have no counts
_PITCH, _LINE, _LEAST = 3.2, 2.0, 2.3  # mm: of a line of the table or matrix, of each further line of its name
_MOST_ROWS = 4  # matrices of so many classes


def draw_false_negatives(made: Any, rows: Sequence[BoardRow]) -> None:
    """Draw for each class (panel) and row (bar) the share of its images that are not predicted as it, and in it
    the share that is predicted as the negative class. The counts stand beside the bars: all, then missed.
    """
    from matplotlib.patches import Patch

    data = rows[0].first.record.data
    names = data.class_names
    if len(names) > MAX_PANELS:
        _draw_table(made, rows)
        return
    ordered = sorted(rows, key=lambda row: row.macro_f1)
    columns = 2
    lines = math.ceil(len(names) / columns)
    names_of_rows = [wrapped(name, 28) for name in full_names(ordered)]
    pitch = 3.1 + 2.2 * max(name.count("\n") for name in names_of_rows)
    headings = [wrapped(f"{name} (of {number(ordered[0].values[f'support_{name}'])})", 34) for name in names]
    heading = 7 + 2.6 * max(text.count("\n") for text in headings)
    set_height(made, 22 + lines * (heading + pitch * len(rows)))
    grid = made.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    shares = [
        100 * row.values.get(f"fn_{name}", 0) / max(1, row.values[f"support_{name}"])
        for row in rows
        for name in names
    ]
    limit = max(*shares, 1.0) * 1.45  # room for the counts
    for axes, name, text in zip(grid.flat, names, headings, strict=False):
        for y, row in enumerate(ordered):
            support, lost = row.values[f"support_{name}"], row.values.get(f"fn_{name}")
            if lost is None:  # no test image has the class
                continue
            missed = row.values.get(f"missed_{name}")
            axes.barh(y, 100 * lost / support, height=0.72, color=FN_COLOUR)
            axes.barh(y, 100 * (missed or 0) / support, height=0.72, color=MISSED_COLOUR)
            counts = count(lost) if missed is None else f"{count(lost)} ({count(missed)})"
            axes.annotate(
                counts,
                (100 * lost / support, y),
                xytext=(2, 0),
                textcoords="offset points",
                va="center",
                fontsize=5.5,
            )
        axes.set_title(text, loc="left", fontsize=6.5)
        axes.set_yticks(range(len(ordered)), names_of_rows, fontsize=6)
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0, limit)
        axes.grid(True, axis="x")
    for axes in list(grid.flat)[len(names) :]:
        axes.set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel("% of its images")
    set_title(made, title(rows))
    entries = [Patch(color=FN_COLOUR, label="false negatives: not predicted as the class")]
    if data.negative_class is not None:
        entries.append(
            Patch(color=MISSED_COLOUR, label=f"of these, missed: predicted as {data.negative_class} (in brackets)")
        )
    made.legend(handles=entries, loc="outside lower center", ncols=1)


def _draw_table(made: Any, rows: Sequence[BoardRow]) -> None:
    """Draw false negatives of many classes: a line for each class, a column for each row, counts shaded by share."""
    data = rows[0].first.record.data
    ordered = sorted(rows, key=lambda row: -row.macro_f1)
    supports = [int(ordered[0].values.get(f"support_{name}", 0)) for name in data.class_names]
    lines = [wrapped(f"{name} (of {n})", 40) for name, n in zip(data.class_names, supports, strict=True)]
    lost = np.array(
        [[row.values.get(f"fn_{name}", np.nan) for row in ordered] for name in data.class_names], dtype=float
    )
    shares = lost / np.maximum(1, supports)[:, None]
    heights = np.array([_PITCH + _LINE * name.count("\n") for name in lines])
    heads = [wrapped(name, 18) for name in full_names(ordered)]
    set_height(made, 30 + heights.sum() + 2.2 * max(map(len, heads)) * 0.5)
    axes = made.subplots()
    ends = np.concatenate([[0.0], np.cumsum(heights)])
    shade = axes.pcolormesh(
        np.arange(len(ordered) + 1), ends, shares, cmap="Blues", vmin=0, vmax=1.15, ec="white", lw=0.6
    )
    for (i, k), count_lost in np.ndenumerate(lost):
        if np.isnan(count_lost) or not supports[i]:
            continue
        missed = ordered[k].values.get(f"missed_{data.class_names[i]}")
        colour = "white" if needs_white(shade.to_rgba(shares[i, k])) else "black"
        text = count(count_lost) + ("" if missed is None else f" ({count(missed)})")
        axes.text(k + 0.5, (ends[i] + ends[i + 1]) / 2, text, ha="center", va="center", fontsize=5, color=colour)
    axes.set_yticks((ends[:-1] + ends[1:]) / 2, lines, fontsize=5)
    axes.set_xticks(np.arange(len(ordered)) + 0.5, heads, fontsize=5, rotation=90 if len(ordered) > 4 else 0)
    axes.xaxis.tick_top()
    axes.set_ylim(ends[-1], 0)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    set_title(made, title(rows))
    also = "" if data.negative_class is None else f" In brackets those predicted as {data.negative_class}."
    explain(made, f"Test images that are not predicted as their class;\nshade: their share.{also}")


def needs_white(ground: Sequence[float]) -> bool:
    """Return whether white letters have more contrast than black ones on a colour (relative luminance, WCAG 2.1).

    Args:
        ground: red, green and blue, 0 to 1.
    """
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in ground[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return bool(1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05)


def draw_confusion_matrices(made: Any, rows: Sequence[BoardRow]) -> None:
    """Draw a matrix for each row: counts, shaded by the share of the true class; runs of a row are summed."""
    from matplotlib.patches import Rectangle

    data = rows[0].first.record.data
    names = data.class_names
    negative = data.negative
    # names that are long or many stand beside their lines, numbered; below the columns stand the numbers
    numbered = len(names) > MAX_PANELS or max(map(len, names)) > _LONGEST
    whole = len(names) <= _NUMBERED
    lines_of_names = [
        wrapped(f"{k}  {name}", 34) if whole else f"{k}  {shortened(name, 32)}"
        for k, name in enumerate(names, start=1)
    ]
    left_out = max(0, len(rows) - _MOST_ROWS) if numbered else 0
    rows = sorted(rows, key=lambda row: -row.macro_f1)[: len(rows) - left_out]
    columns = 1 if numbered else columns_for(len(rows), 3 if len(names) <= 5 else 2)
    side = 72 / columns if columns > 1 else 50
    if numbered:
        pitch = (_PITCH if whole else _LEAST) + _LINE * max(name.count("\n") for name in lines_of_names)
        side = max(side, len(names) * pitch)
    lines = math.ceil(len(rows) / columns)
    ragged = lines > 1 and len(rows) % columns > 0  # then names of classes stand below an upper line too
    set_height(made, 24 + lines * (side + 6) + 18 * ragged)
    grid = panels(made, len(rows), columns)
    for axes, row, name in zip(grid, rows, panel_names(rows), strict=True):
        matrix = np.sum([result.scores.test.confusion for result in row.results if result.scores], axis=0)
        shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
        shade = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.15)
        axes.set_title(name, fontsize=6, pad=3)
        if numbered:
            axes.set_aspect("auto")
            every = -(-len(names) // _NUMBERED)  # of so many only each second or third number has room
            shown = range(0, len(names), every)
            axes.set_xticks(shown, [str(k + 1) for k in shown], fontsize=4.5)
            axes.set_yticks(range(len(names)), lines_of_names, fontsize=4.8)
        else:
            axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=5.5)
            axes.set_yticks(range(len(names)), names, fontsize=5.5)
        axes.tick_params(length=0, pad=1.5)
        axes.spines[:].set_visible(False)
        if negative is not None:
            for i in range(len(names)):
                if i != negative:
                    box = Rectangle(
                        (negative - 0.5, i - 0.5), 1, 1, fill=False, edgecolor=MISSED_COLOUR, linewidth=0.7
                    )
                    axes.add_patch(box)
        if len(names) <= _NUMBERED:
            for (i, j), cell in np.ndenumerate(matrix):
                colour = "white" if needs_white(shade.to_rgba(shares[i, j])) else GREY if cell == 0 else "black"
                axes.text(
                    j, i, str(cell), ha="center", va="center", fontsize=5.5 if len(names) <= 12 else 4, color=colour
                )
    runs = max(row.values["n_runs"] for row in rows)
    summed = ", runs of a row summed" if runs > 1 else ""
    framed = "" if negative is None else "; framed: missed tumours"
    rest = f"\n{left_out} more rows are on the page." if left_out else ""
    set_title(made, title(rows))
    for axes in grid[::columns]:
        axes.set_ylabel("true class")
    for axes in lowest(grid, columns):
        axes.set_xlabel("predicted class")
    explain(made, f"Test images{summed}.\nShade: share of the true class{framed}.{rest}")
