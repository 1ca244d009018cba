"""Macro-F1 against inference throughput, with memory as size and the Pareto front."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmark.reporting.board.board import BoardRow
from benchmark.reporting.board.column import number
from benchmark.reporting.board.drawn_rows import MOST_DRAWN
from benchmark.reporting.figures.labels import place_labels, short_names
from benchmark.reporting.figures.style import (
    FRAMEWORK_MARKERS,
    GREY,
    fitted,
    library_colours,
    plain_log_ticks,
    set_height,
    title,
)

_LARGEST, _SMALLEST = 11.0, 2.5  # diameters of markers, in points
_PLAIN = 5.0
_BESIDE = 0.82  # share of a figure's width that is left beside the axis of scores
_MOST_NAMED = 8  # rows with a name among very many points
FRONT_COLOUR, DASHES = "#999999", (0, (4, 2))


def by_speed_block(rows: Sequence[BoardRow]) -> list[list[BoardRow]]:
    """Return the rows that have a throughput, in lists within which speeds can be compared."""
    blocks: dict[str, list[BoardRow]] = {}
    for row in rows:
        if "infer_images_per_s" in row.values and "speed_block" in row.values:
            blocks.setdefault(row.values["speed_block"], []).append(row)
    return list(blocks.values())


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points that no other beats in one coordinate without losing in the other, by the first."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(set(points), reverse=True):
        if not front or y > front[-1][1]:
            front.append((x, y))
    return front[::-1]


def draw_speed(made: Any, rows: Sequence[BoardRow]) -> None:
    """Draw rows of one speed block; throughput is on a logarithmic axis.

    Of more rows than have room for a name, the Pareto front and the best have one, and their intervals.
    """
    set_height(made, 84)
    axes = made.add_subplot()
    colours = library_colours([row.values["library"] for row in rows])
    points = [(float(row.values["infer_images_per_s"]), row.macro_f1) for row in rows]
    memories = [row.values.get("peak_memory_mb") for row in rows]
    largest = max((memory for memory in memories if memory), default=None)
    sizes = [_diameter(memory, largest) for memory in memories]
    front = pareto_front(points)
    axes.step(*zip(*front, strict=True), where="pre", color=FRONT_COLOUR, linewidth=0.8, linestyle=DASHES, zorder=1)
    named = _named(rows, points, front)
    _plain_points(axes, rows, points, sizes, colours, named)
    shown = [each for each in zip(rows, points, sizes, strict=True) if id(each[0]) in named]
    for row, (x, y), size in sorted(shown, key=lambda item: -item[2]):
        colour = colours[row.values["library"]]
        axes.errorbar(
            x,
            y,
            yerr=_reach(row, y),
            marker=FRAMEWORK_MARKERS.get(row.values["framework"], "D"),
            markersize=size,
            color=colour,
            markerfacecolor=(colour, 0.5 if row.block.pretrained else 0.0),  # what lies below shows through
            markeredgecolor=colour,
            markeredgewidth=0.6 if row.block.pretrained else 0.9,
            elinewidth=0.7,
            ecolor=(colour, 0.7),
        )
    axes.set_xscale("log")
    axes.margins(x=0.12, y=0.1)
    plain_log_ticks(axes.xaxis, [x for x, _ in points])
    measured = f"inference throughput (images/s, log scale)\n{rows[0].values['speed_block']}"
    axes.set_xlabel(fitted(made, measured, 7, _BESIDE))
    axes.set_ylabel("macro-F1, with 95 % interval")
    axes.grid(True)
    further = len(rows) - len(shown)
    heading = title(rows) + (_FEW_NAMED.format(named=len(shown), rows=len(rows)) if further else "")
    axes.set_title(fitted(made, heading, 7.5, _BESIDE), loc="left")
    _legend(made, rows, colours, largest, front=len(front) > 1)
    made.draw_without_rendering()
    made.set_layout_engine("none")  # from here the axes keep their place
    rows, points = [row for row, *_ in shown], [point for _, point, _ in shown]
    texts = [colours[row.values["library"]] for row in rows]
    radii = [size / 2 for *_, size in shown]
    place_labels(axes, points, short_names(rows), texts, radii, _along(front) + _bars(rows, points))


_FEW_NAMED = "\n{rows} rows; named: {named}, the front and the best"


def _named(
    rows: Sequence[BoardRow], points: Sequence[tuple[float, float]], front: Sequence[tuple[float, float]]
) -> set[int]:
    """Return by identity the rows that have room for a name and an interval: those of the front, then the best."""
    ahead = set(front)
    order = sorted(zip(rows, points, strict=True), key=lambda each: (each[1] not in ahead, -each[0].macro_f1))
    return {id(row) for row, _ in (order if len(rows) <= MOST_DRAWN else order[:_MOST_NAMED])}


def _plain_points(
    axes: Any,
    rows: Sequence[BoardRow],
    points: Sequence[tuple[float, float]],
    sizes: Sequence[float],
    colours: dict[str, str],
    named: set[int],
) -> None:
    """Draw the rows that have no name: pale, behind the others, all that look alike at once."""
    from matplotlib.colors import to_hex

    alike: dict[tuple[str, str, bool], list[tuple[float, float, float]]] = {}
    for row, point, size in zip(rows, points, sizes, strict=True):
        if id(row) not in named:
            look = FRAMEWORK_MARKERS.get(row.values["framework"], "D"), colours[row.values["library"]]
            alike.setdefault((*look, bool(row.block.pretrained)), []).append((*point, (size / 2) ** 2))
    for (marker, colour, filled), places in alike.items():
        x, y, areas = zip(*places, strict=True)
        # as text: of any sequence that is as long as the points matplotlib takes an entry for each
        face, edge = (to_hex((colour, alpha), keep_alpha=True) for alpha in (0.2, 0.35))
        axes.scatter(
            x,
            y,
            areas,
            marker=marker,
            facecolors=face if filled else "none",
            edgecolors=edge,
            linewidths=0.5,
            zorder=1,
        )


def _reach(row: BoardRow, value: float) -> list[list[float]] | None:
    """Return how far the 95 % interval reaches below and above the score."""
    interval = row.intervals.get("macro_f1")
    return None if interval is None else [[value - interval.low], [interval.high - value]]


def _bars(rows: Sequence[BoardRow], points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return points along the bars of the intervals."""
    # a row that answers one class for every image has no interval
    ends = [
        (x, bounds) for row, (x, _) in zip(rows, points, strict=True) if (bounds := row.intervals.get("macro_f1"))
    ]
    return [(x, float(y)) for x, interval in ends for y in np.linspace(interval.low, interval.high, 30)]


def _along(front: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return points along the steps of the front."""
    points: list[tuple[float, float]] = []
    for (x0, y0), (x1, y1) in itertools.pairwise(front):
        points += [(x0, float(y)) for y in np.linspace(y0, y1, 40)]
        points += [(float(x), y1) for x in np.geomspace(x0, x1, 40)]
    return points


def _diameter(memory: float | None, largest: float | None) -> float:
    """Return a marker's diameter in points: its area is proportional to memory."""
    if not memory or not largest:
        return _PLAIN
    return max(_SMALLEST, _LARGEST * math.sqrt(memory / largest))


def _legend(
    made: Any, rows: Sequence[BoardRow], colours: dict[str, str], largest: float | None, *, front: bool
) -> None:
    from matplotlib.lines import Line2D

    def entry(label: str, marker: str, colour: str, fill: str, size: float = 4) -> Any:
        return Line2D([], [], label=label, marker=marker, color=colour, markerfacecolor=fill, ls="", markersize=size)

    entries = [
        entry(name if len(name) <= 16 else f"{name[:15]}…", "o", colour, colour) for name, colour in colours.items()
    ]
    frameworks = sorted({row.values["framework"] for row in rows})
    entries += [entry(f"runs on {name}", FRAMEWORK_MARKERS.get(name, "D"), GREY, GREY) for name in frameworks]
    if any(row.block.pretrained is False for row in rows):
        entries.append(entry("from scratch", "o", GREY, "white"))
    if front:
        entries.append(Line2D([], [], label="Pareto front", color=FRONT_COLOUR, linewidth=0.8, linestyle=DASHES))
    if largest:
        step = round_down(largest)
        entries += [
            entry(
                f"{number(memory / 1000)} GB" if memory >= 1000 else f"{number(memory)} MB",
                "o",
                "#AAAAAA",
                "#AAAAAA",
                _diameter(memory, largest),
            )
            for memory in (step, step / 4)
        ]
    made.legend(handles=entries, loc="outside lower center", ncols=4, columnspacing=1.0, handlelength=1.4)


def round_down(value: float) -> float:
    """Return the largest of 1, 2, 4, 8 times a power of ten that is not above ``value``."""
    power = 10.0 ** math.floor(math.log10(value))
    return max(step for step in (power, 2 * power, 4 * power, 8 * power) if step <= value)
