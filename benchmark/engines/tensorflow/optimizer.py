"""The update rule in TensorFlow, written to torch's formulas, with TensorFlow's fused kernels.

Keras's own optimisers put epsilon, weight decay and momentum elsewhere; here each is where the recipe says. What
changes from step to step arrives as one small tensor, so that nothing is traced twice. Bias corrections are
computed on the host in double precision, because ``1 - 0.999`` loses four digits in single.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from benchmark.recipe import Optimizer, Regularization

# As torch.amp.GradScaler has it: halved at an overflow, doubled after 2000 steps without.
_FIRST_SCALE, _GROWTH_STEPS = 2.0**16, 2000


class TensorFlowOptimizer:
    """Optimiser slots and the rule that changes variables.

    Args:
        rule: the recipe's optimiser.
        variables: ``tf.Variable`` of float32, those that are trained and no others.
        factors: on the learning rate, for each.
        penalty: on kernels.
    """

    def __init__(
        self,
        rule: Optimizer,
        variables: Sequence[Any],
        factors: Sequence[float],
        penalty: Regularization | None = None,
    ) -> None:
        self._rule = rule
        self._penalty = penalty or Regularization()
        self._variables = list(variables)
        self._factors = sorted(set(factors))
        self._groups = [self._factors.index(factor) for factor in factors]
        names = {"adam": ("m", "v"), "adamw": ("m", "v"), "sgd": ("momentum",) if rule.momentum else ()}[rule.name]
        self.slots: dict[str, list[Any]] = {
            name: [tf.Variable(tf.zeros(v.shape, v.dtype), trainable=False) for v in variables] for name in names
        }

    def scalars(self, learning_rate: float, step: int) -> npt.NDArray[np.float32]:
        """Return what :meth:`apply` needs to know of a step: float32, shape (3 F + 1,) for F different factors.

        Learning rates for each factor; the same with Adam's bias corrections; decay of a decoupled rule, per
        learning rate; epsilon. Adam (Kingma & Ba 2015, section 2) updates by ``lr_t m / (sqrt(v) + eps_t)`` with
        ``lr_t = lr sqrt(1 - beta2^t) / (1 - beta1^t)``. With ``eps_t = eps`` that is Keras's rule; with
        ``eps_t = eps sqrt(1 - beta2^t)`` epsilon is added after the correction, which is torch's.
        """
        rule = self._rule
        rates = learning_rate * np.array(self._factors)
        correction, epsilon = 1.0, rule.epsilon
        if rule.name != "sgd":
            second = math.sqrt(1 - rule.beta2**step)
            correction = second / (1 - rule.beta1**step)
            epsilon *= 1.0 if rule.epsilon_inside else second
        return np.array([*rates, *(rates * correction), *(1 - rates * rule.weight_decay), epsilon], dtype=np.float32)

    def apply(self, gradients: Sequence[Any], scalars: Any) -> None:
        """Change the variables; a gradient of ``None`` leaves its variable as it is."""
        rule, count = self._rule, len(self._factors)
        gradients = [
            gradient if gradient is None else self._penalized(gradient, variable)
            for gradient, variable in zip(gradients, self._variables, strict=True)
        ]
        if rule.clip_norm is not None:
            gradients = clipped(gradients, rule.clip_norm)
        zero = tf.zeros((), tf.float32)
        for number, (variable, gradient) in enumerate(zip(self._variables, gradients, strict=True)):
            if gradient is None:
                continue
            group = self._groups[number]
            if rule.weight_decay and (rule.decay_norms_and_biases or len(variable.shape) > 1):
                if rule.decoupled:
                    variable.assign(variable * scalars[2 * count + group])
                else:
                    gradient = gradient + rule.weight_decay * variable
            if rule.name != "sgd":
                tf.raw_ops.ResourceApplyAdam(
                    var=variable.handle,
                    m=self.slots["m"][number].handle,
                    v=self.slots["v"][number].handle,
                    beta1_power=zero,  # the corrections are in lr already
                    beta2_power=zero,
                    lr=scalars[count + group],
                    beta1=tf.constant(rule.beta1, tf.float32),
                    beta2=tf.constant(rule.beta2, tf.float32),
                    epsilon=scalars[3 * count],
                    grad=gradient,
                )
            elif rule.momentum:
                tf.raw_ops.ResourceApplyMomentum(
                    var=variable.handle,
                    accum=self.slots["momentum"][number].handle,
                    lr=scalars[group],
                    grad=gradient,
                    momentum=tf.constant(rule.momentum, tf.float32),
                    use_nesterov=rule.nesterov,
                )
            else:
                tf.raw_ops.ResourceApplyGradientDescent(var=variable.handle, alpha=scalars[group], delta=gradient)

    def _penalized(self, gradient: Any, variable: Any) -> Any:
        """Return a gradient with the slope of ``l1 sum|w| + l2 sum w^2`` added, where a kernel has that penalty."""
        penalty = self._penalty
        if not penalty.penalizes(len(variable.shape)):
            return gradient
        if penalty.l1:
            gradient += penalty.l1 * tf.sign(variable)
        return gradient + 2 * penalty.l2 * variable if penalty.l2 else gradient


def clipped(gradients: Sequence[Any], limit: float) -> list[Any]:
    """Return gradients scaled so that their joint norm is at most ``limit``, as torch's ``clip_grad_norm_``."""
    norm = tf.linalg.global_norm([gradient for gradient in gradients if gradient is not None])
    factor = tf.minimum(limit / (norm + 1e-6), 1.0)
    return [None if gradient is None else gradient * factor for gradient in gradients]


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
