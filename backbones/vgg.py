"""VGG16 (Simonyan & Zisserman 2014) of several libraries; they are not the same network."""

from functools import partial
from pathlib import Path
from typing import Any

from backbones import CAFFE, IMAGENET, RAW, backbone
from backbones._keras import cached_application
from backbones._timm import cached_weights

_KERAS = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"


@backbone(
    "keras/vgg16",
    framework="keras",
    library="keras",
    parameters=14_716_740,
    stage_count=14,
    family="vgg",
    preprocessing=CAFFE,
    imagenet=f"{_KERAS} (MD5 6d6bbae143d832006294945121d1f1fc)",
    local_weights=partial(cached_application, _KERAS),
    note="VGG16 without the two 4096-wide layers (14.7 M parameters), no BatchNorm",
)
def keras_vgg16(num_classes: int, weights: Path | str | None, input_size: int) -> Any:
    from backbones._keras import application

    return application("VGG16", num_classes, weights, input_size)


@backbone(
    "keras_cv/vgg16",
    framework="keras",
    library="keras_cv",
    parameters=14_716_740,
    stage_count=14,
    family="vgg",
    preprocessing=RAW,  # it divides by 255 itself
    keras_backends=("tensorflow",),
    requires=("keras_cv",),
    note="VGG16 without the two 4096-wide layers (14.7 M parameters), no BatchNorm, inputs 0-1",
)
def keras_cv_vgg16(num_classes: int, weights: Path | None, input_size: int) -> Any:
    from keras_cv.models import VGG16Backbone

    from backbones._keras import with_head

    shape = (input_size, input_size, 3)
    features = VGG16Backbone(include_rescaling=True, include_top=False, input_shape=shape, name="vgg16")
    return with_head(features, num_classes, weights)


@backbone(
    "timm/vgg16",
    framework="torch",
    library="timm",
    parameters=134_276_932,
    stage_count=14,
    family="vgg",
    preprocessing=IMAGENET,
    imagenet="timm/vgg16.tv_in1k",
    local_weights=partial(cached_weights, "timm/vgg16.tv_in1k"),
    requires=("timm",),
    note="VGG16 with its two 4096-wide layers (134 M parameters), no BatchNorm",
)
def timm_vgg16(num_classes: int, weights: Path | str | None, input_size: int) -> Any:
    from backbones._timm import create

    return create("vgg16.tv_in1k", num_classes, weights, input_size)
