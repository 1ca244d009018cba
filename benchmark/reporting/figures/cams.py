"""Where a row looks: image, lesion, heat map and prediction for right and wrong cases of each class."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.hashing import hash_json
from benchmark.reporting.board.board import Board, BoardRow
from benchmark.reporting.board.cam_scores import CAM_STEM
from benchmark.reporting.board.drawn_rows import drawn_rows
from benchmark.reporting.board.image_cases import Cases, HeatMap, cam_source, finest_first, heat_maps, scored_rows
from benchmark.reporting.figures.labels import full_names, shortened, wrapped
from benchmark.reporting.figures.overlays import draw_outline, grey, no_picture, outline, under_heat
from benchmark.reporting.figures.style import (
    DPI_OF_HEAT_MAPS,
    GREY,
    figure,
    remove_others,
    save,
    set_height,
    slug,
    title,
)

RIGHT_COLOUR, WRONG_COLOUR = "#0072B2", "#B84E00"
EACH = 2  # right and wrong cases of a class
MAX_CLASSES = 12  # more lines than these do not fit a page
_LONGEST = 20  # characters of a class above an image
WIDTH_MM = 180  # a double column

_GAP, _CAPTION, _LEFT = 0.25, 0.42, 1.1  # in cells: between cases, above each, for the names of classes


def cam_stems(rows: Sequence[BoardRow], number: int) -> dict[str, BoardRow]:
    """Return the names, without suffix, of a comparison group's pictures and the row that each is of: the best row
    first, those whose maps are too coarse last; of more rows than a reader can look through, the best.

    Args:
        rows: the rows of the comparison group.
        number: the position of the comparison group on the board, from 0.
    """
    scored = finest_first(drawn_rows(scored_rows(rows)))
    tail = f"_{slug(rows[0].block.comparison_group_name)}" if number else ""
    stems: dict[str, BoardRow] = {}
    for row, name in zip(scored, full_names(scored), strict=True):
        if any(result.cams is not None for result in row.results):
            stem = f"{CAM_STEM}_{slug(name)}{tail}"
            stems[f"{stem}-{row.first.row_key[:6]}" if stem in stems else stem] = row
    return stems


def write_cam_plots(board: Board, thumbnails: Mapping[str, Mapping[str, bytes]], out: Path) -> list[Path]:
    """Write a picture for each row that has maps; those of an earlier board are removed.

    Args:
        thumbnails: JPEGs by fingerprint and image id.
    """
    paths: list[Path] = []
    for number, rows in enumerate(board.comparison_groups()):
        stems = cam_stems(rows, number)
        cases = Cases.of(rows) if stems else None
        for stem, row in stems.items():
            assert cases is not None
            with figure(width_mm=WIDTH_MM) as made:
                draw_cams(made, cases, row, thumbnails.get(row.first.record.data.fingerprint, {}))
                paths += save(made, out, stem, DPI_OF_HEAT_MAPS)
    remove_others(out, f"{CAM_STEM}_", paths)
    return paths


def chosen(cases: Cases, row: BoardRow, maps: Mapping[str, HeatMap]) -> dict[int, tuple[list[int], list[int]]]:
    """Return for each class the numbers of the right and of the wrong cases that are shown.

    They are drawn by a hash of the image's id: the same for every row that reads alike, none picked for its looks.
    """
    number = cases.rows.index(row)
    order = sorted(
        (i for i, name in enumerate(cases.image_ids) if name in maps and cases.predicted[number, i] >= 0),
        key=lambda i: hash_json(cases.image_ids[i]),
    )
    shown = {}
    for label in range(len(cases.classes)):
        mine = [i for i in order if cases.labels[i] == label]
        right = [i for i in mine if cases.predicted[number, i] == label][:EACH]
        wrong = [i for i in mine if cases.predicted[number, i] != label][:EACH]
        shown[label] = right, wrong
    return shown


def draw_cams(made: Any, cases: Cases, row: BoardRow, thumbnails: Mapping[str, bytes]) -> None:
    """Draw a line of cases for each class: two that are right, two that are wrong, each as image and heat map."""
    maps = heat_maps(row)
    number = cases.rows.index(row)
    every = [(label, pair) for label, pair in chosen(cases, row, maps).items() if any(pair)]
    lines = every[:MAX_CLASSES]
    width = _LEFT + 2 * EACH * 2 + (2 * EACH - 1) * _GAP
    height = len(lines) * (1 + _CAPTION)
    set_height(made, 12 + height * WIDTH_MM / width)
    made.set_layout_engine("none")
    axes = made.add_axes((0.01, 0.01, 0.98, 1 - 10 / (12 + height * WIDTH_MM / width)))
    for line, (label, (right, wrong)) in enumerate(lines):
        top = line * (1 + _CAPTION) + _CAPTION
        axes.text(_LEFT - 0.08, top + 0.5, wrapped(cases.classes[label], 14), ha="right", va="center", fontsize=6.5)
        for column in range(2 * EACH):
            group, place = (right, column) if column < EACH else (wrong, column - EACH)
            left = _LEFT + column * (2 + _GAP)
            if place >= len(group):
                if not group and place == 0:
                    text = "none is right" if column < EACH else "none is wrong"
                    axes.text(left + 1, top + 0.5, text, ha="center", va="center", fontsize=6, color=GREY)
                continue
            i = group[place]
            _case(axes, left, top, maps[cases.image_ids[i]], thumbnails.get(cases.image_ids[i]))
            predicted = cases.predicted[number, i]
            answer = shortened(cases.classes[predicted], _LONGEST)
            axes.text(
                left,
                top - 0.06,
                f"says {answer} ({cases.probabilities[number, i, predicted]:.2f})",
                va="bottom",
                fontsize=6,
                color=RIGHT_COLOUR if column < EACH else WRONG_COLOUR,
            )
    axes.set_xlim(0, width)
    axes.set_ylim(height + 0.02, 0)
    axes.set_aspect("equal", anchor="NW")
    axes.set_axis_off()
    outlined = "; blue: lesion" if any(heat_map.lesion.any() for heat_map in maps.values()) else ""
    rest = f" {len(every) - len(lines)} more classes are not drawn." if len(every) > len(lines) else ""
    made.suptitle(
        f"{cases.names[number]} on {title([row])}\n"
        f"Heat maps of the class it says, from {cam_source(row)}{outlined}. Right cases, then wrong "
        f"ones, at random.{rest}",
        x=0.01,
        y=0.995,
        ha="left",
        va="top",
        fontsize=6.5,
    )


def _case(axes: Any, left: float, top: float, heat_map: HeatMap, jpeg: bytes | None) -> None:
    picture = None if jpeg is None else grey(jpeg)
    if picture is None:
        for shift in (0.0, 1.0):
            no_picture(axes, left + shift + 0.01, top, 0.98)
        return
    lines = outline(heat_map.lesion)
    for shift, shown in ((0.0, picture), (1.0, under_heat(picture, heat_map.heat))):
        axes.imshow(
            shown,
            extent=(left + shift + 0.01, left + shift + 0.99, top + 1, top),
            cmap="gray",
            vmin=0,
            vmax=255,
            interpolation="antialiased",
        )
        draw_outline(axes, lines, left + shift, top)
    if not heat_map.heat.any():
        axes.text(left + 1.5, top + 0.94, "the map is empty", ha="center", va="bottom", fontsize=5.5, color="white")
