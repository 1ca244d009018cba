"""Every network of ``keras.applications``, as ``keras:NAME``.

Their names are read from the package's source: importing Keras takes seconds and brings TensorFlow along, which
planning must not.
"""

import hashlib
import importlib.util
import itertools
import re
from functools import cache, partial
from pathlib import Path

from backbones._keras import application, cached_application
from backbones.registry import CAFFE, HALF, IMAGENET, RAW, Backbone

# Family (the module in keras.applications): what its networks expect, the size they were made for, and the file of
# ImageNet weights that Keras's downloader keeps, where its name follows from the network's.
_TF_KERNELS = "{lower}_weights_tf_dim_ordering_tf_kernels_notop.h5"
_FAMILIES = {
    "convnext": (RAW, 224, ""),
    "densenet": (IMAGENET, 224, _TF_KERNELS),
    "efficientnet": (RAW, 224, "{lower}_notop.h5"),
    "efficientnet_v2": (RAW, 224, ""),
    "inception_resnet_v2": (HALF, 299, "inception_resnet_v2_weights_tf_dim_ordering_tf_kernels_notop.h5"),
    "inception_v3": (HALF, 299, "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"),
    "mobilenet": (HALF, 224, ""),
    "mobilenet_v2": (HALF, 224, ""),
    "mobilenet_v3": (RAW, 224, ""),
    "nasnet": (HALF, 224, ""),
    "resnet": (CAFFE, 224, _TF_KERNELS),
    "resnet_v2": (HALF, 224, _TF_KERNELS),
    "vgg16": (CAFFE, 224, _TF_KERNELS),
    "vgg19": (CAFFE, 224, _TF_KERNELS),
    "xception": (HALF, 299, _TF_KERNELS),
}
_SIZES = {
    "EfficientNetB1": 240, "EfficientNetB2": 260, "EfficientNetB3": 300, "EfficientNetB4": 380,
    "EfficientNetB5": 456, "EfficientNetB6": 528, "EfficientNetB7": 600,
    "EfficientNetV2B1": 240, "EfficientNetV2B2": 260, "EfficientNetV2B3": 300,
    "EfficientNetV2S": 384, "EfficientNetV2M": 480, "EfficientNetV2L": 480, "NASNetLarge": 331,
}  # fmt: skip
_NOTES = {
    "resnet": "v1: stride on the first 1x1 convolution, convolutions with bias",
    "vgg16": "without the two 4096-wide layers",
    "vgg19": "without the two 4096-wide layers",
}


def find(name: str) -> Backbone:
    """Return the backbone for a name in ``keras.applications`` (``MobileNetV2``).

    Raises:
        KeyError: Keras has no such network.
    """
    family = _families().get(name)
    if family is None and importlib.util.find_spec("keras") is not None:
        raise KeyError(f"keras:{name}")
    preprocessing, size, file_name = _FAMILIES.get(family or "", (None, 224, ""))
    return Backbone(
        name=f"keras:{name}",
        framework="keras",
        build=partial(application, name),
        library="keras",
        input_size=_SIZES.get(name, size),
        preprocessing=preprocessing,
        imagenet=f"keras.applications.{name}",
        local_weights=partial(cached_application, file_name.format(lower=name.lower())) if file_name else None,
        family="".join(itertools.takewhile(str.isalpha, family or "")),  # vgg of vgg16, resnet of resnet_v2
        note=_NOTES.get(family or "", ""),
        origin="keras:",
        source_hash=hashlib.sha256(Path(__file__).with_name("_keras.py").read_bytes()).hexdigest(),
    )


def known_names() -> tuple[str, ...]:
    """Return all names that :func:`find` accepts, with ``keras:`` before them, sorted."""
    return tuple(sorted(f"keras:{name}" for name in _families()))


@cache
def _families() -> dict[str, str]:
    """Return the module of each network; none where Keras is not installed."""
    package = importlib.util.find_spec("keras")
    if package is None or package.origin is None:
        return {}
    try:
        listed = (Path(package.origin).parent / "applications" / "__init__.py").read_text(encoding="utf-8")
    except OSError:
        return {}
    found = re.findall(r"from keras\.src\.applications\.(\w+) import \(?\s*(\w+) as \w+", listed)
    return {name: family for family, name in found if family in _FAMILIES}
