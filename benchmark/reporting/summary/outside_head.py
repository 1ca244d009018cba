"""Whether heat maps lie on the head at all: a sentence with a figure, and a table."""

from collections.abc import Sequence
from statistics import fmean

from benchmark.reporting.board.board import BoardRow
from benchmark.reporting.board.columns import named
from benchmark.reporting.board.image_cases import cam_source, finest_first
from benchmark.reporting.breakdown.part import Part, PartTable
from benchmark.reporting.figures.head_masks import OUTSIDE, OUTSIDE_UNIFORM
from benchmark.reporting.figures.labels import full_names


def outside_head(rows: Sequence[BoardRow]) -> Part | None:
    """Return how much of the heat maps of a comparison group's rows lies outside the head: a sentence with the least
    and the largest share, and a table with a line for each row, those whose maps are too coarse last.

    ``None`` where there is no map, or no head can be told.
    """
    names = {id(row): name for row, name in zip(rows, full_names(rows), strict=True)}
    measured = [row for row in finest_first(rows) if OUTSIDE in row.values]
    if not measured:
        return None
    columns = named(OUTSIDE, OUTSIDE_UNIFORM)
    lines = [
        [names[id(row)], *(column.text(row.values.get(column.name)) for column in columns), cam_source(row)]
        for row in measured
    ]
    least, most = (extreme(measured, key=lambda row: row.values[OUTSIDE]) for extreme in (min, max))
    text = f"{_percent(least.values[OUTSIDE])} ({names[id(least)]})"
    if most is not least:
        text += f" to {_percent(most.values[OUTSIDE])} ({names[id(most)]})"
    uniform = fmean(row.values[OUTSIDE_UNIFORM] for row in measured)
    text = (
        f"Of the heat maps' energy {text} lies outside the head, where no tumour can be; of a map that is the same "
        f"everywhere it would be {_percent(uniform)}. The head is found in the small pictures, by its brightness."
    )
    head = ["backbone", *(column.title for column in columns), "map"]
    table = PartTable(head, lines, (head[0], head[-1]), "Share of heat maps outside the head")
    return Part("Heat maps outside the head", text, (table,))


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
