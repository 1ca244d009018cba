"""The audit as a picture: the worst offenders side by side."""

from pathlib import Path
from typing import Any

from benchmark.atomic_files import written_file
from benchmark.data.audit.audit import Audit
from benchmark.data.dataset import DataSet
from benchmark.data.duplicates.groups import Pair

_COLUMNS = 3
_ID_LENGTH = 26


def save_worst(data: DataSet, audit: Audit, path: Path) -> bool:
    """Draw the worst pairs of copies as a PNG; returns whether there are any (else nothing is written).

    A pair is drawn as the network would see it: unturned, so that a mirrored copy shows mirrored.
    """
    if not audit.worst:
        return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    position = {name: k for k, name in enumerate(data.image_ids.tolist())}
    rows = -(-len(audit.worst) // _COLUMNS)
    figure = Figure(figsize=(11, 0.7 + 2.45 * rows), dpi=110, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    synthetic = " (synthetic images)" if data.synthetic else ""
    figure.suptitle(f"Copies in {audit.data}{synthetic}, split {audit.split}: the worst pairs", fontsize=11)
    cells: Any = figure.subfigures(rows, _COLUMNS, squeeze=False)
    for cell, pair in zip(cells.ravel(), audit.worst, strict=False):
        _draw(cell, pair, data, position)
    with written_file(path) as unfinished:
        canvas.print_png(unfinished)
    return True


def _draw(cell: Any, pair: Pair, data: DataSet, position: dict[str, int]) -> None:
    bad = pair.first_class != pair.second_class
    cell.suptitle(_caption(pair), fontsize=8, color="#b2182b" if bad else "black", fontweight="bold" if bad else None)
    sides = (
        (pair.first, pair.first_class, pair.first_part),
        (pair.second, pair.second_class, pair.second_part),
    )
    for axes, (name, class_name, part) in zip(cell.subplots(1, 2), sides, strict=True):
        axes.imshow(data.pixels[position[name]], cmap="gray")
        axes.set_axis_off()
        axes.set_title(f"{part or 'unused'}: {class_name}", fontsize=8)
        shown = name if len(name) <= _ID_LENGTH else "..." + name[-_ID_LENGTH:]
        axes.text(0.5, -0.03, shown, fontsize=6, ha="center", va="top", transform=axes.transAxes)


def _caption(pair: Pair) -> str:
    what = "identical" if pair.correlation >= 1 and not pair.turn else pair.turn or "nearly the same"
    labels = ", two labels" if pair.first_class != pair.second_class else ""
    return f"{what}{labels} (r = {pair.correlation:.3f})"
