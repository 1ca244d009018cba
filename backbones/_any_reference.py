"""``reference:NAME``: networks that exist only to be compared with one of another framework, weight by weight.

They are no part of ``--all``. Their layers bear the names that the other library gives its modules, which is how
weights find their place.
"""

from typing import Any

from backbones.registry import IMAGENET, Backbone, source_hash_of


def keras_resnet50_v1_5(num_classes: int, input_size: int) -> Any:
    """Build ResNet50 v1.5 in Keras: timm's ``resnet50``, stride on the 3x3, no biases, padding as torch's."""
    import keras
    from keras import layers

    def convolution(x: Any, filters: int, kernel: int, stride: int, name: str) -> Any:
        if kernel > 1:
            x = layers.ZeroPadding2D(kernel // 2)(x)
        return layers.Conv2D(filters, kernel, stride, use_bias=False, name=name)(x)

    def normalized(x: Any, name: str) -> Any:
        return layers.BatchNormalization(epsilon=1e-5, name=name)(x)

    def bottleneck(x: Any, filters: int, stride: int, name: str) -> Any:
        shortcut = x
        if stride > 1 or x.shape[-1] != 4 * filters:
            shortcut = convolution(x, 4 * filters, 1, stride, f"{name}.downsample.0")
            shortcut = normalized(shortcut, f"{name}.downsample.1")
        x = layers.ReLU()(normalized(convolution(x, filters, 1, 1, f"{name}.conv1"), f"{name}.bn1"))
        x = layers.ReLU()(normalized(convolution(x, filters, 3, stride, f"{name}.conv2"), f"{name}.bn2"))
        x = normalized(convolution(x, 4 * filters, 1, 1, f"{name}.conv3"), f"{name}.bn3")
        return layers.ReLU()(layers.Add()([x, shortcut]))

    inputs = keras.Input((input_size, input_size, 3))
    x = layers.ReLU()(normalized(convolution(inputs, 64, 7, 2, "conv1"), "bn1"))
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))  # after a ReLU, zeros pad as minus infinity does
    for stage, (filters, blocks) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)], start=1):
        for block in range(blocks):
            x = bottleneck(x, filters, 2 if stage > 1 and block == 0 else 1, f"layer{stage}.{block}")
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(num_classes, name="fc")(x))


_REFERENCES = {
    "keras_resnet50_v1_5": Backbone(
        name="reference:keras_resnet50_v1_5",
        framework="keras",
        build=keras_resnet50_v1_5,
        preprocessing=IMAGENET,
        note="timm's ResNet50 v1.5 in Keras",
        source_hash=source_hash_of(keras_resnet50_v1_5),
    )
}


def known_names() -> tuple[str, ...]:
    """Return the names after ``reference:``."""
    return tuple(_REFERENCES)


def find(name: str) -> Backbone:
    """Return a reference by name; raises ``KeyError``."""
    return _REFERENCES[name]
