"""Kernels of a Keras network that a recipe draws anew."""

import math

import keras

from benchmark.draws.initialization import he_normal
from benchmark.engines.keras.stages.graph import KerasStages


def draw_kernels(stages: KerasStages, seed: int) -> None:
    """Give convolutions and dense layers He's kernels and zero biases, as on every framework, but those of the head.

    Args:
        stages: of a network without pretrained weights that can be called one by one.
        seed: of the run.
    """
    layers = dict.fromkeys(layer for model in stages.singles()[:-1] for layer in model.layers)
    with_kernel = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)
    for number, layer in enumerate(layer for layer in layers if isinstance(layer, with_kernel)):
        shape = tuple(int(side) for side in layer.kernel.shape)
        outputs_from = 2 if isinstance(layer, keras.layers.DepthwiseConv2D) else 1
        layer.kernel.assign(he_normal(seed, number, shape, math.prod(shape[:-outputs_from])))
        if layer.bias is not None:
            layer.bias.assign(keras.ops.zeros_like(layer.bias))
