"""Augmentation in TensorFlow: carries out :class:`benchmark.draws.augmentation.Draws` on uint8 images."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from benchmark.draws.augmentation import Draws, Float32s, gain_fields, noise_fields


class Augmenter:
    """See :mod:`benchmark.draws.augmentation` for what is done.

    Args:
        size: of the images, in pixels.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._banks: dict[Callable[[int], Float32s], Any] = {}
        self._traced = tf.function(self._augmented, autograph=False, reduce_retracing=True)

    def __call__(self, images: Any, draws: Draws) -> Any:
        """Return uint8 images of shape (B, S, S, 3) for such images; float32 on overflow."""
        amounts = {
            "gain": draws.gain,
            "contrast": draws.contrast,
            "brightness": draws.brightness,
            "noise": draws.noise,
        }
        drawn = {name: tf.reshape(value, (-1, 1, 1, 1)) for name, value in amounts.items() if value is not None}
        if draws.affine is not None:
            drawn["affine"] = tf.constant(np.pad(draws.affine, ((0, 0), (0, 2))))  # a projective map that is affine
        if draws.gain is not None:
            drawn["gains"] = tf.gather(self._bank(gain_fields), draws.field)
        if draws.noise is not None:
            drawn["noises"] = tf.gather(self._bank(noise_fields), draws.field)
        return self._traced(images, drawn, draws.overflow)

    def _bank(self, fields: Callable[[int], Float32s]) -> Any:
        if fields not in self._banks:
            self._banks[fields] = tf.constant(fields(self._size)[..., None])
        return self._banks[fields]

    def _augmented(self, images: Any, drawn: dict[str, Any], overflow: bool) -> Any:
        values = tf.cast(images, tf.float32)
        if "affine" in drawn:
            values = tf.raw_ops.ImageProjectiveTransformV3(
                images=values,
                transforms=drawn["affine"],
                output_shape=tf.constant([self._size, self._size]),
                fill_value=0.0,
                interpolation="BILINEAR",
                fill_mode="CONSTANT",
            )
        values = values / 255
        if "gain" in drawn:
            values = values * tf.exp(drawn["gain"] * drawn["gains"])
        if "contrast" in drawn:
            mean = tf.reduce_mean(values, axis=(1, 2, 3), keepdims=True)
            values = (values - mean) * drawn["contrast"] + mean
        if "brightness" in drawn:
            values = values + drawn["brightness"]
        if "noise" in drawn:
            values = values + drawn["noise"] * drawn["noises"]
        if overflow:
            return tf.clip_by_value(values * 255, 0, 255 * 255)
        return tf.cast(tf.clip_by_value(tf.round(values * 255), 0, 255), tf.uint8)
