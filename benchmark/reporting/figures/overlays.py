"""Small pictures of test images: read from their thumbnails, under a heat map, with the lesion's outline."""

import io
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmark.evaluation.cam_metrics import upsample
from benchmark.reporting.figures.thumbnails import LARGEST, SIDE, UNREADABLE_PICTURE

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


def under_heat(picture: Picture | None, heat: npt.NDArray[np.float32]) -> Picture:
    """Return a picture under its heat map in perceptually even colours, uint8 of shape (S, S, 3)."""
    from matplotlib import colormaps

    size = SIDE if picture is None else picture.shape[0]
    colours = colormaps["inferno"](upsample(heat[None], size)[0])[..., :3]
    below = np.zeros((size, size)) if picture is None else picture / 255.0
    mixed = HEAT_SHARE * colours + (1 - HEAT_SHARE) * below[..., None]
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
