"""The gallery: every missed tumour with its image, and what each row gave it (``gallery.md``, ``gallery*.png``)."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.atomic_files import write_atomically
from benchmark.evaluation.metrics import Floats
from benchmark.grouping import grouped
from benchmark.hashing import hash_bytes
from benchmark.reporting.board.board import Board
from benchmark.reporting.board.drawn_rows import drawn_note, drawn_rows
from benchmark.reporting.board.image_cases import LABEL_ERRORS, Cases, heat_maps
from benchmark.reporting.board.phrases import DISCLAIMER
from benchmark.reporting.documents.markdown_cells import escaped, table
from benchmark.reporting.figures.kept_figures import KeptFigures
from benchmark.reporting.figures.labels import shortened
from benchmark.reporting.figures.overlays import Line, draw_outline, grey, no_picture, outline
from benchmark.reporting.figures.style import MM, remove_others, set_height, title

STEM = "gallery"
MOST_SHEETS = 8  # of a comparison group: rows that read next to nothing would fill hundreds
WIDTH_MM, HEIGHT_MM = 180, 235  # of a sheet, at most: a page's text with room for a caption
HIT_COLOUR, MISS_COLOUR, OTHER_COLOUR = "#0072B2", "#B84E00", "#9EC4DE"

_HEAD, _CAPTION, _GAP, _BELOW, _EDGE = 11.0, 6.0, 2.0, 3.0, 1.5  # mm
_SIDE = 19.5  # mm, of an image, at least
_BAR = 1.9  # mm from one row's bar to the next: room for its name
_NAME_POINTS, _CHARACTER = 5.2, 1.08  # size of a row's name, and width in mm of one of its characters
_LONGEST = 36  # characters of a name
_LETTER = 1.25  # width in mm of a character of the caption above an image


@dataclass(frozen=True)
class Sheet:
    """How a sheet is laid out, in mm.

    Args:
        names: the names of the rows as they stand beside their bars.
        left: width that they take.
        across, down: images on a sheet.
        side: width and height of an image.
    """

    names: tuple[str, ...]
    left: float
    across: int
    down: int
    side: float

    @classmethod
    def of(cls, names: Sequence[str]) -> "Sheet":
        """Return the layout for rows of these names."""
        shown = tuple(shortened(name, _LONGEST) for name in names)
        left = _EDGE + _CHARACTER * max(map(len, shown)) + 1
        free = WIDTH_MM - _EDGE - left + _GAP
        across = int(free // (_SIDE + _GAP))
        sheet = cls(shown, left, across, 1, free / across - _GAP)
        return replace(sheet, down=max(1, int((HEIGHT_MM - _HEAD) // sheet.pitch)))

    @property
    def pitch(self) -> float:
        """Height of a line of images, with captions and bars."""
        return _CAPTION + self.side + 0.5 + _BAR * len(self.names) + _BELOW


@dataclass(frozen=True)
class Pictured:
    """An image that is drawn.

    Args:
        number: in the gallery's tables, from 1.
        image: number within the cases.
        near_copies: of it in the same table, which are not drawn.
    """

    number: int
    image: int
    near_copies: int


@dataclass(frozen=True)
class Drawing:
    """What stands on one sheet.

    Args:
        sheet: how it is laid out.
        cases: of all rows, which are counted.
        some: of the rows that have a bar.
        images: those of this sheet.
        pictures: JPEGs by image id.
        lesions: outlines by image id.
    """

    sheet: Sheet
    cases: Cases
    some: Cases
    images: Sequence[Pictured]
    pictures: Mapping[str, bytes]
    lesions: Mapping[str, list[Line]]

    def shown(self) -> list[Any]:
        """Return all that :meth:`draw` shows."""
        which = [each.image for each in self.images]
        names = [self.cases.image_ids[i] for i in which]
        jpegs = [self.pictures.get(name) for name in names]
        return [
            [
                astuple(self.sheet),
                [astuple(each) for each in self.images],
                len(self.cases.rows),
                self.cases.classes,
                self.cases.negative,
                title([self.cases.rows[0]]),
            ],
            [[name, None if jpeg is None else hash_bytes(jpeg)] for name, jpeg in zip(names, jpegs, strict=True)],
            [self.lesions.get(name, []) for name in names],
            self.cases.labels[which],
            self.cases.missed[:, which].sum(axis=0),
            (self.cases.predicted[:, which] >= 0).sum(axis=0),
            self.some.predicted[:, which],
            self.some.probabilities[:, which],
        ]

    def draw(self, made: Any) -> None:
        """Draw images with their number, true class, and a bar for each row: its probability of the true class."""
        sheet, cases = self.sheet, self.cases
        lines = -(-len(self.images) // sheet.across)
        height = _HEAD + lines * sheet.pitch
        set_height(made, height)
        made.set_layout_engine("none")
        axes = made.add_axes((0.0, 0.0, 1.0, 1.0))
        what = "wrong" if cases.negative is None else "missed"
        for place, each in enumerate(self.images):
            i = each.image
            line, column = divmod(place, sheet.across)
            left, top = sheet.left + column * (sheet.side + _GAP), _HEAD + line * sheet.pitch + _CAPTION
            name, right = cases.image_ids[i], left + sheet.side
            jpeg = self.pictures.get(name)
            picture = None if jpeg is None else grey(jpeg)
            if picture is None:
                no_picture(axes, left, top, sheet.side)
            else:
                axes.imshow(picture, extent=(left, right, top + sheet.side, top), cmap="gray", vmin=0, vmax=255)
            draw_outline(axes, self.lesions.get(name, []), left, top, sheet.side)
            lost, read = int(cases.missed[:, i].sum()), int((cases.predicted[:, i] >= 0).sum())
            if each.near_copies:
                copies = f"and {each.near_copies} near-{'copy' if each.near_copies == 1 else 'copies'}"
                box = {"facecolor": "black", "alpha": 0.6, "linewidth": 0, "pad": 0.8}
                axes.text(
                    left + 0.6, top + sheet.side - 0.6, copies, fontsize=5, va="bottom", color="white", bbox=box
                )
            number = f"{each.number}  "
            label = shortened(cases.classes[cases.labels[i]], int(sheet.side / _LETTER) - len(number))
            axes.text(left, top - 3.0, number + label, fontsize=6, va="bottom")
            axes.text(left, top - 0.5, f"{what} by {lost} of {read} rows", fontsize=5, va="bottom", color="#555555")
            first: float = top + sheet.side + 0.5 + _BAR / 2
            middles = first + _BAR * np.arange(len(sheet.names), dtype=np.float64)
            if not column:
                for middle, row in zip(middles, sheet.names, strict=True):
                    axes.text(left - 1, middle, row, fontsize=_NAME_POINTS, ha="right", va="center_baseline")
            _bars(axes, self.some, i, (left, right), middles)
        axes.set_xlim(0, WIDTH_MM)
        axes.set_ylim(height, 0)
        axes.set_aspect("equal", anchor="NW")
        axes.set_axis_off()
        _head(made, cases)


def write_gallery(
    board: Board,
    thumbnails: Mapping[str, Mapping[str, bytes]],
    out: Path,
    kept: KeptFigures = KeptFigures(),  # noqa: B008 - no state
) -> Path:
    """Write the gallery of every comparison group as Markdown, and its images as sheets (PNG and SVG).

    Sheets of an earlier board are removed.

    Args:
        thumbnails: JPEGs by fingerprint and image id.
        kept: sheets that were drawn before.

    Returns:
        The path of the Markdown.
    """
    parts = ["# TumorBoard gallery: what was missed", DISCLAIMER]
    sheets: list[Path] = []
    for rows in board.comparison_groups():
        if not any(row.values["n_runs"] for row in rows):
            continue
        cases = Cases.of(rows)
        pictures = thumbnails.get(rows[0].first.record.data.fingerprint, {})
        pictured = _pictured(cases)
        lesions = _lesions(cases)
        stems = []
        some = cases.only(drawn_rows(cases.rows))
        sheet = Sheet.of(some.names)
        drawn = pictured[: MOST_SHEETS * sheet.across * sheet.down]
        for start in range(0, len(drawn), sheet.across * sheet.down):
            stem = STEM if not sheets else f"{STEM}_{len(sheets) // 2 + 1}"
            images = drawn[start : start + sheet.across * sheet.down]
            drawing = Drawing(sheet, cases, some, images, pictures, lesions)
            sheets += kept.saved(out, stem, drawing.draw, drawing.shown(), WIDTH_MM)
            stems.append(stem)
        parts += _text(cases, some, title(rows), stems, (len(drawn), len(pictured)))
    remove_others(out, STEM, sheets)
    return write_atomically(out / f"{STEM}.md", "\n\n".join(parts) + "\n")


def _pictured(cases: Cases) -> list[Pictured]:
    """Return what is drawn of the gallery: of images of one table that are near-copies the first."""
    pictured: list[Pictured] = []
    numbers = itertools.count(1)
    for _, images in cases.gallery():
        alike = grouped((cases.copies[image], (next(numbers), image)) for image in images.tolist())
        pictured += [Pictured(*members[0], len(members) - 1) for members in alike.values()]
    return pictured


def _lesions(cases: Cases) -> dict[str, list[Line]]:
    """Return the outlines of lesions by image, as far as masks are known."""
    outlines: dict[str, list[Line]] = {}
    for row in cases.rows:
        for name, heat_map in heat_maps(row).items():
            if name not in outlines and heat_map.lesion.any():
                outlines[name] = outline(heat_map.lesion)
    return outlines


def _text(cases: Cases, some: Cases, name: str, stems: list[str], drawn: tuple[int, int]) -> list[str]:
    """Return the tables of a comparison group with its pictures.

    Args:
        drawn: how many pictures there are, and how many there would be with room for all.
    """
    gallery = cases.gallery()
    count = sum(len(numbers) for _, numbers in gallery)
    tumours = len(cases.labels) if cases.negative is None else int((cases.labels != cases.negative).sum())
    kind = "test images" if cases.negative is None else "test images with a tumour"
    lost = "are read as another class" if cases.negative is None else "are called healthy"
    who = "the row" if len(cases.rows) == 1 else f"at least one of {len(cases.rows)} rows"
    parts = [f"## {escaped(name)}", f"{count} of {tumours} {kind} {lost} by {who}."]
    if count:
        parts.append(
            "Numbers in the pictures are those of the tables. A bar under an image is the probability that the row "
            "named beside it gives the true class; orange with a cross where that row misses it."
        )
        if drawn[1] < count:
            parts.append(
                "Of near-copies the first is drawn, with the number of the others; the tables have them all."
            )
        if drawn[0] < drawn[1]:
            parts.append(f"The first {drawn[0]} of {drawn[1]} pictures are drawn; the tables have all images.")
        parts.append("\n\n".join(f"![{escaped(stem)}]({stem}.png)" for stem in stems))
    if (note := drawn_note(cases.rows)) and (count or len(cases.likely_label_errors())):
        parts.append(f"{note} The headings count all rows.")
    grouped = any(cases.groups)
    number = 0
    for heading, numbers in gallery:
        parts.append(f"### {escaped(heading[:1].upper() + heading[1:])} ({len(numbers)})")
        head = ["number", "image", *(["patient"] if grouped else []), "true class", *some.names]
        lines = []
        for i in numbers.tolist():
            number += 1
            patient = [escaped(cases.groups[i])] if grouped else []
            truth = escaped(cases.classes[cases.labels[i]])
            lines.append([str(number), escaped(cases.image_ids[i]), *patient, truth, *_predictions(some, i)])
        parts.append(table(head, lines, left=head[1:]))
    doubted = cases.likely_label_errors().tolist()
    if doubted:
        lines = [
            [escaped(cases.image_ids[i]), escaped(cases.classes[cases.labels[i]]), *_predictions(some, i)]
            for i in doubted
        ]
        parts += [
            f"### {LABEL_ERRORS[:1].upper() + LABEL_ERRORS[1:]} ({len(doubted)})",
            "Images to which the rows together give another class with confidence (Northcutt et al. 2021), the least "
            "credible label first. A hard image can stand here with a right label: look before you judge.",
            table(["image", "label", *some.names], lines, left=["image", "label", *some.names]),
        ]
    if count or doubted:
        parts.append(
            "Each row's cell: the class that it says and its probability of the true class; bold where it misses."
        )
    return parts


def _predictions(cases: Cases, i: int) -> list[str]:
    """Return for each row what it says of an image, and its probability of the true class."""
    missed, cells = cases.missed, []
    for number in range(len(cases.rows)):
        if cases.predicted[number, i] < 0:
            cells.append("")
            continue
        probability = cases.probabilities[number, i, cases.labels[i]]
        text = f"{escaped(cases.classes[cases.predicted[number, i]])} ({probability:.2f})"
        cells.append(f"**{text}**" if missed[number, i] else text)
    return cells


def _bars(axes: Any, cases: Cases, i: int, ends: tuple[float, float], middles: Floats) -> None:
    """Draw every row's probability of an image's true class; a cross where the row misses it."""
    left, right = ends
    missed, predicted = cases.missed[:, i], cases.predicted[:, i]
    colours = np.where(missed, MISS_COLOUR, np.where(predicted == cases.labels[i], HIT_COLOUR, OTHER_COLOUR)).tolist()
    probabilities = cases.probabilities[:, i, cases.labels[i]]
    _draw_bars(axes, left, np.full(len(middles), right), middles, "#EEEEEE")
    _draw_bars(axes, left, left + probabilities * (right - left), middles, colours)
    axes.scatter(np.full(int(missed.sum()), right - 0.8), middles[missed], s=3, marker="x", c=MISS_COLOUR, lw=0.6)


def _draw_bars(axes: Any, left: float, rights: Floats, middles: Floats, colours: str | list[str]) -> None:
    """Draw horizontal bars as one collection: with a patch for each, a sheet of many rows takes twice as long."""
    from matplotlib.collections import PolyCollection

    top, bottom = middles - _BAR * 0.375, middles + _BAR * 0.375
    x = np.stack([np.full_like(rights, left), rights, rights, np.full_like(rights, left)], axis=1)
    y = np.stack([top, top, bottom, bottom], axis=1)
    bars = PolyCollection(list(np.stack([x, y], axis=2)), facecolors=colours, edgecolors="none")
    axes.add_collection(bars, autolim=False)


def _head(made: Any, cases: Cases) -> None:
    from matplotlib.patches import Patch

    edge = _EDGE / WIDTH_MM
    what = f"{cases.what.capitalize()}: {title([cases.rows[0]])}"
    made.suptitle(what, x=edge, y=1 - 1 * MM / made.get_figheight(), ha="left", va="top", fontsize=7)
    entries = [Patch(color=MISS_COLOUR, label="missed by the row (\u00d7)"), Patch(color=HIT_COLOUR, label="right")]
    if cases.negative is not None:
        entries.insert(1, Patch(color=OTHER_COLOUR, label="another tumour"))
    made.legend(
        handles=entries,
        title="bars: the row's probability of the true class, 0 to 1",
        loc="upper right",
        bbox_to_anchor=(1 - edge, 1.0),
        ncols=3,
        fontsize=5.5,
        title_fontsize=5.5,
    )
