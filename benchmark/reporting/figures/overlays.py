"""Small pictures of test images: read from their thumbnails, under a heat map, with the lesion's outline."""

import io
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmark.evaluation.cam_metrics import upsample
from benchmark.reporting.figures.thumbnails import LARGEST, UNREADABLE_PICTURE

Picture = npt.NDArray[np.uint8]  # shape (H, W), grey
Line = list[tuple[float, float]]  # closed; x and y as shares of the image's width and height, from above left

OUTLINE_COLOUR = "#56B4E9"  # Okabe & Ito's sky blue: apart from grey and from the heat's colours for every reader
HEAT_SHARE = 0.65  # of a heat map in what is drawn; the rest is the image


def grey(jpeg: bytes) -> Picture | None:
    """Return a thumbnail's pixels, ``None`` where it is no picture."""
    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
            return np.asarray(image.convert("L")) if max(image.size) <= LARGEST else None
    except UNREADABLE_PICTURE:
        return None


def no_picture(axes: Any, left: float, top: float, side: float = 1.0) -> None:
    """Say in a square cell that no picture of the image was kept: a black square would look like an image."""
    from matplotlib.patches import Rectangle

    box = Rectangle((left, top), side, side, facecolor="#F2F2F2", edgecolor="#888888", linestyle=":", linewidth=0.5)
    axes.add_patch(box)
    axes.text(
        left + side / 2, top + side / 2, "no picture\nkept", fontsize=5, ha="center", va="center", color="#555555"
    )


def under_heat(picture: Picture, heat: npt.NDArray[np.float32]) -> Picture:
    """Return a picture under its heat map in perceptually even colours, uint8 of shape (S, S, 3)."""
    from matplotlib import colormaps

    colours = colormaps["inferno"](upsample(heat[None], picture.shape[0])[0])[..., :3]
    mixed = HEAT_SHARE * colours + (1 - HEAT_SHARE) * (picture / 255.0)[..., None]
    return np.asarray(mixed * 255, dtype=np.uint8)


def outline(lesion: npt.NDArray[np.bool_]) -> list[Line]:
    """Return the outlines of a lesion; none where the mask is empty."""
    from contourpy import contour_generator

    if not lesion.any():
        return []
    size = len(lesion)
    padded = np.pad(lesion.astype(np.float64), 1)  # so that a lesion at the edge is closed too
    lines = cast(list[npt.NDArray[np.float64]], contour_generator(z=padded, line_type="Separate").lines(0.5))
    return [[((x - 0.5) / size, (y - 0.5) / size) for x, y in line] for line in lines]


def draw_outline(axes: Any, lines: Sequence[Line], left: float, top: float, side: float = 1.0) -> None:
    """Draw outlines into a square cell whose upper left corner and side are given; y points down."""
    from matplotlib.collections import LineCollection

    moved = [[(left + side * x, top + side * y) for x, y in line] for line in lines]
    axes.add_collection(LineCollection(moved, colors=OUTLINE_COLOUR, linewidths=0.7), autolim=False)
