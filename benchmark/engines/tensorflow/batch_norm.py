"""BatchNormalization by TensorFlow's fused kernel.

Keras computes moments and the normalisation from some ten elementary operations, each a pass over the feature map.
The fused kernel gives the same values in a third of the passes, and the unbiased variance with them.
"""

from functools import partial
from typing import Any

import tensorflow as tf

from benchmark.engines.keras.network import set_plain_batch_norm
from benchmark.recipe import BatchNorm

# TensorFlow raises a smaller epsilon to this for cuDNN's sake; such a layer keeps Keras's own computation.
_SMALLEST_EPSILON = 1.001e-5


def set_batch_norm(layer: Any, rule: BatchNorm) -> None:
    """Give a BatchNormalization layer the recipe's conventions, and the fused kernel where that fits it."""
    set_plain_batch_norm(layer, rule)
    fits = (
        layer.scale and layer.center and layer.epsilon >= _SMALLEST_EPSILON and not layer.renorm
    ) and layer.input_spec.ndim == 4
    if fits and layer.axis in (-1, 3):
        layer.call = partial(_call, layer, layer.call, rule.variance == "unbiased")


def _call(layer: Any, plain: Any, unbiased: bool, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
    if mask is not None:
        return plain(inputs, training=training, mask=mask)
    inputs = tf.cast(inputs, layer.compute_dtype)
    gamma, beta = tf.cast(layer.gamma, tf.float32), tf.cast(layer.beta, tf.float32)
    mean, variance = layer.moving_mean, layer.moving_variance
    if not (training and layer.trainable):
        outputs, _, _ = tf.compat.v1.nn.fused_batch_norm(
            inputs,
            gamma,
            beta,
            tf.cast(mean, tf.float32),
            tf.cast(variance, tf.float32),
            layer.epsilon,
            is_training=False,
        )
        return outputs
    outputs, batch_mean, batch_variance = tf.compat.v1.nn.fused_batch_norm(inputs, gamma, beta, epsilon=layer.epsilon)
    if not unbiased:
        n = tf.cast(tf.size(inputs) / tf.shape(inputs)[-1], tf.float32)
        batch_variance *= tf.maximum(n - 1, 1) / n
    momentum = layer.momentum
    mean.assign(mean * momentum + batch_mean * (1 - momentum))
    variance.assign(variance * momentum + batch_variance * (1 - momentum))
    return outputs
