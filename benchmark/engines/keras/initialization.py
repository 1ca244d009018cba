"""Initial weights of a Keras network that a recipe has drawn by one rule for every framework."""

import math
from typing import Any

import keras

from benchmark.draws.initialization import glorot_uniform, he_normal, in_words
from benchmark.engines.keras.stages.graph import KerasStages

_layers = keras.layers
_KERNELS = (_layers.Conv1D, _layers.Conv2D, _layers.DepthwiseConv2D, _layers.SeparableConv2D, _layers.Dense)
_NORMS = (_layers.BatchNormalization, _layers.LayerNormalization, _layers.GroupNormalization)


def draw_initial_weights(stages: KerasStages, seed: int) -> str:
    """Draw kernels, biases and norms by the rule of :mod:`benchmark.draws.initialization`.

    Layers count in the order of the forward pass.

    Args:
        stages: of a network without pretrained weights.
        seed: the run's.

    Returns:
        What was drawn, for the record.
    """
    models = stages.singles() if stages.separable else [stages.whole]
    layers = dict.fromkeys(layer for model in models for layer in model._flatten_layers(include_self=False))
    kernels = [kernel for layer in layers if isinstance(layer, _KERNELS) for kernel in _kernels_of(layer)]
    for number, (kernel, fan_in) in enumerate(kernels):
        shape = tuple(int(side) for side in kernel.shape)
        if number == len(kernels) - 1 and len(shape) == 2:
            kernel.assign(glorot_uniform(seed, "logits", (shape[0], shape[1])))
        else:
            kernel.assign(he_normal(seed, number, shape, fan_in))
    drawn = {id(kernel) for kernel, _ in kernels}
    norms = [layer for layer in layers if isinstance(layer, _NORMS)]
    for layer in layers:
        constants = [(getattr(layer, "bias", None), 0)] if isinstance(layer, _KERNELS) else []
        if layer in norms:
            constants = [(layer.gamma, 1), (layer.beta, 0)]
        for weight, value in constants:
            if weight is not None:
                weight.assign(keras.ops.full_like(weight, value))
                drawn.add(id(weight))
    left = sum(id(weight) not in drawn for weight in stages.whole.trainable_weights)
    return in_words(len(kernels), len(norms), left)


def _kernels_of(layer: Any) -> list[tuple[Any, int]]:
    """Return a layer's kernels, each with the number of values that one output is a sum of."""
    if isinstance(layer, keras.layers.SeparableConv2D):
        depthwise, pointwise = layer.depthwise_kernel, layer.pointwise_kernel
        return [(depthwise, math.prod(depthwise.shape[:-2])), (pointwise, math.prod(pointwise.shape[:-1]))]
    outputs_from = 2 if isinstance(layer, keras.layers.DepthwiseConv2D) else 1
    return [(layer.kernel, math.prod(layer.kernel.shape[:-outputs_from]))]
