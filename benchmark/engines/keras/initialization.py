"""Initial weights of a Keras network that a recipe has drawn by one rule for every framework."""

import math
from typing import Any

import keras

from benchmark.draws.initialization import glorot_uniform, he_normal, in_words
from benchmark.engines.keras.stages.graph import KerasStages

_layers = keras.layers
_KERNELS = (_layers.Conv1D, _layers.Conv2D, _layers.DepthwiseConv2D, _layers.SeparableConv2D, _layers.Dense)
_NORMS = (_layers.BatchNormalization, _layers.LayerNormalization, _layers.GroupNormalization)


def draw_initial_weights(stages: KerasStages, scale: float, seed: int) -> str:
    """Draw kernels, biases and norms by the rule of :mod:`benchmark.draws.initialization`.

    Layers count in the order of the forward pass.

    Args:
        stages: of a network without pretrained weights.
        scale: of the inputs, by which the first kernel is divided.
        seed: the run's.

    Returns:
        What was drawn, for the record.
    """
    layers = _layers_in_order(stages)
    kernels = [kernel for layer in layers if isinstance(layer, _KERNELS) for kernel in _kernels_of(layer)]
    for number, (kernel, fan_in) in enumerate(kernels):
        shape = tuple(int(side) for side in kernel.shape)
        if number == len(kernels) - 1 and len(shape) == 2:
            kernel.assign(glorot_uniform(seed, "logits", (shape[0], shape[1])))
        else:
            kernel.assign(he_normal(seed, number, shape, fan_in) / (scale if number == 0 else 1))
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


def draw_classifier(stages: KerasStages, seed: int) -> None:
    """Draw the last dense layer, which is new, as that of a new head.

    Args:
        stages: of a network with pretrained weights before it.
        seed: the run's.
    """
    dense = [layer for layer in _layers_in_order(stages) if isinstance(layer, keras.layers.Dense)]
    if dense:
        inputs, outputs = (int(side) for side in dense[-1].kernel.shape)
        dense[-1].kernel.assign(glorot_uniform(seed, "logits", (inputs, outputs)))
        if dense[-1].bias is not None:
            dense[-1].bias.assign(keras.ops.zeros_like(dense[-1].bias))


def _layers_in_order(stages: KerasStages) -> list[Any]:
    """Return the layers that have weights in the order of the forward pass; some networks hold layers unbuilt."""
    models = stages.singles() if stages.separable else [stages.whole]
    layers = dict.fromkeys(layer for model in models for layer in model._flatten_layers(include_self=False))
    return [layer for layer in layers if layer.built]


def _kernels_of(layer: Any) -> list[tuple[Any, int]]:
    """Return a layer's kernels, each with the number of values that one output is a sum of."""
    if isinstance(layer, keras.layers.SeparableConv2D):
        depthwise, pointwise = layer.depthwise_kernel, layer.pointwise_kernel
        return [(depthwise, math.prod(depthwise.shape[:-2])), (pointwise, math.prod(pointwise.shape[:-1]))]
    outputs_from = 2 if isinstance(layer, keras.layers.DepthwiseConv2D) else 1
    return [(layer.kernel, math.prod(layer.kernel.shape[:-outputs_from]))]
