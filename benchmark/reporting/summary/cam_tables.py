"""Where the rows of a comparison group look, as tables: scores with their ceiling, differences, right and wrong."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.evaluation.cam_metrics import BASELINES, ENERGY, IOU, POINTING, SCORES
from benchmark.reporting.board.board import BoardRow
from benchmark.reporting.board.cam_scores import IMAGES, RANDOMIZED, SIDES, references
from benchmark.reporting.board.column import Column
from benchmark.reporting.board.columns import named
from benchmark.reporting.board.image_cases import cam_source
from benchmark.reporting.figures.labels import full_names


@dataclass(frozen=True)
class Cell:
    """What a cell shows: a value, and both ends of its interval or nothing."""

    text: str
    interval: str = ""


@dataclass(frozen=True)
class Line:
    """A line of a table; one of a reference is set apart from those of rows."""

    cells: tuple[Cell, ...]
    reference: bool = False


@dataclass(frozen=True)
class CamTable:
    """One table.

    Args:
        caption: what it holds, a sentence.
        head: its headings.
        lines: as many cells each.
    """

    caption: str
    head: tuple[str, ...]
    lines: tuple[Line, ...]


SCORED = "Scores of the maps, and below them of the lesion itself and of maps that know nothing, at the same size."
DIFFERENCES = "Scores less those of maps that know nothing, paired by image; above 0 the row does better."
APART = "Scores where the prediction is right, and where it is wrong."


def cam_tables(rows: Sequence[BoardRow], dash: str = "-") -> list[CamTable]:
    """Return the tables of a comparison group's maps; empty without any score.

    Args:
        rows: those with scores.
        dash: between both ends of an interval.
    """
    scored = {name: row for name, row in zip(full_names(rows), rows, strict=True) if IMAGES in row.values}
    if not scored:
        return []
    judged = {name: row for name, row in scored.items() if POINTING in row.values}
    tables = [_scores(scored, dash)]
    if judged:
        tables += [_differences(judged, dash), _apart(judged, dash)]
    return tables


def coarse_notes(rows: Sequence[BoardRow]) -> list[str]:
    """Return why the maps of some rows have no scores, a sentence for each size of map."""
    names_of: dict[str, list[str]] = {}
    for name, row in zip(full_names(rows), rows, strict=True):
        scores = row.first.cam_scores
        if scores is not None and scores.coarse:
            high, wide = scores.shape
            pointing, energy, iou = (row.values[f"{score}_oracle"] for score in (POINTING, ENERGY, IOU))
            text = (
                f"maps of {high} x {wide} pixels are too coarse for scores: the lesion itself, averaged to that "
                f"size, reaches pointing {pointing:.3f}, energy {energy:.3f}, IoU {iou:.3f}."
            )
            names_of.setdefault(text, []).append(name)
    return [f"{', '.join(names)}: {text}" for text, names in names_of.items()]


def _cells(row: BoardRow, columns: Sequence[Column], dash: str) -> tuple[Cell, ...]:
    return tuple(
        Cell(column.text(row.values.get(column.name)), column.ends(row.intervals.get(column.name), dash))
        for column in columns
    )


def _scores(rows: dict[str, BoardRow], dash: str) -> CamTable:
    checked = any(RANDOMIZED in row.values for row in rows.values())
    *columns, randomized = named(*SCORES, IMAGES, RANDOMIZED)
    lines = [
        Line(
            (
                Cell(name),
                *_cells(row, columns, dash),
                Cell(cam_source(row)),
                *(_cells(row, [randomized], dash) if checked else ()),
            )
        )
        for name, row in rows.items()
    ]
    of_rows = {
        name: ([run.cam_scores for run in row.results if run.cam_scores], row.values) for name, row in rows.items()
    }
    for each in references(of_rows):
        means = {**each.means, IMAGES: each.images}
        texts = [each.name, *(column.text(means[column.name]) for column in columns), *[""] * (1 + checked)]
        lines.append(Line(tuple(map(Cell, texts)), reference=True))
    head = ("backbone", *(column.title for column in columns), "map", *([randomized.title] if checked else []))
    return CamTable(SCORED, head, tuple(lines))


def _differences(rows: dict[str, BoardRow], dash: str) -> CamTable:
    lines = [
        Line((Cell(name), Cell(baseline), *_cells(row, named(*(f"{score}_less_{end}" for score in SCORES)), dash)))
        for name, row in rows.items()
        for baseline, end in BASELINES.items()
        if f"{POINTING}_less_{end}" in row.values
    ]
    return CamTable(DIFFERENCES, ("backbone", "less", *(column.title for column in named(*SCORES))), tuple(lines))


def _apart(rows: dict[str, BoardRow], dash: str) -> CamTable:
    lines = [
        Line((Cell(name), Cell(side), *_cells(row, named(*(f"{each}_{side}" for each in (*SCORES, IMAGES))), dash)))
        for name, row in rows.items()
        for side in SIDES
    ]
    titles = [column.title for column in named(*SCORES, IMAGES)]
    return CamTable(APART, ("backbone", "predictions", *titles), tuple(lines))
