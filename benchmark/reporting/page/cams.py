"""What the interactive leaderboard needs of Grad-CAM: maps, outlines of lesions, chosen cases."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmark.evaluation.cam_metrics import upsample
from benchmark.reporting.board.image_cases import Cases, HeatMap, cam_source, heat_maps
from benchmark.reporting.figures.cams import chosen
from benchmark.reporting.figures.overlays import Line, outline

MAP_BYTES = 1_500_000  # of all maps on a page
_LARGEST = 32  # pixels of a map's side; finer ones are shown coarser
_GRID = 200  # steps of an outline's coordinates


def cam_data(cases: Cases, budget: int) -> tuple[list[dict[str, Any] | None], dict[int, str]]:
    """Return for each row its maps, cases and facts (``None`` where it has none), and lesions' outlines by image.

    Args:
        cases: the test images of a comparison group.
        budget: bytes for its maps; where not all fit, those of the chosen cases and of wrong images come first.
    """
    maps_of_rows = [heat_maps(row) for row in cases.rows]
    place = {name: number for number, name in enumerate(cases.image_ids)}
    lesions = {
        place[name]: svg_path(outline(heat_map.lesion))
        for maps in reversed(maps_of_rows)
        for name, heat_map in maps.items()
        if name in place and heat_map.lesion.any()
    }
    share = budget // max(1, sum(bool(maps) for maps in maps_of_rows))
    return [_row(cases, number, maps, share) if maps else None for number, maps in enumerate(maps_of_rows)], lesions


def _row(cases: Cases, number: int, maps: Mapping[str, HeatMap], budget: int) -> dict[str, Any]:
    row = cases.rows[number]
    shown = chosen(cases, row, maps)
    first = [i for pair in shown.values() for numbers in pair for i in numbers]
    wrong = np.flatnonzero(cases.wrong[number]).tolist()
    encoded: dict[int, str] = {}
    size = (0, 0)
    for i in dict.fromkeys([*first, *wrong, *range(len(cases.image_ids))]):
        heat_map = maps.get(cases.image_ids[i])
        if heat_map is None or heat_map.heat.size > budget:
            continue
        heat = heat_map.heat if max(heat_map.heat.shape) <= _LARGEST else upsample(heat_map.heat[None], _LARGEST)[0]
        budget -= heat.size
        size = heat.shape[0], heat.shape[1]
        encoded[i] = base64.b64encode(np.round(heat * 255).astype(np.uint8).tobytes()).decode("ascii")
    facts = row.first.record.cam
    return {
        "source": cam_source(row),
        "size": size,
        "maps": encoded,
        "cases": [{"right": right, "wrong": wrong} for right, wrong in (shown[c] for c in range(len(cases.classes)))],
        "randomized": [] if facts is None else [[step.stage, step.correlation] for step in facts.randomized],
    }


def svg_path(lines: Sequence[Line]) -> str:
    """Return outlines as the ``d`` of an SVG path on a grid of 200 x 200."""
    parts = []
    for line in lines:
        points = dict.fromkeys((round(x * _GRID), round(y * _GRID)) for x, y in line)
        parts.append("M" + "L".join(f"{x} {y}" for x, y in points) + "Z")
    return "".join(parts)
