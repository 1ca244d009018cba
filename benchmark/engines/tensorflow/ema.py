"""The EMA of weights in TensorFlow."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from benchmark.engines.shared import EMA, SharedEma


class WeightEma(SharedEma):
    """The exponential moving average of variables, and its exchange with them.

    Args:
        variables: what is averaged, by name; those that are not of floating point are left alone.
    """

    def __init__(self, variables: Mapping[str, Any]) -> None:
        chosen = {name: variable for name, variable in variables.items() if variable.dtype == tf.float32}
        self._variables = list(chosen.values())
        self.slots = {EMA + name: tf.Variable(variable, trainable=False) for name, variable in chosen.items()}

    def update(self, decay: Any) -> None:
        """Let the EMA follow by one step: ``decay`` of the old one and ``1 - decay`` of the variables."""
        for mean, variable in zip(self.slots.values(), self._variables, strict=True):
            mean.assign_add((variable - mean) * (1 - decay))

    def _exchange(self) -> None:
        for mean, variable in zip(self.slots.values(), self._variables, strict=True):
            trained = tf.identity(variable)
            variable.assign(mean)
            mean.assign(trained)

    def restart(self) -> None:
        """Let the EMA be what the variables are now."""
        for mean, variable in zip(self.slots.values(), self._variables, strict=True):
            mean.assign(variable)
