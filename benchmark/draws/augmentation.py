"""What happens to each training image: drawn here by NumPy, from (seed, epoch, image id), alike for every framework.

An engine carries it out on its device, uint8 in and uint8 out, so that values stay in the image's range and every
framework trains on the same pixels. For an image x (shares of the range from black to white) of side S:

1. Flips, rotation by t, zoom by z and translation by d compose to one affine map about the centre m = (S - 1) / 2.
   The pixel at (column, row) p is sampled bilinearly at ``F R(-t) (p - m - d) / z + m``; outside is black.
2. Gain: ``x exp(s b)``, b a smooth field of largest value 1.
3. Contrast about the image's mean, then brightness: ``(x - mean) c + mean + a``.
4. Noise: ``x + n g``, g standard normal, the same in all channels.
5. Values outside the range are set to its ends and rounded to whole levels.

The seed notebook's mistake, where a recipe asks for it (``brightness_bug``): a is 255 times as large, the range of
step 5 ends at 255 instead of 1, and values are not rounded. Images are float32 then, in levels as otherwise.

The fields g and b come from a bank that is a function of S alone; the draw says which.
"""

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.draws.randomness import UInt64s, draw
from benchmark.recipe.augmentation import Augmentation

Float32s = npt.NDArray[np.float32]

_PURPOSE = 0xA06  # keeps these draws apart from the order of images
_FIELDS = 64  # of noise, and of gains
_WAVES = 3  # of a gain field along each axis, the constant one included


@dataclass(frozen=True)
class Draws:
    """What happens to the images of one batch; ``None`` where a step is left out.

    Args:
        affine: float32, shape (B, 6): the pixel at (column, row) is sampled at
            (a0 column + a1 row + a2, a3 column + a4 row + a5).
        field: int64, shape (B,): which fields of the bank.
        gain: float32, shape (B,): factor on the gain field's logarithm.
        contrast: float32, shape (B,).
        brightness: float32, shape (B,), a share of the range.
        noise: float32, shape (B,): standard deviation, a share of the range.
        overflow: whether values may leave the range, up to 255 times as bright as white: the notebook's mistake.
    """

    affine: Float32s | None = None
    field: npt.NDArray[np.int64] | None = None
    gain: Float32s | None = None
    contrast: Float32s | None = None
    brightness: Float32s | None = None
    noise: Float32s | None = None
    overflow: bool = False


def draw_batch(rule: Augmentation, numbers: UInt64s, seed: int, epoch: int, size: int) -> Draws:
    """Draw for one batch.

    Args:
        rule: the recipe's section.
        numbers: uint64, shape (B,), of the images (:func:`benchmark.draws.randomness.image_numbers`).
        seed: the run's.
        epoch: from 1.
        size: side of the images, in pixels.
    """

    def bits(what: int) -> UInt64s:
        return draw(numbers, seed, epoch, _PURPOSE, what)

    def even(what: int) -> npt.NDArray[np.float64]:
        return np.asarray((bits(what) >> np.uint64(11)) * 2.0**-53)  # [0, 1)

    def about_zero(what: int) -> npt.NDArray[np.float64]:
        return 2 * even(what) - 1

    affine = None
    if rule.geometric:
        turn = -2 * np.pi * rule.rotation * about_zero(0)
        zoom = 1 + rule.zoom * about_zero(1)
        moved = rule.translation * size * np.stack([about_zero(2), about_zero(3)], axis=-1)
        mirror = np.stack([_flips(bits(4), rule.flip_horizontal), _flips(bits(5), rule.flip_vertical)], axis=-1)
        matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]).transpose(2, 0, 1)
        matrix = mirror[:, :, None] * matrix / zoom[:, None, None]
        centre = (size - 1) / 2
        offset = centre - np.einsum("bij,bj->bi", matrix, centre + moved)
        affine = np.concatenate([matrix, offset[:, :, None]], axis=2).reshape(-1, 6).astype(np.float32)

    def amounts(most: float, values: npt.NDArray[np.float64]) -> Float32s | None:
        return values.astype(np.float32) if most else None

    uneven = rule.noise or rule.bias_field
    mistaken = 255.0 if rule.brightness_bug else 1.0
    return Draws(
        affine=affine,
        field=(bits(6) % np.uint64(_FIELDS)).astype(np.int64) if uneven else None,
        gain=amounts(rule.bias_field, rule.bias_field * even(7)),
        contrast=amounts(rule.contrast, 1 + rule.contrast * about_zero(8)),
        brightness=amounts(rule.brightness, rule.brightness * mistaken * about_zero(9)),
        noise=amounts(rule.noise, rule.noise * even(10)),
        overflow=rule.brightness_bug,
    )


def _flips(bits: UInt64s, allowed: bool) -> npt.NDArray[np.float64]:
    return np.where((bits >> np.uint64(63)) & np.uint64(allowed), -1.0, 1.0)


@functools.cache
def noise_fields(size: int) -> Float32s:
    """Return the bank of noise: standard normal, float32, shape (64, size, size)."""
    return np.random.default_rng([0x9015E, size]).standard_normal((_FIELDS, size, size), dtype=np.float32)


@functools.cache
def gain_fields(size: int) -> Float32s:
    """Return the bank of gains' logarithms: smooth, largest absolute value 1, float32, shape (64, size, size).

    Sums of products of cosines of at most one whole wave along each axis, as the low orders by which N3 and its
    successors describe the uneven sensitivity of receive coils.
    """
    weights = np.random.default_rng(0xB1A5).standard_normal((_FIELDS, _WAVES, _WAVES))
    weights[:, 0, 0] = 0  # brightness is another step's
    waves = np.cos(np.pi * np.arange(_WAVES)[:, None] * np.linspace(0, 1, size))
    fields = np.einsum("fij,ir,jc->frc", weights, waves, waves)
    return np.asarray(fields / np.abs(fields).max(axis=(1, 2), keepdims=True), dtype=np.float32)
