"""One look for all plots: a paper's column, colours that colour-blind readers can tell apart, text as text."""

import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmark.atomic_files import write_atomically
from benchmark.hashing import hash_json
from benchmark.reporting.board.board import BoardRow
from benchmark.reporting.figures.fonts import families, make_drawable

COLUMN_MM = 88  # width of a single column in most journals
MM = 1 / 25.4  # inches

# After Okabe & Ito 2008 ("Color Universal Design"); darkened where text in the colour would be hard to read
# (all have a contrast of at least 4.5 to white).
LIBRARY_COLOURS = {"timm": "#0072B2", "keras": "#B84E00", "keras_cv": "#9E4A7E", "own": "#000000"}
OTHER_COLOURS = ("#007A5A", "#7A6000", "#2F6F99")
FRAMEWORK_MARKERS = {"torch": "o", "tensorflow": "s", "jax": "^"}
GREY = "#666666"
# of rows that share a panel: told apart by colour, and without it by dashes and marker
LINE_STYLES: tuple[dict[str, Any], ...] = (
    {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    {"color": "#B84E00", "marker": "s", "linestyle": (0, (5, 1.5))},
    {"color": "#007A5A", "marker": "^", "linestyle": (0, (1.5, 1))},
    {"color": "#9E4A7E", "marker": "D", "linestyle": (0, (5, 1, 1, 1))},
    {"color": "#000000", "marker": "v", "linestyle": (0, (3, 3))},
    {"color": "#7A6000", "marker": "P", "linestyle": (0, (7, 1, 1, 1, 1, 1))},
)
GRID = "#DDDDDD"
DPI, DPI_OF_HEAT_MAPS = 300, 200  # of plots; of pictures of heat maps, which have no more to show
_LONGEST_SLUG = 80  # characters: a file's name has 255 at most, and some have two such parts
NARROW = 5.0  # below this ratio of its ends, a logarithmic axis has too few round numbers for its ticks

_RC = {
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "legend.handletextpad": 0.4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "lines.linewidth": 1.0,
    "svg.fonttype": "none",
    "svg.hashsalt": "tumorboard",  # the same plot is the same file
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
}


@contextmanager
def figure(width_mm: float = COLUMN_MM) -> Iterator[Any]:
    """Make a matplotlib figure of a width in print, in the common style, without any window or global state."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context({**_RC, "font.family": list(families())}):
        made = Figure(figsize=(width_mm * MM, 70 * MM), layout="constrained")
        FigureCanvasAgg(made)
        yield made


def set_height(made: Any, height_mm: float) -> None:
    """Change a figure's height."""
    made.set_size_inches(made.get_figwidth(), height_mm * MM)


def columns_for(count: int, most: int = 3) -> int:
    """Return how many panels stand side by side, so that four are not three and one."""
    return min(most, 2 if count in (2, 4) else count)


def lowest(grid: Sequence[Any], columns: int) -> list[Any]:
    """Return those of a grid's axes that have none below."""
    return list(grid[max(0, len(grid) - columns) :])


def panels(made: Any, count: int, columns: int) -> list[Any]:
    """Return ``count`` axes in a grid with common scales; the rest of its last line is left empty."""
    lines = math.ceil(count / columns)
    grid = made.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    used = list(grid.flat)[:count]
    for axes in list(grid.flat)[count:]:
        axes.set_visible(False)
    for axes in lowest(used, columns):
        axes.tick_params(labelbottom=True)
    return used


def title(rows: Sequence[BoardRow]) -> str:
    """Say which data a plot is of, and that they are synthetic where they are."""
    data = rows[0].first.record.data
    synthetic = " (synthetic images)" if data.synthetic else ""
    return f"{rows[0].block.comparison_group_name}{synthetic}"


def fitted(made: Any, text: str, points: float, share: float = 0.96) -> str:
    """Break the lines of a text at spaces, so that none is wider than a share of a figure. Call it within ``figure``.

    Args:
        points: the size of its letters.
    """
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    room, letters, measure = share * made.get_figwidth() * 72, FontProperties(size=points), TextToPath()
    lines: list[str] = []
    for line in text.split("\n"):
        lines.append("")
        for word in line.split(" "):
            longer = f"{lines[-1]} {word}" if lines[-1] else word
            if lines[-1] and measure.get_text_width_height_descent(longer, letters, ismath=False)[0] > room:
                lines.append(word)
            else:
                lines[-1] = longer
    return "\n".join(lines)


def set_title(made: Any, text: str) -> None:
    """Write a figure's title above its left end."""
    made.suptitle(fitted(made, text, 7.5), x=0.01, ha="left", fontsize=7.5)


def say_below_title(made: Any, text: str) -> None:
    """Add a line below a figure's title, such as which rows it shows; nothing where the text is empty."""
    if text:
        set_title(made, f"{made.get_suptitle()}\n{text}")


def explain(
    made: Any, text: str | None, handles: Sequence[Any] = (), labels: Sequence[str] = (), **options: Any
) -> None:
    """Write below a figure what it shows and, where there are any, the names of its lines."""
    title = None if text is None else fitted(made, text, 6)
    made.legend(list(handles), list(labels), title=title, loc="outside lower left", title_fontsize=6, **options)


def save(made: Any, folder: Path, stem: str, dpi: int = DPI) -> list[Path]:
    """Write a figure as ``stem.png`` and ``stem.svg``; return both paths. Call it within ``figure``."""
    make_drawable(made)
    paths = []
    for kind, metadata in (("png", {"Software": "TumorBoard"}), ("svg", {"Date": None, "Creator": "TumorBoard"})):
        buffer = io.BytesIO()
        made.savefig(buffer, format=kind, metadata=metadata, dpi=dpi)
        paths.append(write_atomically(folder / f"{stem}.{kind}", buffer.getvalue()))
        made.set_layout_engine("none")  # everything keeps its place: finding it takes as long as drawing
    return paths


def remove_others(folder: Path, stem: str, kept: Sequence[Path]) -> None:
    """Remove the figures whose names begin with ``stem`` but those that are kept: they are of an earlier board."""
    for path in [*folder.glob(f"{stem}*.png"), *folder.glob(f"{stem}*.svg")]:
        if path not in kept and (path.is_symlink() or not path.is_dir()):
            path.unlink()


def plain_log_ticks(axis: Any, values: Sequence[float], subs: tuple[int, ...] = (1, 2, 5)) -> None:
    """Write a logarithmic axis's ticks as plain numbers: 10, 20, 50, 100 ...; evenly where it spans little.

    Args:
        values: what the axis shows.
        subs: which multiples of a power of ten get a tick.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

    if max(values) / min(values) > NARROW:
        axis.set_major_locator(LogLocator(subs=subs))
    else:
        axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 10 else f"{value:.4g}"))
    axis.set_minor_formatter(NullFormatter())


def library_colours(libraries: list[str]) -> dict[str, str]:
    """Return a colour for each library; those of plug-ins take what is left, in order of name."""
    others = sorted(set(libraries) - set(LIBRARY_COLOURS))
    spare = {name: OTHER_COLOURS[i % len(OTHER_COLOURS)] for i, name in enumerate(others)}
    return {name: {**LIBRARY_COLOURS, **spare}[name] for name in dict.fromkeys(libraries)}


def slug(text: str) -> str:
    """Return text as part of a file name: lower case letters, digits and single hyphens; what is too long for that
    ends in a hash.
    """
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return name if len(name) <= _LONGEST_SLUG else f"{name[: _LONGEST_SLUG - 13]}-{hash_json(text)[:12]}"
