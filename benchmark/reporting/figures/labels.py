"""Short names for rows on a plot, and where to write them without overlap."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.reporting.board.board import BoardRow

Boxes = npt.NDArray[np.float64]  # shape (N, 4): left, bottom, right, top, in pixels

_ANGLES = np.deg2rad([0, 180, 90, 270, 35, 145, 325, 215, 65, 115, 295, 245])
_DISTANCES = (1.0, 5.0, 10.0, 16.0, 24.0, 34.0)  # points between marker and text; near ones are tried first
_ROUNDS = 6


def short_names(rows: Sequence[BoardRow]) -> list[str]:
    """Return what tells the rows apart where colour shows the library and marker the framework.

    A backbone loses what stands before its name, but where another one of its library would have the same name;
    recipe and weights are added only where rows would else look alike.
    """
    whole = [str(row.values["backbone"]) for row in rows]
    short = [name.split("/", 1)[-1].split(":", 1)[-1] for name in whole]
    looks = [(name, row.values["library"]) for name, row in zip(short, rows, strict=True)]
    several = {look for look in looks if len({n for n, other in zip(whole, looks, strict=True) if other == look}) > 1}
    names = [each if look in several else name for each, name, look in zip(whole, short, looks, strict=True)]
    return _told_apart(names, rows, ("recipe", "weights"), beside=("library", "framework"))[0]


def full_names(rows: Sequence[BoardRow]) -> list[str]:
    """Return each row's backbone, with framework, recipe and weights only where rows would else look alike."""
    return _named(rows)[0]


def telling_columns(rows: Sequence[BoardRow]) -> list[str]:
    """Return the columns, besides the backbone, of which a value stands in a row's full name."""
    return _named(rows)[1]


def _named(rows: Sequence[BoardRow]) -> tuple[list[str], list[str]]:
    return _told_apart([str(row.values["backbone"]) for row in rows], rows, ("framework", "recipe", "weights"))


def _told_apart(
    names: list[str], rows: Sequence[BoardRow], columns: Sequence[str], beside: Sequence[str] = ()
) -> tuple[list[str], list[str]]:
    """Return the names with what tells those apart that are alike, and the columns that it was taken from.

    Args:
        names: a name for each row.
        columns: where to take it from; each is added only where it differs among rows that are alike.
        beside: columns that a reader sees beside the names.
    """
    added = []
    for column in columns:
        seen = [(name, *(row.values[each] for each in beside)) for name, row in zip(names, rows, strict=True)]
        counts = Counter(seen)
        alike = [counts[each] > 1 for each in seen]
        values = [row.values[column] for row in rows]
        if len({value for value, is_alike in zip(values, alike, strict=True) if is_alike}) > 1:
            added.append(column)
            parts = zip(names, values, alike, strict=True)
            names = [f"{name}, {value}" if is_alike else name for name, value, is_alike in parts]
    return names, added


def panel_names(rows: Sequence[BoardRow]) -> list[str]:
    """Return full names that fit above a panel of a third of a column, a long one broken after its library."""
    return [
        name if len(name) <= 18 else "\n".join(wrapped(part, 21) for part in name.replace("/", "/\n", 1).split("\n"))
        for name in full_names(rows)
    ]


def shortened(name: str, longest: int) -> str:
    """Return a name of at most ``longest`` characters: its ends, where it is longer."""
    half = (longest - 1) // 2
    return name if len(name) <= longest else f"{name[: longest - 1 - half]}\u2026{name[-half:]}"


def wrapped(name: str, width: int) -> str:
    """Break a name at ``/ _ . , : -`` and spaces into lines of at most ``width`` characters, where it can be."""
    lines = [""]
    for word in re.findall(r"[^/_.,:\s-]*[/_.,:\s-]+|[^/_.,:\s-]+", name):
        if lines[-1] and len(lines[-1] + word.rstrip()) > width:
            lines.append(word)
        else:
            lines[-1] += word
    return "\n".join(line.strip() for line in lines)


def place_labels(
    axes: Any,
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    colours: Sequence[str],
    radii: Sequence[float],
    lines: Sequence[tuple[float, float]] = (),
) -> None:
    """Write each text near its point, off the other texts and markers, with a thin line where it is far.

    Every text tries the same places around its marker and takes the one that costs least, given where the others
    are; a few rounds of that settle (coordinate descent, as Christensen, Marks & Shieber 1995 compare it). The
    axes' limits and size must be final.

    Args:
        points: in data coordinates.
        radii: radii of the markers, in points.
        lines: points along drawn lines to keep off, in data coordinates.
    """
    renderer = axes.figure.canvas.get_renderer()
    scale = axes.figure.dpi / 72
    written = [
        axes.annotate(text, point, color=colour, fontsize=6, ha="center", va="center", annotation_clip=False)
        for text, point, colour in zip(texts, points, colours, strict=True)
    ]
    sizes = np.array([[box.width, box.height] for box in (text.get_window_extent(renderer) for text in written)])
    sizes = sizes.reshape(-1, 2) + np.array([2 * scale, 0])  # a little air beside each
    centres = axes.transData.transform(np.array(points, dtype=float).reshape(-1, 2))
    reach = np.asarray(radii) * scale
    inside = axes.get_window_extent(renderer)
    frame = np.array([inside.x0, inside.y0, inside.x1, inside.y1])
    drawn = axes.transData.transform(np.array(lines, dtype=float).reshape(-1, 2))
    offsets = place(centres, sizes, reach, frame, scale, drawn)
    for text, offset, size, radius in zip(written, offsets, sizes, reach, strict=True):
        text.set_position(tuple(offset / scale))
        text.set_anncoords("offset points")
        start, end = _leader(offset, size, radius)
        if np.linalg.norm(end - start) > 8 * scale:  # nearer, the name needs no line
            axes.annotate(
                "",
                text.xy,
                xytext=tuple(end / scale),
                textcoords="offset points",
                arrowprops={
                    "arrowstyle": "-",
                    "color": "#888888",
                    "lw": 0.6,
                    "linestyle": (0, (1, 1.5)),  # dotted: an interval's bar is a whole line
                    "shrinkA": 0,
                    "shrinkB": radius / scale,
                },
            )


def place(
    centres: Boxes, sizes: Boxes, radii: Boxes, frame: Boxes, scale: float = 1.0, drawn: Boxes | None = None
) -> Boxes:
    """Return the offset of each text's centre from its point, shape (N, 2).

    Args:
        centres: positions of the points, shape (N, 2), in pixels.
        sizes: width and height of the texts, shape (N, 2), pixels.
        radii: radii of the markers, shape (N,), in pixels.
        frame: left, bottom, right, top of the room there is, pixels.
        scale: pixels per point.
        drawn: points along drawn lines to keep off, shape (M, 2), pixels.
    """
    drawn = np.empty((0, 2)) if drawn is None else drawn
    markers = np.hstack([centres - radii[:, None], centres + radii[:, None]])
    choices = [_choices(size, radius, scale) for size, radius in zip(sizes, radii, strict=True)]
    offsets = np.array([choice[0] for choice in choices]).reshape(-1, 2)
    for _ in range(_ROUNDS):
        before = offsets.copy()
        for i, choice in enumerate(choices):
            others = np.arange(len(centres)) != i
            taken = _boxes(centres + offsets, sizes)[others]
            leaders = [
                centres[j] + np.linspace(*_leader(offsets[j], sizes[j], radii[j]), 12) for j in np.flatnonzero(others)
            ]
            points = np.concatenate(leaders) if leaders else np.empty((0, 2))
            boxes = _boxes(centres[i] + choice, np.broadcast_to(sizes[i], choice.shape))
            own = [centres[i] + np.linspace(*_leader(offset, sizes[i], radii[i]), 12) for offset in choice]
            blocked = np.vstack([taken, markers[others]])
            cost = (
                10 * _overlap(boxes, taken, scale)
                + 10 * _overlap(boxes, markers, scale)
                + 20 * _outside(boxes, frame)
                + 15 * _count(points, boxes)
                + 1.5 * _count(drawn, boxes)
                + 15 * np.array([_count(line, blocked).sum() for line in own])
                + np.hypot(*choice.T) / scale / 40
                + np.arange(len(choice)) / 500  # of equals, the first
            )
            offsets[i] = choice[cost.argmin()]
        if np.array_equal(before, offsets):
            break
    return offsets


def _choices(size: Boxes, radius: float, scale: float) -> Boxes:
    """Return offsets at which a text's box stands clear of its own marker, near ones first."""
    offsets = []
    for distance in _DISTANCES:
        for angle in _ANGLES:
            way = np.array([np.cos(angle), np.sin(angle)])
            offsets.append(way * (radius + distance * scale) + np.sign(np.round(way, 6)) * size / 2)
    return np.array(offsets)


def _leader(offset: Boxes, size: Boxes, radius: float) -> tuple[Boxes, Boxes]:
    """Return where the line from marker to text begins and ends, relative to the point."""
    end = np.clip(0, offset - size / 2, offset + size / 2)
    length = float(np.linalg.norm(end))
    return (end * min(1.0, radius / length) if length else end), end


def _boxes(centres: Boxes, sizes: Boxes) -> Boxes:
    return np.hstack([centres - sizes / 2, centres + sizes / 2])


def _overlap(boxes: Boxes, others: Boxes, scale: float) -> Boxes:
    """Return for each box the area shared with the others, in square points, and 1 for each that is touched."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2) / scale**2
    return np.asarray((shared + (shared > 0)).sum(axis=1), dtype=np.float64)


def _outside(boxes: Boxes, frame: Boxes) -> Boxes:
    beyond = np.hstack([frame[:2] - boxes[:, :2], boxes[:, 2:] - frame[2:]])
    return np.asarray(np.clip(beyond, 0, None).sum(axis=1), dtype=np.float64)


def _count(points: Boxes, boxes: Boxes) -> Boxes:
    """Return for each box how many of the points lie in it."""
    within = (points[:, None] >= boxes[None, :, :2]).all(axis=2) & (points[:, None] <= boxes[None, :, 2:]).all(axis=2)
    return np.asarray(within.sum(axis=0), dtype=np.float64)
