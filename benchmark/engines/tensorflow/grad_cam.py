"""Features of a stage and the gradients of logits with respect to them, for Keras on TensorFlow."""

from typing import Any

import tensorflow as tf

from benchmark.engines.cam_stage import NoFeatureMap, channel_axis, find_feature_stage
from benchmark.engines.keras.stages.graph import KerasStages

_CHANNELS_LAST = 2


class TensorFlowGradCam:
    """A forward pass split behind the stage that Grad-CAM explains.

    Args:
        stages: of the network; the last is the head.
        declared: the stage that the adapter names, or ``None``.
        size: side of the images, in pixels.

    Raises:
        NoFeatureMap: there is no such stage.
    """

    def __init__(self, stages: KerasStages, declared: str | None, size: int) -> None:
        if not stages.separable:
            raise NoFeatureMap("Its forward pass can't be cut into stages, so no feature map can be explained.")
        shapes = [tuple(value.shape[1:]) for value in stages.boundaries[1:-1]]
        number = find_feature_stage(stages.names, shapes, declared, _CHANNELS_LAST)
        self.name = stages.names[number]
        self._channels = channel_axis(shapes[number], _CHANNELS_LAST)
        self._before = stages.span(0, number + 1)
        self._after = stages.span(number + 1, len(stages.names))
        signature = [tf.TensorSpec((None, size, size, 3), tf.float32), tf.TensorSpec((None,), tf.int64)]
        self.function = tf.function(self._compute, input_signature=signature, autograph=False)

    def _compute(self, inputs: Any, classes: Any) -> tuple[Any, Any]:
        """Return features and gradients, float32 of shape (B, H, W, K), for normalised inputs and int64 classes.

        In inference mode no image touches another, so that the gradient of the sum of the images' logits holds each
        image's own.
        """
        features = self._before(inputs, training=False)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(features)
            logits = tf.cast(self._after(features, training=False), tf.float32)
            chosen = tf.reduce_sum(tf.gather(logits, classes, batch_dims=1))
        gradients = tf.convert_to_tensor(tape.gradient(chosen, features))
        return self._channels_last(features), self._channels_last(gradients)

    def _channels_last(self, values: Any) -> Any:
        values = tf.cast(values, tf.float32)
        return tf.transpose(values, (0, 2, 3, 1)) if self._channels == 0 else values
