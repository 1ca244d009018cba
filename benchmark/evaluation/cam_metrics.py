"""Where a network looks: the formulas of heat maps, their scores against lesion masks, and their baselines.

All of it is NumPy on arrays; the engines give features and gradients and know nothing of maps. Batches of maps have
shape (M, H, W), masks are bool of shape (M, S, S).
"""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Masks = npt.NDArray[np.bool_]

POINTING, ENERGY, IOU = "cam_pointing", "cam_energy", "cam_iou"
SCORES = (POINTING, ENERGY, IOU)
GAUSSIAN, UNIFORM, MEAN_MASK = "centred Gaussian", "uniform map", "mean training mask"
BASELINES = {GAUSSIAN: "gaussian", UNIFORM: "uniform", MEAN_MASK: "mean_mask"}  # names, and how columns end
GAUSSIAN_SIGMA = 0.25  # of the image's side
_CHUNK, _CHUNK_PIXELS = 64, 2**22  # maps that are held at full size at once, and their pixels at most


def grad_cam(features: Floats, gradients: Floats) -> npt.NDArray[np.float32]:
    """Return Grad-CAM maps (Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via
    Gradient-based Localization", equations 1 and 2).

    A channel k weighs ``alpha_k``, the mean over the map of the gradient of the class's logit with respect to that
    channel; the map is ``ReLU(sum_k alpha_k A_k)``.

    Args:
        features: ``A``, the output of a convolutional stage, shape (M, H, W, K).
        gradients: of the class's logit, before the softmax, with respect to ``A``; the same shape.

    Returns:
        float32, shape (M, H, W), not negative.

    Raises:
        ValueError: the shapes differ, or are not those of feature maps.

    Example:
        >>> features = np.array([[[[1.0, 0.0], [0.0, 5.0]]]])  # one map of 1 x 2 pixels, two channels
        >>> gradients = np.array([[[[2.0, -1.0], [2.0, -1.0]]]])
        >>> grad_cam(features, gradients).tolist()
        [[[2.0, 0.0]]]
    """
    _require_maps(features, gradients)
    weights = gradients.mean(axis=(1, 2), dtype=np.float64)
    maps = np.einsum("mhwk,mk->mhw", features.astype(np.float64), weights)
    return np.asarray(np.maximum(maps, 0), dtype=np.float32)


def hires_cam(features: Floats, gradients: Floats) -> npt.NDArray[np.float32]:
    """Return HiResCAM maps (Draelos & Carin 2020, "Use HiResCAM instead of Grad-CAM for faithful explanations of
    convolutional neural networks", equation 5): ``ReLU(sum_k G_k * A_k)``, place by place.

    Gradients ``G`` are not averaged over the map first, so that a place counts by what it adds to the logit. Where a
    linear head follows a mean over all places, all places of a channel have one gradient, and it is Grad-CAM.

    Args, returns, raises: as :func:`grad_cam`.
    """
    _require_maps(features, gradients)
    maps = np.einsum("mhwk,mhwk->mhw", features.astype(np.float64), gradients.astype(np.float64))
    return np.asarray(np.maximum(maps, 0), dtype=np.float32)


def layer_cam(features: Floats, gradients: Floats) -> npt.NDArray[np.float32]:
    """Return LayerCAM maps (Jiang, Zhang, Hou, Cheng & Wei 2021, "LayerCAM: exploring hierarchical class activation
    maps for localization", equations 4 to 6): ``ReLU(sum_k ReLU(G_k) * A_k)``, place by place.

    Only places whose gradient speaks for the class count, which suits the finer maps of earlier stages.

    Args, returns, raises: as :func:`grad_cam`.
    """
    _require_maps(features, gradients)
    weights = np.maximum(gradients.astype(np.float64), 0)
    maps = np.einsum("mhwk,mhwk->mhw", features.astype(np.float64), weights)
    return np.asarray(np.maximum(maps, 0), dtype=np.float32)


# By the name of an option: the method's own name, and its formula of features and gradients.
CAM_METHODS: Mapping[str, tuple[str, Callable[[Floats, Floats], npt.NDArray[np.float32]]]] = {
    "grad-cam": ("Grad-CAM", grad_cam),
    "hirescam": ("HiResCAM", hires_cam),
    "layercam": ("LayerCAM", layer_cam),
}


def _require_maps(features: Floats, gradients: Floats) -> None:
    if features.shape != gradients.shape or features.ndim != 4:
        raise ValueError(f"features of shape {features.shape} and gradients of {gradients.shape} make no map")


def normalized(maps: Floats) -> npt.NDArray[np.float32]:
    """Return maps, shape (M, h, w), whose largest value is 1, each; a map that is zero everywhere stays so."""
    top = maps.max(axis=(1, 2), keepdims=True)
    return np.asarray(np.divide(maps, top, out=np.zeros(maps.shape, dtype=np.float32), where=top > 0))


def upsample(maps: Floats, size: int) -> npt.NDArray[np.float32]:
    """Return maps at ``size`` x ``size`` pixels: bilinear, half-pixel centres, edges repeated.

    The same as ``torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`` and ``tf.image.resize``,
    as two matrix products.

    Args:
        maps: shape (M, h, w); neither side larger than ``size``.
        size: in pixels.
    """
    rows, columns = _weights(maps.shape[1], size), _weights(maps.shape[2], size)
    # in float64, so that points which are equal stay equal, whatever order a processor adds in
    return np.asarray(rows @ maps.astype(np.float64) @ columns.T, dtype=np.float32)


def averaged(maps: npt.NDArray[np.generic], shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Return maps at a coarser size, each pixel the mean over the area that it covers: float32, shape (M, h, w).

    Args:
        maps: shape (M, S, S).
        shape: h and w, at most S, of which S need not be a multiple.
    """
    rows, columns = (_areas(maps.shape[axis + 1], small) for axis, small in enumerate(shape))
    coarse = np.empty((len(maps), *shape), dtype=np.float32)
    step = max(1, min(_CHUNK, _CHUNK_PIXELS // max(1, maps.shape[1] * maps.shape[2])))
    for start in range(0, len(maps), step):
        coarse[start : start + step] = rows @ maps[start : start + step].astype(np.float64) @ columns.T
    return coarse


def _areas(large: int, small: int) -> npt.NDArray[np.float64]:
    """Return means over ``small`` intervals of ``large`` samples as a matrix, shape (small, large)."""
    edges = np.arange(small + 1) * (large / small)
    starts = np.arange(large)
    overlap = np.minimum(edges[1:, None], starts + 1) - np.maximum(edges[:-1, None], starts)
    return np.asarray(np.maximum(overlap, 0) * (small / large))


def _weights(small: int, large: int) -> npt.NDArray[np.float64]:
    """Return the linear interpolation from ``small`` to ``large`` samples as a matrix, shape (large, small)."""
    at = np.clip((np.arange(large) + 0.5) * small / large - 0.5, 0, small - 1)
    below = np.minimum(np.floor(at).astype(np.int64), small - 1)
    above = np.minimum(below + 1, small - 1)
    share = at - below
    matrix = np.zeros((large, small))
    np.add.at(matrix, (np.arange(large), below), 1 - share)
    np.add.at(matrix, (np.arange(large), above), share)
    return matrix


# --- scores -------------------------------------------------------------------------------------------------------


MapScores = dict[str, npt.NDArray[np.float64]]  # by the leaderboard's column, one entry for each image, from 0 to 1


def score_maps(maps: Floats, masks: Masks) -> MapScores:
    """Score heat maps against the masks of their images.

    What does not depend on a map's scale is not touched by it, and a map that says nothing (the same everywhere,
    zero included) scores what chance would.

    Args:
        maps: not negative, shape (M, h, w); enlarged by :func:`upsample`.
        masks: bool, shape (M, S, S), each with a pixel at least.

    Returns:
        Under ``POINTING``: whether the map's highest point lies in the mask (Zhang et al. 2018, "Top-down neural
        attention by excitation backprop", without their tolerance of 15 pixels); where several points are highest,
        the share of them that does. Under ``ENERGY``: the share of the map's sum inside the mask (Wang et al. 2020,
        "Score-CAM", section 4.3). Under ``IOU``: intersection over union of the mask and as many of the map's highest
        points as the mask has; of equal points at the limit, each counts for the same fraction.

    Raises:
        ValueError: other numbers of maps and masks, or an empty mask.
    """
    if len(maps) != len(masks):
        raise ValueError(f"{len(maps)} maps for {len(masks)} masks")
    if not masks.any(axis=(1, 2)).all():
        raise ValueError("an image without a lesion can't be scored")
    size = masks.shape[1]
    scores = np.zeros((3, len(maps)))
    step = max(1, min(_CHUNK, _CHUNK_PIXELS // max(1, size) ** 2))
    for start in range(0, len(maps), step):
        part = slice(start, start + step)
        large = upsample(maps[part], size) if maps.shape[1:] != masks.shape[1:] else maps[part]
        for number, (heat, mask) in enumerate(zip(large, masks[part], strict=True), start=start):
            flat, inside = heat.ravel().astype(np.float64), mask.ravel()
            scores[:, number] = _pointing(flat, inside), _energy(flat, inside), _iou(flat, inside)
    return dict(zip(SCORES, scores, strict=True))


def _pointing(heat: npt.NDArray[np.float64], inside: npt.NDArray[np.bool_]) -> float:
    return float(inside[heat == heat.max()].mean())


def _energy(heat: npt.NDArray[np.float64], inside: npt.NDArray[np.bool_]) -> float:
    total = heat.sum()
    return float(heat[inside].sum() / total) if total > 0 else float(inside.mean())


def _iou(heat: npt.NDArray[np.float64], inside: npt.NDArray[np.bool_]) -> float:
    area = int(inside.sum())
    limit = np.partition(heat, len(heat) - area)[len(heat) - area]
    above, equal = heat > limit, heat == limit
    share = (area - above.sum()) / equal.sum()  # of the points at the limit that belong to the highest ones
    both = inside[above].sum() + share * inside[equal].sum()
    return float(both / (2 * area - both))


def baseline_maps(size: int, mean_mask: Floats | None) -> dict[str, npt.NDArray[np.float32]]:
    """Return the maps that know nothing of an image, each of shape (S, S), by name.

    Published heat maps barely beat them: lesions lie near the middle, and where lesions usually lie. A uniform map's
    pointing score is the mask's share of the image.

    Args:
        size: S, in pixels.
        mean_mask: mean of the training images' lesion masks, shape (S, S); ``None`` leaves that baseline out.
    """
    at = (np.arange(size) + 0.5) / size - 0.5
    bell = np.exp(-(at**2) / (2 * GAUSSIAN_SIGMA**2))
    maps = {
        GAUSSIAN: np.outer(bell, bell).astype(np.float32),
        UNIFORM: np.ones((size, size), dtype=np.float32),
    }
    if mean_mask is not None:
        maps[MEAN_MASK] = mean_mask.astype(np.float32)
    return maps


def score_baselines(
    masks: Masks, mean_mask: Floats | None, shape: tuple[int, int] | None = None
) -> Mapping[str, MapScores]:
    """Return what each baseline scores on the same masks at a map's own resolution, by name.

    Args:
        masks: bool, shape (M, S, S).
        mean_mask: as in :func:`baseline_maps`.
        shape: of the maps that they stand beside: a baseline is averaged to it, and enlarged again as they are.
            ``None``: as fine as the masks.
    """
    size = masks.shape[1]
    maps = baseline_maps(size, mean_mask)
    scores = {}
    for name, each in maps.items():
        coarse = averaged(each[None], shape or (size, size))
        scores[name] = score_maps(np.broadcast_to(coarse, (len(masks), *coarse.shape[1:])), masks)
    return scores


def score_oracle(masks: Masks, shape: tuple[int, int]) -> MapScores:
    """Return what the lesions themselves score as maps of some size: the ceiling of what that size can show.

    Each mask is averaged to the size of the map and enlarged again. At 2 x 2 pixels the highest point of an enlarged
    map can only lie in a corner, where no lesion is.

    Args:
        masks: bool, shape (M, S, S), each with a pixel at least.
        shape: height and width of the maps.
    """
    return score_maps(averaged(masks, shape), masks)


def mean_mask(masks: npt.NDArray[np.generic]) -> npt.NDArray[np.float32] | None:
    """Return the mean of the masks that have a lesion, float32 of shape (S, S), or ``None`` where none has.

    Args:
        masks: shape (M, S, S), not zero inside a lesion.
    """
    total, count = np.zeros(masks.shape[1:], dtype=np.float64), 0
    for start in range(0, len(masks), _CHUNK):
        part = np.asarray(masks[start : start + _CHUNK]) != 0
        total += part.sum(axis=0)
        count += int(part.any(axis=(1, 2)).sum())
    return (total / count).astype(np.float32) if count else None


def rank_correlation(first: Floats, second: Floats) -> npt.NDArray[np.float64]:
    """Return Spearman's rank correlation of each map with its counterpart, shape (M,); 0 where one is constant.

    Args:
        first, second: maps of one shape (M, H, W).
    """
    from scipy.stats import rankdata

    ranks = [rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (first, second)]
    centred = [each - each.mean(axis=1, keepdims=True) for each in ranks]
    norms = np.sqrt((centred[0] ** 2).sum(axis=1) * (centred[1] ** 2).sum(axis=1))
    products = (centred[0] * centred[1]).sum(axis=1)
    return np.asarray(np.divide(products, norms, out=np.zeros(len(products)), where=norms > 0))
