"""ResNet50 (He et al. 2015) of several libraries; they are not the same network."""

from functools import partial
from pathlib import Path
from typing import Any

from backbones import CAFFE, IMAGENET, RAW, backbone
from backbones._keras import cached_application, cached_kaggle
from backbones._timm import cached_weights

_KERAS = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
_KERAS_CV = "keras/resnetv1/keras/resnet50_imagenet/2"


@backbone(
    "keras/resnet50",
    framework="keras",
    library="keras",
    parameters=23_542_788,
    stage_count=18,
    family="resnet",
    preprocessing=CAFFE,
    imagenet=f"{_KERAS} (MD5 4d473c1dd8becc155b73f8504c6f6626)",
    local_weights=partial(cached_application, _KERAS),
    note="ResNet50 v1: stride on the first 1x1 convolution, convolutions with bias",
)
def keras_resnet50(num_classes: int, weights: Path | str | None, input_size: int) -> Any:
    from backbones._keras import application

    return application("ResNet50", num_classes, weights, input_size)


@backbone(
    "keras_cv/resnet50",
    framework="keras",
    library="keras_cv",
    parameters=23_516_228,
    stage_count=18,
    family="resnet",
    preprocessing=RAW,  # it divides by 255 itself
    imagenet=f"kaggle: {_KERAS_CV}",
    local_weights=partial(cached_kaggle, _KERAS_CV),
    keras_backends=("tensorflow",),
    requires=("keras_cv",),
    note="ResNet50 v1: stride on the first 1x1 convolution, no bias",
)
def keras_cv_resnet50(num_classes: int, weights: Path | str | None, input_size: int) -> Any:
    from keras_cv.models import ResNetBackbone

    from backbones._keras import kaggle, with_head

    # ResNet50Backbone would fetch this configuration from the network
    features = ResNetBackbone(
        stackwise_filters=[64, 128, 256, 512],
        stackwise_blocks=[3, 4, 6, 3],
        stackwise_strides=[1, 2, 2, 2],
        block_type="block",
        include_rescaling=True,
        input_shape=(input_size, input_size, 3),
        name="resnet50",
    )
    return with_head(features, num_classes, kaggle(_KERAS_CV, weights))


@backbone(
    "timm/resnet50",
    framework="torch",
    library="timm",
    parameters=23_516_228,
    stage_count=18,
    family="resnet",
    preprocessing=IMAGENET,
    imagenet="timm/resnet50.a1_in1k",
    local_weights=partial(cached_weights, "timm/resnet50.a1_in1k"),
    requires=("timm",),
    note="ResNet50 v1.5: stride on the 3x3 convolution, no bias",
)
def timm_resnet50(num_classes: int, weights: Path | str | None, input_size: int) -> Any:
    from backbones._timm import create

    return create("resnet50.a1_in1k", num_classes, weights, input_size)
