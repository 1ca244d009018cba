"""The frozen stages of a Keras network on TensorFlow whose output is kept: where they end, how it is kept."""

from typing import Any

import numpy as np
import tensorflow as tf

from benchmark.engines.freezing import FeatureSpec, assert_independent, last_cacheable
from benchmark.engines.keras.network import KerasNetwork, named_weights
from benchmark.engines.shared import hash_of_weights

_KEPT = (tf.float32, tf.float16, tf.bfloat16)


class TensorFlowFrozenStages:
    """As many of the frozen stages as give each image one array of floats, its features, and the stages behind.

    Args:
        network: built and frozen.
        example: three normalised inputs.

    Raises:
        NotCacheable: there is none.
    """

    def __init__(self, network: KerasNetwork, example: Any) -> None:
        stages, first = network.split_head, network.first_trainable_of_split_head

        def features_of(end: int) -> Any:
            return stages.span(0, end)(example, training=False)

        end = last_cacheable(first, lambda end: _is_features(features_of(end), len(example)))
        model = stages.span(0, end)
        features = features_of(end)
        together, alone = (
            np.asarray(tf.cast(x, tf.float32)) for x in (features[1:2], model(example[1:2], training=False))
        )
        assert_independent(together, alone, features.dtype.name)
        self._model = model
        self._between = stages.span(end, first) if end < first else None
        self.trained = stages.span(first, len(stages.names))
        self._rest = stages.span(end, len(stages.names))
        self._bits = features.dtype == tf.bfloat16
        own = {id(weight) for weight in model.weights}
        named = ((name, weight.numpy()) for name, weight in named_weights(stages).items() if id(weight) in own)
        self.spec = FeatureSpec(
            stages=stages.names[:end],
            shape=tuple(int(side) for side in features.shape[1:]),
            dtype="int16" if self._bits else features.dtype.name,
            weights_hash=hash_of_weights(named),
        )
        self.signature = tf.TensorSpec((None, *self.spec.shape), tf.as_dtype(self.spec.dtype))

    def features(self, inputs: Any) -> Any:
        """Return the features, shape (B, *shape), of normalised inputs."""
        outputs = self._model(inputs, training=False)
        return tf.bitcast(outputs, tf.int16) if self._bits else outputs

    def begin(self, features: Any) -> Any:
        """Return what ``trained``, the model of the trained stages, takes for features."""
        values = self._values(features)
        return values if self._between is None else self._between(values, training=False)

    def logits(self, features: Any) -> Any:
        """Return float32 logits in inference mode for features."""
        return tf.cast(self._rest(self._values(features), training=False), tf.float32)

    def _values(self, features: Any) -> Any:
        return tf.bitcast(features, tf.bfloat16) if self._bits else features


def _is_features(x: Any, count: int) -> bool:
    return tf.is_tensor(x) and x.dtype in _KEPT and x.ndim > 1 and len(x) == count
