"""Dynamic loss scaling for float16, as torch.amp.GradScaler's."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

# Halved at an overflow, doubled after 2000 steps without.
_FIRST_SCALE, _GROWTH_STEPS = 2.0**16, 2000


class LossScale:
    """The factor on the loss that keeps small gradients from vanishing in float16."""

    def __init__(self) -> None:
        self.scale, self._steps = tf.Variable(_FIRST_SCALE), tf.Variable(0.0)

    @property
    def slots(self) -> dict[str, Any]:
        """What a checkpoint keeps, by name."""
        return {"scaler/scale": self.scale, "scaler/steps": self._steps}

    def apply(self, update: Callable[[list[Any]], None], gradients: list[Any]) -> None:
        """Update with the gradients of the loss itself if all are finite, and adapt the scale."""
        gradients = [None if gradient is None else gradient / self.scale for gradient in gradients]
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in gradients if g is not None])

        def updated() -> Any:
            update(gradients)
            return tf.zeros(())

        tf.cond(finite, updated, lambda: tf.zeros(()))
        grown = self._steps + 1 >= _GROWTH_STEPS
        self.scale.assign(tf.where(finite, tf.where(grown, self.scale * 2, self.scale), self.scale / 2))
        self._steps.assign(tf.where(finite & ~grown, self._steps + 1, 0.0))
