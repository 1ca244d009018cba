"""Test-time augmentation: an image and its mirror images are predicted, and their probabilities averaged.

Krizhevsky et al. 2012, "ImageNet classification with deep convolutional neural networks", section 4.1, averages the
softmax over flips and crops; here there are flips alone, which change nothing of what an image shows.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from benchmark.evaluation.temperature import softmax
from benchmark.recipe import Flips

Pixels = npt.NDArray[np.uint8]
# Axes of (N, S, S, 3) that are turned around, for each view; the first is the image as it is.
AXES: dict[Flips, tuple[tuple[int, ...], ...]] = {
    "none": ((),),
    "horizontal": ((), (2,)),
    "all": ((), (2,), (1,), (1, 2)),
}


def mirrored(pixels: Pixels, flips: Flips) -> list[Pixels]:
    """Return the further views of images, uint8 of shape (N, S, S, 3) each; none for ``none``."""
    return [np.ascontiguousarray(np.flip(pixels, axes)) for axes in AXES[flips][1:]]


def averaged(views: Sequence[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """Return the mean of the views' probabilities, each of shape (N, C); those of one view unchanged."""
    return views[0] if len(views) == 1 else np.asarray(np.mean(views, axis=0))


def logits_of_views(
    forward: Callable[[Pixels], npt.NDArray[np.float32]],
    pixels: Pixels,
    first: npt.NDArray[np.float32],
    flips: Flips,
) -> npt.NDArray[np.float32]:
    """Return logits whose softmax is the mean of the views' probabilities, float32 of shape (N, C).

    Args:
        forward: returns the logits of prepared images.
        pixels: the images, uint8 of shape (N, S, S, 3).
        first: the logits of the images as they are.
        flips: which views there are; with one alone ``first`` is returned as it is.
    """
    further = mirrored(pixels, flips)
    if not further:
        return first
    mean = averaged([softmax(first), *(softmax(forward(view)) for view in further)])
    return np.log(np.maximum(mean, np.finfo(np.float32).tiny)).astype(np.float32)
