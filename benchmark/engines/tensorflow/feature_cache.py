"""The frozen stages of a Keras network on TensorFlow whose output is kept: where they end, how it becomes a row."""

from typing import Any

import numpy as np
import tensorflow as tf

from benchmark.engines.base import FeatureSpec, NotCacheable
from benchmark.engines.freezing import TOLERANCE, agree, hash_of_weights
from benchmark.engines.keras.network import KerasNetwork, named_weights

_KEPT = (tf.float32, tf.float16, tf.bfloat16)


class TensorFlowFrozenStages:
    """The longest prefix of the frozen stages that gives each image one row of floats.

    Args:
        network: built and frozen.
        example: three normalised inputs.

    Raises:
        NotCacheable: there is none.
    """

    def __init__(self, network: KerasNetwork, example: Any) -> None:
        stages, first = network.split_head, network.first_trainable_of_split_head
        if not first:
            raise NotCacheable("nothing is frozen")
        for end in range(first, 0, -1):
            model = stages.span(0, end)
            rows = model(example, training=False)
            if _is_row(rows, len(example)):
                break
        else:
            raise NotCacheable("no frozen stage gives one array of floats with a row for each image")
        if not _close(rows[1:2], model(example[1:2], training=False)):
            raise NotCacheable("what the frozen stages give for an image depends on the others, or on chance")
        self._model = model
        self._between = stages.span(end, first) if end < first else None
        self.trained = stages.span(first, len(stages.names))
        self._rest = stages.span(end, len(stages.names))
        self._bits = rows.dtype == tf.bfloat16
        own = {id(weight) for weight in model.weights}
        named = ((name, weight.numpy()) for name, weight in named_weights(stages).items() if id(weight) in own)
        self.facts = FeatureSpec(
            stages=stages.names[:end],
            shape=tuple(int(side) for side in rows.shape[1:]),
            dtype="int16" if self._bits else rows.dtype.name,
            weights_hash=hash_of_weights(named),
        )
        self.given = tf.TensorSpec((None, *self.facts.shape), tf.as_dtype(self.facts.dtype))

    def rows(self, inputs: Any) -> Any:
        """Return the rows of normalised inputs."""
        outputs = self._model(inputs, training=False)
        return tf.bitcast(outputs, tf.int16) if self._bits else outputs

    def begin(self, rows: Any) -> Any:
        """Return what ``trained``, the model of the trained stages, takes for rows."""
        values = self._values(rows)
        return values if self._between is None else self._between(values, training=False)

    def logits(self, rows: Any) -> Any:
        """Return float32 logits in inference mode for rows."""
        return tf.cast(self._rest(self._values(rows), training=False), tf.float32)

    def _values(self, rows: Any) -> Any:
        return tf.bitcast(rows, tf.bfloat16) if self._bits else rows


def _is_row(rows: Any, count: int) -> bool:
    return tf.is_tensor(rows) and rows.dtype in _KEPT and rows.ndim > 1 and len(rows) == count


def _close(a: Any, b: Any) -> bool:
    if a.shape != b.shape:
        return False
    first, second = (np.asarray(tf.cast(x, tf.float32)) for x in (a, b))
    return agree(first, second, TOLERANCE[a.dtype.name])
