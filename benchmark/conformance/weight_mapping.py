"""Which weight of one network is which of another, and how its layout differs between torch and Keras.

Weights are matched by their layers' names where all of them agree, else by order. A torch weight is turned into
Keras's layout: convolution kernels from (out, in, H, W) to (H, W, in, out), depthwise ones from (C, 1, H, W) to
(H, W, C, 1), dense kernels from (out, in) to (in, out), and those that follow a flattened feature map from channels
first to channels last as well.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Shapes = Mapping[str, tuple[int, ...]]

_KINDS = {
    "kernel": "weight", "depthwise_kernel": "weight", "gamma": "weight", "beta": "bias",
    "moving_mean": "running_mean", "moving_variance": "running_var",
}  # fmt: skip


class NotOneArchitecture(Exception):
    """Two networks do not correspond; the message says where they first differ, and has no full stop."""


_NO_WEIGHTS = re.compile(r"num_batches_tracked|seed_generator")


def place(name: str) -> tuple[str, str]:
    """Return the layer and the kind of a weight, in torch's words: ``layer1.0.bn1`` and ``running_mean``."""
    *path, last = name.split("/")
    if "." in last:  # torch: stage/module.kind
        layer, _, kind = last.rpartition(".")
        return layer, kind
    return (path[-1] if path else ""), _KINDS.get(last, last)  # Keras: .../layer/kind


def _is_statistic(name: str) -> bool:
    return place(name)[1].startswith("running_")


def correspond(torch_shapes: Shapes, keras_shapes: Shapes) -> dict[str, str]:
    """Return for each torch name the Keras name of the same weight.

    Raises:
        NotOneArchitecture: they have not the same number of weights, or two of other sizes in one place.
    """
    ours = [name for name in torch_shapes if not _NO_WEIGHTS.search(name)]
    theirs = [name for name in keras_shapes if not _NO_WEIGHTS.search(name)]
    if len(ours) != len(theirs):
        raise NotOneArchitecture(f"one has {len(ours)} weights, the other {len(theirs)}")
    by_place = {place(name): name for name in theirs}
    if {place(name) for name in ours} == set(by_place) and len(by_place) == len(ours):
        pairs = {name: by_place[place(name)] for name in ours}
    else:
        pairs = {}
        for statistic in (False, True):
            mine = [name for name in ours if _is_statistic(name) is statistic]
            their = [name for name in theirs if _is_statistic(name) is statistic]
            pairs |= dict(zip(mine, their, strict=False))
    for name, other in pairs.items():
        if np.prod(torch_shapes[name], dtype=int) != np.prod(keras_shapes[other], dtype=int):
            raise NotOneArchitecture(
                f"{name} has shape {tuple(torch_shapes[name])}, and {other}, which stands in its place, "
                f"{tuple(keras_shapes[other])}"
            )
    return pairs


def to_keras(weights: Mapping[str, Array], pairs: Mapping[str, str], keras_shapes: Shapes) -> dict[str, Array]:
    """Return torch weights in Keras's layout, under Keras's names, in the order of ``weights``."""
    channels = 0
    converted = {}
    for name, value in weights.items():
        if name not in pairs:
            continue
        shape = keras_shapes[pairs[name]]
        if value.ndim == 4:
            channels = value.shape[0]
            value = value.transpose(2, 3, 0, 1) if value.shape[1] == 1 != shape[2] else value.transpose(2, 3, 1, 0)
        elif value.ndim == 2:
            inputs = value.shape[1]
            side = round((inputs / channels) ** 0.5) if channels else 0
            if side > 1 and side * side * channels == inputs:  # follows a flattened map of (channels, side, side)
                value = value.reshape(-1, channels, side, side).transpose(0, 2, 3, 1).reshape(-1, inputs)
            value = value.T
            channels = 0
        converted[pairs[name]] = np.ascontiguousarray(value.reshape(shape))
    return converted


def largest_difference(first: Sequence[Array], second: Sequence[Array]) -> float:
    """Return the largest absolute difference of arrays of the same shapes."""
    return max(
        float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max()) for a, b in zip(first, second, strict=True)
    )


def under(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    """Return the arrays whose names begin with a prefix, by what stands behind it."""
    return {name.removeprefix(prefix): arrays[name] for name in arrays if name.startswith(prefix)}
