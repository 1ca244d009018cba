"""VGG16 (Simonyan & Zisserman 2014) of several libraries; they are not the same network."""

from functools import partial
from pathlib import Path
from typing import Any

from backbones import IMAGENET, backbone
from backbones._timm import cached_weights


@backbone(
    "timm/vgg16",
    framework="torch",
    library="timm",
    preprocessing=IMAGENET,
    imagenet="timm/vgg16.tv_in1k",
    local_weights=partial(cached_weights, "timm/vgg16.tv_in1k"),
    requires=("timm",),
    note="VGG16 with its two 4096-wide layers (134 M parameters), no BatchNorm",
)
def timm_vgg16(num_classes: int, weights: Path | str | None, input_size: int) -> Any:
    from backbones._timm import create

    return create("vgg16.tv_in1k", num_classes, weights, input_size)
