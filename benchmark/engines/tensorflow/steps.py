"""What TensorFlow traces: a training step as one function, a step in parts, and predictions.

Learning rate, bias corrections and seeds are inputs and the batch size is left open, so that each is traced once.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from backbones import Preprocessing
from benchmark.engines.base import StepInput
from benchmark.engines.keras.network import KerasNetwork, layer_seeds
from benchmark.engines.shared import factor_and_shift
from benchmark.engines.tensorflow.ema import WeightEma
from benchmark.engines.tensorflow.loss import image_losses
from benchmark.engines.tensorflow.optimizer import LossScale, TensorFlowOptimizer
from benchmark.recipe import Loss

Call = Callable[..., Any]


class Pixels:
    """Computes ``(pixels * scale - mean) / std`` as one multiplication and one subtraction."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self._factor, self._shift = factor_and_shift(preprocessing)
        self._bgr = preprocessing.channel_order == "bgr"

    def normalized(self, images: Any) -> Any:
        """Return float32 of shape (B, S, S, 3) for uint8 images of that shape."""
        if self._bgr:
            images = tf.reverse(images, [-1])
        height, width = images.shape[1:3]
        rows = tf.cast(tf.reshape(images, (-1, height, width * 3)), tf.float32)
        if (self._factor != 1).any():
            rows = rows * _of_rows(self._factor, width)
        if self._shift.any():
            rows = rows - _of_rows(self._shift, width)
        return tf.reshape(rows, (-1, height, width, 3))


def _of_rows(values: npt.NDArray[np.float32], width: int) -> npt.NDArray[np.float32]:
    """Return the values of three channels for a row of pixels, or one for all where they are alike.

    A loop over three values takes five times as long on a CPU.
    """
    return values[0] if (values == values[0]).all() else np.tile(values, width)


class Learning:
    """What a step computes behind the frozen stages, and what it changes.

    Args:
        network: whose trained stages learn.
        optimizer: the recipe's.
        ema: of the weights, where the recipe has one.
        loss_scale: where gradients may vanish.
        loss: kind of loss.
        num_classes: number of logits.
    """

    def __init__(
        self,
        network: KerasNetwork,
        optimizer: TensorFlowOptimizer,
        ema: WeightEma | None,
        loss_scale: LossScale | None,
        loss: Loss,
        num_classes: int,
    ) -> None:
        self._network, self._optimizer, self._ema = network, optimizer, ema
        self._loss_scale, self._loss, self._num_classes = loss_scale, loss, num_classes
        self._trained = [variable.value for variable in network.trained.trainable_variables]
        self.sums: list[Any] = []

    def make_sums(self) -> None:
        """Make the variables in which the gradients of parts add up."""
        if not self.sums:
            self.sums = [tf.Variable(tf.zeros_like(variable), trainable=False) for variable in self._trained]

    def scalars(self, learning_rate: float, step: int, ema_decay: float) -> npt.NDArray[np.float32]:
        """Return what is different in each step, the decay of the EMA last where there is one."""
        scalars = self._optimizer.scalars(learning_rate, step)
        return scalars if self._ema is None else np.append(scalars, np.float32(ema_decay))

    def differentiate(
        self, begin: Call, trained: Any, inputs: Any, labels: Any, weights: Any, seeds: Any
    ) -> tuple[Any, list[Any]]:
        """Return the loss of some images, and the gradients of the scaled loss.

        Args:
            begin: returns what the trained stages take for ``given``.
            trained: these stages, as one model.
            inputs: images or features.
            labels, weights: of each image.
            seeds: one for each random generator in the network.
        """
        for number, state in enumerate(self._network.seeds):
            state.assign(tf.stack([seeds[number], tf.zeros((), tf.int64)]))
        features = begin(inputs)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self._trained)
            logits = tf.cast(trained(features, training=True), tf.float32)
            loss = tf.reduce_sum(image_losses(logits, labels, self._loss, self._num_classes) * weights)
            scaled = loss if self._loss_scale is None else loss * self._loss_scale.scale
        gradients = tape.gradient(scaled, self._trained)
        return loss, [None if gradient is None else tf.convert_to_tensor(gradient) for gradient in gradients]

    def update(self, gradients: Sequence[Any], scalars: Any) -> None:
        """Change the weights by gradients, ``None`` where a weight has none."""
        if self._loss_scale is None:
            self._optimizer.apply(gradients, scalars)
        else:
            self._loss_scale.apply(lambda unscaled: self._optimizer.apply(unscaled, scalars), list(gradients))
        if self._ema is not None:
            self._ema.update(scalars[-1])


class Steps:
    """Training steps from one kind of input, traced with XLA or without.

    Args:
        learning: what they do.
        begin: returns what the trained stages take for the input.
        trained: these stages, as one model.
        signature: shape and dtype of the input.
        seeds: number of random generators in the network.
        compiled: whether by XLA.
    """

    def __init__(
        self, learning: Learning, begin: Call, trained: Any, signature: Any, seeds: int, *, compiled: bool
    ) -> None:
        self._learning, self._begin, self._trained, self._seeds = learning, begin, trained, seeds
        batch = [
            signature,
            tf.TensorSpec((None,), tf.int64),
            tf.TensorSpec((None,), tf.float32),
            tf.TensorSpec((seeds,), tf.int64),
        ]
        scalars = tf.TensorSpec(learning.scalars(1.0, 1, 0.0).shape, tf.float32)
        self._whole_step = _traced(self._whole, [*batch, scalars], compiled)
        self._part_of_step = _traced(self._part, batch, compiled)
        self._end_of_step = _traced(self._finish, [scalars], compiled)

    def __call__(self, step: StepInput, call: Call) -> Any:
        """Do a step; return its loss.

        Args:
            step: what to do.
            call: calls a traced function.
        """
        scalars = self._learning.scalars(step.learning_rate, step.step, step.ema_decay)
        if step.parts == 1:
            seeds = layer_seeds(step.seed, self._seeds)
            return call(self._whole_step, step.images, step.labels, step.loss_weights, seeds, scalars)
        losses = [
            call(
                self._part_of_step,
                step.images[at], step.labels[at], step.loss_weights[at], layer_seeds(seed, self._seeds),
            )
            for at, seed in step.cuts()
        ]  # fmt: skip
        call(self._end_of_step, scalars)
        return tf.add_n(losses)

    def _whole(self, inputs: Any, labels: Any, weights: Any, seeds: Any, scalars: Any) -> Any:
        loss, gradients = self._learning.differentiate(self._begin, self._trained, inputs, labels, weights, seeds)
        self._learning.update(gradients, scalars)
        return loss

    def _part(self, inputs: Any, labels: Any, weights: Any, seeds: Any) -> Any:
        loss, gradients = self._learning.differentiate(self._begin, self._trained, inputs, labels, weights, seeds)
        self._used = [gradient is not None for gradient in gradients]
        for total, gradient in zip(self._learning.sums, gradients, strict=True):
            if gradient is not None:
                total.assign_add(gradient)
        return loss

    def _finish(self, scalars: Any) -> None:
        used = list(zip(self._learning.sums, self._used, strict=True))
        self._learning.update([tf.convert_to_tensor(total) if uses else None for total, uses in used], scalars)
        for total in self._learning.sums:
            total.assign(tf.zeros_like(total))


def traced_forward(function: Call, signature: Any, *, compiled: bool) -> Any:
    """Return a function of one input, traced once for all batch sizes."""
    return _traced(function, [signature], compiled)


def _traced(function: Call, signature: list[Any], compiled: bool) -> Any:
    return tf.function(function, input_signature=signature, jit_compile=compiled, autograph=False)
