"""A montage of the data: what the images of each class look like."""

import io
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmark.atomic_files import inside, write_atomically
from benchmark.data.dataset import DataSet
from benchmark.foreign_files import Refused, list_foreign, read_foreign
from benchmark.reporting.figures.labels import shortened, wrapped
from benchmark.reporting.figures.style import COLUMN_MM, MM, figure, save, set_height, slug
from benchmark.reporting.figures.thumbnails import UNREADABLE_PICTURE

_NAME = re.compile(r"plot_montage_[a-z0-9-]{1,120}\.png")
_MOST, _MAX_BYTES, _MAX_PIXELS = 100, 32 * 2**20, 2**24  # of the montages of another folder that are taken along

MAX_CLASSES = 48
_LEFT_MM, _HEIGHT_MM = 22.0, 236.0  # for the names of classes; of all lines, at most: a page
_MANY, _LONGEST = 12, 32  # of so many classes a name is so long at most: it is whole in the tables
_LETTERS, _LINE_MM = 20, 2.5  # characters of a line of a name, and its height
MASK_COLOUR = "#FFB000"
_PER_CLASS = 6  # images, at least


def write_montage(data: DataSet, out: Path) -> list[Path]:
    """Write a montage of a data set into ``out`` as PNG and SVG; return their paths.

    A leaderboard that is written to the same folder afterwards shows it.
    """
    with figure() as made:
        draw_montage(made, data)
        return save(made, out, montage_name(data.name, data.fingerprint))


def montage_name(data_name: str, fingerprint: str) -> str:
    """Return the name, without suffix, of the montage of a data set; two sets of one name have two."""
    return f"plot_montage_{slug(data_name)}-{fingerprint[:8]}"


def copy_montages(folder: Path, out: Path) -> None:
    """Take along the montages that runs left in another results folder; they can't be made from records.

    The pictures are decoded and encoded again: what is no picture, or a link to some other file, stays where it is.
    SVG may hold scripts, and is not taken along.
    """
    try:
        names = [name for name in list_foreign(folder) if _NAME.fullmatch(name)][:_MOST]
    except Refused:
        return
    for name in names:
        if not os.path.lexists(out / name):
            picture = _encoded_again(folder, name)
            if picture is not None:
                write_atomically(inside(out, name), picture)


def _encoded_again(folder: Path, name: str) -> bytes | None:
    """Return a PNG's pixels as a PNG of our own, ``None`` where it is none or too large."""
    try:
        data = read_foreign(folder, name, limit=_MAX_BYTES)
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            if image.width * image.height > _MAX_PIXELS or getattr(image, "n_frames", 1) > 1:
                return None
            buffer = io.BytesIO()
            Image.fromarray(np.asarray(image.convert("RGB"))).save(buffer, "PNG", dpi=(300, 300))
            return buffer.getvalue()
    except (Refused, FileNotFoundError, *UNREADABLE_PICTURE):
        return None


def draw_montage(made: Any, data: DataSet) -> None:
    """Draw a line of images for each class, lesions outlined where masks are known.

    The images are of different patients where patients are known, and of different planes where planes are; no
    test image of an official split is shown.
    """
    names = data.class_names[:MAX_CLASSES]
    counts = np.bincount(data.labels, minlength=len(names)).tolist()
    longest = _LONGEST if len(names) > _MANY else 10 * _LONGEST
    labels = [wrapped(f"{shortened(name, longest)} ({counts[k]})", _LETTERS) for k, name in enumerate(names)]
    pitch = min((COLUMN_MM - _LEFT_MM) / _PER_CLASS, _HEIGHT_MM / len(names))
    pitch = max(pitch, _LINE_MM * max(label.count("\n") + 1 for label in labels))  # of a line: room for its name
    per_class = max(_PER_CLASS, int((COLUMN_MM - _LEFT_MM) / pitch))
    set_height(made, 8 + pitch * len(names))
    made.set_layout_engine("none")
    height = made.get_figheight() / MM
    edges = {"left": _LEFT_MM / COLUMN_MM, "right": 0.995, "bottom": 0.002, "top": 1 - 7 / height}
    grid = made.subplots(len(names), per_class, squeeze=False, gridspec_kw={**edges, "wspace": 0.03, "hspace": 0.03})
    for label, line in enumerate(grid):
        chosen = choose(data, label, per_class)
        for axes in line:
            axes.set_axis_off()
        for axes, position in zip(line, chosen, strict=False):
            axes.imshow(data.pixels[position], interpolation="antialiased")
            if data.masks is not None and data.masks[position].any():
                axes.contour(data.masks[position] > 0, levels=[0.5], colors=MASK_COLOUR, linewidths=0.5)
        place = line[0].transAxes
        line[0].text(-0.06, 0.5, labels[label], transform=place, fontsize=5.5, ha="right", va="center")
    synthetic = "synthetic images, not patients" if data.synthetic else f"{len(data)} images"
    outlined = "; lesions outlined" if data.masks is not None else ""
    more = f"; {len(data.class_names) - len(names)} more classes" if len(data.class_names) > len(names) else ""
    made.suptitle(
        f"{data.name}: {synthetic}{outlined}{more}", x=0.01, y=1 - 1.5 / height, ha="left", va="top", fontsize=7.5
    )


def choose(data: DataSet, label: int, count: int) -> npt.NDArray[np.int64]:
    """Return positions of at most ``count`` images of a class, spread over planes and patients, always the same."""
    shown = data.labels == label
    if data.parts is not None:
        shown &= data.parts != "test"
    positions = np.flatnonzero(shown)
    positions = np.random.default_rng(label).permutation(positions)
    planes = data.planes[positions] if data.planes is not None else np.zeros(len(positions), dtype=np.int64)
    groups = data.groups[positions] if data.groups is not None else positions
    turn = _occurrence(planes)  # first one of each plane, then a second of each ...
    again = _occurrence(groups)  # ... but a patient twice only when there is no other
    return positions[np.lexsort((turn, again))][:count].astype(np.int64)


def _occurrence(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return for each entry how many equal ones stand before it."""
    seen: dict[Any, int] = {}
    counts = np.empty(len(values), dtype=np.int64)
    for i, value in enumerate(values.tolist()):
        counts[i] = seen.get(value, 0)
        seen[value] = counts[i] + 1
    return counts
