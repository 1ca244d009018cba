"""ResNet50 (He et al. 2015) of several libraries; they are not the same network."""

from pathlib import Path
from typing import Any

from backbones import CAFFE, backbone


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
