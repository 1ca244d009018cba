"""The gallery: every missed tumour with its image, and what each row gave it (``gallery.md``, ``gallery*.png``)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.reporting.board import Board
from benchmark.reporting.cases import Cases, looks
from benchmark.reporting.cells import escaped
from benchmark.reporting.files import write_atomically
from benchmark.reporting.pictures import Line, draw_outline, grey, outline
from benchmark.reporting.style import figure, save, set_height, title
from benchmark.reporting.words import DISCLAIMER

STEM = "gallery"
ACROSS, DOWN = 8, 9  # images on a sheet
WIDTH_MM = 180
HIT_COLOUR, MISS_COLOUR, OTHER_COLOUR = "#0072B2", "#B84E00", "#9EC4DE"

_CAPTION, _GAP = 0.34, 0.12  # in images
_BAR = 0.055  # height of a row's bar, at most


def write_gallery(board: Board, thumbnails: Mapping[str, Mapping[str, bytes]], out: Path) -> Path:
    """Write the gallery of every arena as Markdown, and its images as sheets (PNG and SVG); return the Markdown.

    Sheets of an earlier board are removed.

    Args:
        thumbnails: JPEGs by fingerprint and image id.
    """
    parts = ["# TumorBoard gallery: what was missed", DISCLAIMER]
    sheets: list[Path] = []
    for rows in board.arenas():
        if not any(row.values["n_runs"] for row in rows):
            continue
        cases = Cases.of(rows)
        pictures = thumbnails.get(rows[0].first.record.data.fingerprint, {})
        numbered = [i for _, numbers in cases.gallery() for i in numbers.tolist()]
        lesions = _lesions(cases)
        stems = []
        for start in range(0, len(numbered), ACROSS * DOWN):
            stem = STEM if not sheets else f"{STEM}_{len(sheets) // 2 + 1}"
            with figure(width_mm=WIDTH_MM) as made:
                draw_sheet(made, cases, numbered[start : start + ACROSS * DOWN], start, pictures, lesions)
                sheets += save(made, out, stem)
            stems.append(stem)
        parts += _text(cases, title(rows), stems)
    for old in [*out.glob(f"{STEM}*.png"), *out.glob(f"{STEM}*.svg")]:
        if old not in sheets:
            old.unlink()
    return write_atomically(out / f"{STEM}.md", "\n\n".join(parts) + "\n")


def _lesions(cases: Cases) -> dict[str, list[Line]]:
    """Return the outlines of lesions by image, as far as masks are known."""
    found: dict[str, list[Line]] = {}
    for row in cases.rows:
        for name, look in looks(row).items():
            if name not in found and look.lesion.any():
                found[name] = outline(look.lesion)
    return found


def _text(cases: Cases, name: str, stems: list[str]) -> list[str]:
    gallery = cases.gallery()
    count = sum(len(numbers) for _, numbers in gallery)
    tumours = len(cases.labels) if cases.negative is None else int((cases.labels != cases.negative).sum())
    kind = "test images" if cases.negative is None else "test images with a tumour"
    lost = "are wrong" if cases.negative is None else "are called healthy"
    parts = [f"## {escaped(name)}", f"{count} of {tumours} {kind} {lost} by at least one of {len(cases.rows)} rows."]
    if count:
        parts.append(
            "Numbers in the pictures are those of the tables. A bar under an image is a row's probability of the "
            "true class, rows in the order of the tables' columns; orange where that row misses it."
        )
        parts.append("\n\n".join(f"![{escaped(stem)}]({stem}.png)" for stem in stems))
    known = any(cases.groups)
    number = 0
    for heading, numbers in gallery:
        parts.append(f"### {escaped(heading[:1].upper() + heading[1:])} ({len(numbers)})")
        head = ["number", "image", *(["patient"] if known else []), "true class", *cases.names]
        lines = []
        for i in numbers.tolist():
            number += 1
            patient = [escaped(cases.groups[i])] if known else []
            truth = escaped(cases.classes[cases.labels[i]])
            lines.append([str(number), escaped(cases.image_ids[i]), *patient, truth, *_said(cases, i)])
        rule = ["--:", *[":--"] * (len(head) - 1)]
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in (map(escaped, head), rule, *lines)))
    if count:
        parts.append(
            "Each row's cell: the class that it says and its probability of the true class; bold where it misses."
        )
    return parts


def _said(cases: Cases, i: int) -> list[str]:
    """Return for each row what it says of an image, and its probability of the true class."""
    missed, cells = cases.missed, []
    for number in range(len(cases.rows)):
        if cases.said[number, i] < 0:
            cells.append("")
            continue
        text = f"{escaped(cases.classes[cases.said[number, i]])} ({cases.chances[number, i, cases.labels[i]]:.2f})"
        cells.append(f"**{text}**" if missed[number, i] else text)
    return cells


def draw_sheet(
    made: Any,
    cases: Cases,
    images: list[int],
    before: int,
    pictures: Mapping[str, bytes],
    lesions: Mapping[str, list[Line]],
) -> None:
    """Draw images with their number, true class, and a bar for each row: its probability of the true class.

    Args:
        images: numbers within the cases.
        before: how many of the gallery stand on sheets before.
        pictures: JPEGs by image id.
        lesions: outlines by image id.
    """
    from matplotlib.patches import Patch

    missed, rows = cases.missed, len(cases.rows)
    bar = min(_BAR, 0.7 / rows)
    pitch = 1 + _CAPTION + bar * rows + _GAP
    lines = -(-len(images) // ACROSS)
    width = ACROSS * (1 + _GAP)
    head = 11.0  # mm
    set_height(made, head + lines * pitch * WIDTH_MM / width + 1)
    made.set_layout_engine("none")
    axes = made.add_axes((0.01, 0.0, 0.98, 1 - head / (made.get_figheight() * 25.4)))
    for place, i in enumerate(images):
        line, column = divmod(place, ACROSS)
        left, top = column * (1 + _GAP), line * pitch + _CAPTION
        name = cases.image_ids[i]
        jpeg = pictures.get(name)
        picture = None if jpeg is None else grey(jpeg)
        if picture is None:
            picture = np.zeros((8, 8), dtype=np.uint8)
        axes.imshow(picture, extent=(left, left + 1, top + 1, top), cmap="gray", vmin=0, vmax=255)
        draw_outline(axes, lesions.get(name, []), left, top)
        lost, read = int(missed[:, i].sum()), int((cases.said[:, i] >= 0).sum())
        axes.text(
            left, top - 0.19, f"{before + place + 1}  {cases.classes[cases.labels[i]]}", fontsize=6, va="bottom"
        )
        axes.text(left, top - 0.03, f"{lost} of {read} rows", fontsize=5, va="bottom", color="#555555")
        tops = top + 1.02 + bar * np.arange(rows)
        colours = [
            MISS_COLOUR if missed[row, i] else HIT_COLOUR if cases.said[row, i] == cases.labels[i] else OTHER_COLOUR
            for row in range(rows)
        ]
        chances = cases.chances[:, i, cases.labels[i]]
        axes.barh(tops + bar / 2, np.ones(rows), left=left, height=bar * 0.8, color="#EEEEEE")
        axes.barh(tops + bar / 2, chances, left=left, height=bar * 0.8, color=colours)
    axes.set_xlim(0, width)
    axes.set_ylim(lines * pitch, 0)
    axes.set_aspect("equal", anchor="NW")
    axes.set_axis_off()
    made.suptitle(
        f"{cases.what.capitalize()}: {title([cases.rows[0]])}", x=0.01, y=0.995, ha="left", va="top", fontsize=7
    )
    entries = [Patch(color=MISS_COLOUR, label="missed by the row"), Patch(color=HIT_COLOUR, label="right")]
    if cases.negative is not None:
        entries.insert(1, Patch(color=OTHER_COLOUR, label="another tumour"))
    made.legend(
        handles=entries,
        title="bars: a row's probability of the true class",
        loc="upper right",
        bbox_to_anchor=(0.995, 1.0),
        ncols=3,
        fontsize=5.5,
        title_fontsize=5.5,
    )
