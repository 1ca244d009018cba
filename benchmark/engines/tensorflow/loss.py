"""The loss of each image in TensorFlow."""

from typing import Any

import tensorflow as tf

from benchmark.recipe import Loss

# (1 - p) is kept from zero, where the slope of a power below 1 has no bound.
_SMALLEST_COMPLEMENT = 1e-7


def image_losses(logits: Any, labels: Any, rule: Loss, num_classes: int) -> Any:
    """Return each image's loss, float32 of shape (B,), before class weights.

    Args:
        logits: float32, shape (B, num_classes).
        labels: int64, shape (B,).
        rule: smoothing mixes the label with the uniform distribution; focal loss multiplies by ``(1 - p)^gamma``.
        num_classes: number of logits.
    """
    smoothing = rule.label_smoothing
    if smoothing:
        targets = tf.one_hot(labels, num_classes) * (1 - smoothing) + smoothing / num_classes
        losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
    else:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    if rule.focal_gamma:
        p = tf.reduce_sum(tf.nn.softmax(logits) * tf.one_hot(labels, num_classes), axis=-1)
        losses *= tf.maximum(1 - p, _SMALLEST_COMPLEMENT) ** rule.focal_gamma
    return losses
