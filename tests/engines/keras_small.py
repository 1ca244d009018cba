"""Small Keras networks, and an engine built around one."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from backbones import Backbone
from benchmark.engines import BuildSpec, Network, create
from benchmark.recipe import Recipe
from tests.engines.torch_small import CLASSES, SIZE, changed, images, logits, train

__all__ = ["CLASSES", "SIZE", "built", "changed", "convolutions", "images", "logits", "plain", "residual", "train"]


def convolutions(num_classes: int) -> Any:
    """Two convolutions with BatchNorm, and a head with dropout."""
    import keras
    from keras import layers

    return keras.Sequential(
        [
            layers.Conv2D(8, 3, padding="same", name="first"),
            layers.BatchNormalization(name="first_bn"),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Conv2D(8, 3, padding="same", name="second"),
            layers.BatchNormalization(name="second_bn"),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(num_classes, name="logits"),
        ]
    )


def plain(num_classes: int) -> Any:
    """One convolution and a dense layer: nothing differs between training and inference."""
    import keras
    from keras import layers

    return keras.Sequential(
        [layers.Conv2D(4, 5, strides=4, activation="tanh"), layers.Flatten(), layers.Dense(num_classes)]
    )


def residual(num_classes: int, input_size: int) -> Any:
    """A functional network with a residual block, drop-path and a nested model."""
    import keras
    from keras import layers

    inputs = keras.Input((input_size, input_size, 3))
    x = layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    y = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same", name="inner")(x))
    x = layers.Add(name="joined")([x, layers.Dropout(0.5, noise_shape=(None, 1, 1, 1))(y)])
    nested = keras.Sequential([layers.Conv2D(4, 3, strides=2, name="nested"), layers.ReLU(name="nested_relu")])
    x = layers.GlobalAveragePooling2D()(nested(x))
    return keras.Model(inputs, layers.Dense(num_classes)(x))


@cache
def shut_out_torch() -> None:
    """Do for this process what a worker does for its own: keras-cv imports torch where it finds it."""
    from benchmark.engines.one_framework import shut_out_other_framework

    shut_out_other_framework("tensorflow")


def built(
    build: Callable[..., Any] = convolutions,
    *,
    engine: str = "tensorflow",
    seed: int = 0,
    size: int = SIZE,
    **changes: Any,
) -> Any:
    """Return an engine that has built a network, and what it says of it.

    Args:
        build: the adapter's function, or a whole adapter.
        engine: ``tensorflow`` or ``torch``.
        seed, size: of the assignment.
        changes: recipe fields, ``__`` for the dot.
    """
    if engine == "tensorflow":
        shut_out_torch()
    backbone = build if isinstance(build, Backbone) else Backbone(name="own/small", framework="keras", build=build)
    weights = changes.pop("weights", None)
    values = {"execution.precision": "float32", **{name.replace("__", "."): value for name, value in changes.items()}}
    made = create(engine, "cpu", tf32=False, deterministic=False)
    network: Network = made.build(BuildSpec(backbone, Recipe().with_values(values), CLASSES, size, weights, seed))
    return made, network


def cross_entropy(values: Any, labels: Any, smoothing: float = 0.0) -> Any:
    """Return each image's cross-entropy with the label mixed with the uniform distribution, in float64."""
    values = values.astype(np.float64)
    log_p = values - values.max(1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(1, keepdims=True))
    targets = np.eye(values.shape[1])[labels] * (1 - smoothing) + smoothing / values.shape[1]
    return -(targets * log_p).sum(1)
