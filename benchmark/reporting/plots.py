"""The plots of a board, as PNG and SVG."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark.reporting.board import Board, BoardRow
from benchmark.reporting.labels import place_labels, short_names
from benchmark.reporting.style import FRAMEWORK_MARKERS, GREY, figure, library_colours, plain_log_ticks, save, slug

SPEED = "plot_macro_f1_vs_throughput"
MARKER_SIZE = 5.0  # points


def write_plots(board: Board, out: Path) -> list[Path]:
    """Write every plot that the board has data for; plots of an earlier board are removed.

    Returns:
        The paths written, PNG and SVG.
    """
    paths: list[Path] = []
    for rows in board.arenas():
        for members in _by_speed_block(rows):
            stem = SPEED if not paths else f"{SPEED}_{_arena_slug(members)}"
            with figure(height_mm=76) as made:
                draw_speed(made, members)
                paths += save(made, out, stem)
    for stem in (SPEED,):
        for old in [*out.glob(f"{stem}*.png"), *out.glob(f"{stem}*.svg")]:
            if old not in paths:
                old.unlink()
    return paths


def draw_speed(made: Any, rows: Sequence[BoardRow]) -> None:
    """Draw macro-F1 against inference throughput on a logarithmic axis; all rows are of one speed block."""
    axes = made.add_subplot()
    colours = library_colours([row.values["library"] for row in rows])
    points = [(float(row.values["infer_images_per_s"]), row.macro_f1) for row in rows]
    for row, (x, y) in zip(rows, points, strict=True):
        colour = colours[row.values["library"]]
        axes.errorbar(
            x,
            y,
            yerr=row.spread.get("macro_f1"),
            marker=FRAMEWORK_MARKERS.get(row.values["framework"], "D"),
            markersize=MARKER_SIZE,
            color=colour,
            markerfacecolor=colour if row.block.pretrained else "white",
            markeredgewidth=0.9,
            elinewidth=0.6,
        )
    axes.set_xscale("log")
    axes.margins(x=0.12, y=0.1)
    plain_log_ticks(axes.xaxis)
    axes.set_xlabel(f"inference throughput (images/s, log scale)\n{rows[0].values['speed_block']}")
    axes.set_ylabel("macro-F1")
    axes.grid(True)
    axes.set_title(title(rows), loc="left")
    _legend(made, rows, colours)
    made.draw_without_rendering()
    made.set_layout_engine("none")  # from here the axes keep their place
    texts = [colours[row.values["library"]] for row in rows]
    place_labels(axes, points, short_names(rows), texts, [MARKER_SIZE / 2] * len(rows))


def title(rows: Sequence[BoardRow]) -> str:
    """Say which data a plot is of, and that they are synthetic where they are."""
    data = rows[0].first.record.data
    limit = "" if data.limit is None else f", {data.limit} images"
    synthetic = " (synthetic images)" if data.synthetic else ""
    return f"{data.name}, {rows[0].first.split}{limit}{synthetic}"


def _legend(made: Any, rows: Sequence[BoardRow], colours: dict[str, str]) -> None:
    from matplotlib.lines import Line2D

    def entry(label: str, marker: str, colour: str, fill: str) -> Any:
        return Line2D([], [], label=label, marker=marker, color=colour, markerfacecolor=fill, ls="", markersize=4)

    entries = [entry(name, "o", colour, colour) for name, colour in colours.items()]
    frameworks = dict.fromkeys(row.values["framework"] for row in rows)
    entries += [entry(f"runs on {name}", FRAMEWORK_MARKERS.get(name, "D"), GREY, GREY) for name in frameworks]
    if any(row.block.pretrained is False for row in rows):
        entries.append(entry("from scratch", "o", GREY, "white"))
    made.legend(handles=entries, loc="outside lower center", ncols=4, columnspacing=1.0)


def _by_speed_block(rows: Sequence[BoardRow]) -> list[list[BoardRow]]:
    blocks: dict[str, list[BoardRow]] = {}
    for row in rows:
        if "infer_images_per_s" in row.values and "speed_block" in row.values and not math.isnan(row.macro_f1):
            blocks.setdefault(row.values["speed_block"], []).append(row)
    return list(blocks.values())


def _arena_slug(rows: Sequence[BoardRow]) -> str:
    return slug(f"{rows[0].block.name} {rows[0].values['speed_block']}")
