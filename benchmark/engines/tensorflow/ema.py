"""Averaged weights in TensorFlow."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

_PREFIX = "ema/"


class Average:
    """The exponential moving average of variables, and its exchange with them.

    Args:
        variables: what is averaged, by name; those that are not of floating point are left alone.
    """

    def __init__(self, variables: Mapping[str, Any]) -> None:
        chosen = {name: variable for name, variable in variables.items() if variable.dtype == tf.float32}
        self._variables = list(chosen.values())
        self.means = {_PREFIX + name: tf.Variable(variable, trainable=False) for name, variable in chosen.items()}
        self._shown = False

    def update(self, decay: Any) -> None:
        """Let the average follow by one step: ``decay`` of the old one and ``1 - decay`` of the variables."""
        for mean, variable in zip(self.means.values(), self._variables, strict=True):
            mean.assign_add((variable - mean) * (1 - decay))

    def show(self, wanted: bool) -> None:
        """Put the averages in the place of the variables, or the variables back into theirs."""
        if wanted == self._shown:
            return
        for mean, variable in zip(self.means.values(), self._variables, strict=True):
            kept = tf.identity(variable)
            variable.assign(mean)
            mean.assign(kept)
        self._shown = wanted

    def restart(self) -> None:
        """Let the average be what the variables are now."""
        for mean, variable in zip(self.means.values(), self._variables, strict=True):
            mean.assign(variable)
