"""Where the head ends in a slice, and how much of a heat map lies beyond it."""

import numpy as np
import numpy.typing as npt

from benchmark.evaluation.cam_metrics import Floats, upsample

Masks = npt.NDArray[np.bool_]

_ABOVE_BACKGROUND = 0.12  # of the 99th percentile of the smoothed picture: what is brighter belongs to the head
_LEAST = 8.0  # grey values: below lies the noise of the air and of JPEG
_CLOSED = 3  # pixels by which gaps in the skin are closed
_SHARES = (0.05, 0.97)  # of the picture that a head takes; outside of these no background can be told from a head


def head_mask(picture: npt.NDArray[np.uint8]) -> Masks | None:
    """Return which pixels of a slice belong to the head: what is brighter than the air around it, without holes.

    The picture is smoothed, cut at a low threshold, closed, and of its parts the largest is kept and filled.

    Args:
        picture: grey, shape (S, S), such as a thumbnail.

    Returns:
        bool, shape (S, S); ``None`` where no background can be told from a head, as in a picture with a bright ground
        or one that is cut at the head's edge.
    """
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(picture.astype(np.float64), sigma=1.0)
    bright = smooth > max(_LEAST, _ABOVE_BACKGROUND * float(np.percentile(smooth, 99)))
    padded = np.pad(bright, _CLOSED + 1)
    closed = ndimage.binary_closing(padded, iterations=_CLOSED)[
        _CLOSED + 1 : -_CLOSED - 1, _CLOSED + 1 : -_CLOSED - 1
    ]
    parts, count = ndimage.label(closed)
    if not count:
        return None
    largest = 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    head: Masks = ndimage.binary_fill_holes(parts == largest)
    return head if _SHARES[0] <= head.mean() <= _SHARES[1] else None


def energy_outside(heat: Floats, head: Masks) -> float:
    """Return the share of a heat map's sum that lies outside the head, 0 to 1.

    A map that is zero everywhere counts as one that is the same everywhere.

    Args:
        heat: not negative, shape (h, w).
        head: shape (S, S).
    """
    size = max(len(head), *heat.shape)
    places = (np.arange(size) + 0.5) * len(head) // size
    outside = ~head[np.ix_(places.astype(np.int64), places.astype(np.int64))]
    large = upsample(heat[None], size)[0].astype(np.float64)
    total = float(large.sum())
    return float(large[outside].sum() / total) if total > 0 else float(outside.mean())
