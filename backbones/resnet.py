"""ResNet50 (He et al. 2015) of several libraries; they are not the same network."""

from functools import partial
from pathlib import Path
from typing import Any

from backbones import CAFFE, IMAGENET, backbone
from backbones._timm import cached_weights


@backbone(
    "keras/resnet50",
    framework="keras",
    library="keras",
    preprocessing=CAFFE,
    note="ResNet50 v1: stride on the first 1x1 convolution, convolutions with bias",
)
def keras_resnet50(num_classes: int, weights: Path | str | None, input_size: int) -> Any:
    from backbones._keras import application

    return application("ResNet50", num_classes, weights, input_size)


@backbone(
    "timm/resnet50",
    framework="torch",
    library="timm",
    preprocessing=IMAGENET,
    imagenet="timm/resnet50.a1_in1k",
    local_weights=partial(cached_weights, "timm/resnet50.a1_in1k"),
    requires=("timm",),
    note="ResNet50 v1.5: stride on the 3x3 convolution, no bias",
)
def timm_resnet50(num_classes: int, weights: Path | str | None, input_size: int) -> Any:
    from backbones._timm import create

    return create("resnet50.a1_in1k", num_classes, weights, input_size)
