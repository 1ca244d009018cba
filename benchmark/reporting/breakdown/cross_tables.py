"""The cross matrix for people, as tables of Markdown and of the page."""

from collections.abc import Sequence
from typing import Any

from benchmark.reporting.breakdown.cross_figure import STEM
from benchmark.reporting.breakdown.cross_matrix import READING, TITLE, Cell, CrossMatrix
from benchmark.reporting.documents.markdown_cells import bullets, escaped, table

CORNER = "trained on"


def cross_markdown(matrices: Sequence[CrossMatrix]) -> list[str]:
    """Return the section of ``leaderboard.md``, nothing where nothing was crossed."""
    if not matrices:
        return []
    parts = [f"## {TITLE}", READING]
    for matrix in matrices:
        lines = [[escaped(name), *map(_markdown, cells)] for name, cells in _lines(matrix)]
        head = [CORNER, *(f"tested on {name}" for name in matrix.sets)]
        parts += [f"### {escaped(matrix.name)}", table(head, lines, left=(CORNER,))]
        parts += [bullets(matrix.remarks)] if matrix.remarks else []
    return [*parts, f"![{TITLE}]({STEM}.png)", "Every cell is in `cross_matrix.csv`."]


def cross_page(matrices: Sequence[CrossMatrix]) -> dict[str, Any] | None:
    """Return what the page's template needs, ``None`` where nothing was crossed."""
    if not matrices:
        return None
    shown = [(each, [(name, list(map(_page, cells))) for name, cells in _lines(each)]) for each in matrices]
    return {"title": TITLE, "reading": READING, "matrices": shown}


def _lines(matrix: CrossMatrix) -> list[tuple[str, list[Cell | None]]]:
    """Return each set that trained, with its cells by the set that tested."""
    numbers = range(len(matrix.sets))
    return [(name, [matrix.cells.get((k, tested)) for tested in numbers]) for k, name in enumerate(matrix.sets)]


def _texts(cell: Cell | None) -> tuple[str, str, str]:
    """Return a cell's score, the interval of it, and the loss with its own interval."""
    if cell is None or cell.macro_f1 is None:
        return ("", "", "") if cell is None else (str(cell.row.values["status"]), "", "")
    score, interval, loss = f"{cell.macro_f1:.3f}", "", ""
    if cell.interval is not None:
        interval = f"{cell.interval.low:.3f}-{cell.interval.high:.3f}"
    if cell.loss is not None and cell.loss_interval is not None:
        loss = f"loss {cell.loss:.3f} ({cell.loss_interval.low:.3f} to {cell.loss_interval.high:.3f})"
    return score, interval, loss


def _markdown(cell: Cell | None) -> str:
    score, interval, loss = _texts(cell)
    text = escaped(score) + (f" ({interval})" if interval else "")
    if cell is not None and cell.at_home and interval:
        text = f"**{text}**"
    return text + (f"<br>{loss}" if loss else "")


def _page(cell: Cell | None) -> dict[str, Any]:
    score, interval, loss = _texts(cell)
    has_score = cell is not None and cell.macro_f1 is not None
    return {
        "score": score,
        "interval": interval,
        "loss": loss,
        "home": cell is not None and cell.at_home,
        "share": round(100 * (cell.macro_f1 or 0.0)) if cell is not None and has_score else 0,
    }
