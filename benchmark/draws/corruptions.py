"""What goes wrong in an MR scan, in five severities: a picture is spoilt as TorchIO defines it, by NumPy and SciPy.

The definitions are those of TorchIO (Pérez-García, Sparks & Ourselin 2021, "TorchIO: a Python library for efficient
loading, preprocessing, augmentation and patch-based sampling of medical images in deep learning"), for one slice;
the strengths are our own choice, looked at on real slices: plausible up to severity 3, hard at 5. They work on the
uint8 pixels that a network reads, at their size: no framework has a part in them. What is random about an image
follows from its id and the corruption alone, so that all rows see the same pixels, and a higher severity is more of
the same.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.draws.randomness import UInt64s, draw

SEVERITIES = 5
# Cells (a corruption at a severity) in which an image is shown, at most: with the clean images 26 passes.
MOST_CELLS = 25
# Raised by hand when the same names would give other pixels.
VERSION = 1

_FIELD_MM = 256  # side of a picture of a head, for TorchIO's millimetres
_BIAS_ORDER = 3
_MOVEMENTS, _PERTURBATION = 2, 0.3
_GHOSTS = (2, 4)
_KEY = 0xC0

Pixels = npt.NDArray[np.uint8]
Planes = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Corruption:
    """One way of spoiling a picture.

    Args:
        title: for people.
        about: what its strength is, with the unit.
        strengths: of the five severities.
        apply: from planes, float32 of shape (K, S, S) in 0-1, a strength and what draws at random, to planes that may
            lie outside 0-1.
    """

    title: str
    about: str
    strengths: tuple[float, float, float, float, float]
    apply: Callable[[Planes, float, np.random.Generator], npt.NDArray[np.floating]]


def corrupt(pixels: Pixels, numbers: UInt64s, name: str, severity: int) -> Pixels:
    """Return spoilt pictures.

    Args:
        pixels: uint8, shape (B, S, S, 3).
        numbers: uint64, shape (B,), of the images: :func:`benchmark.draws.randomness.image_numbers`.
        name: of the corruption.
        severity: 1 to 5.

    Returns:
        uint8, shape (B, S, S, 3).
    """
    corruption, key = CORRUPTIONS[name], _KEY + list(CORRUPTIONS).index(name)
    strength = corruption.strengths[severity - 1]
    seeds = draw(numbers, key)
    spoilt = np.empty_like(pixels)
    for place, seed in enumerate(seeds):
        image = pixels[place]
        grey = bool((image[..., :1] == image[..., 1:]).all())
        planes = np.moveaxis(image[..., :1] if grey else image, -1, 0).astype(np.float32) / 255
        changed = corruption.apply(planes, strength, np.random.Generator(np.random.PCG64(int(seed))))
        spoilt[place] = np.moveaxis(np.rint(np.clip(changed, 0, 1) * 255).astype(np.uint8), 0, -1)
    return spoilt


def shown_cells(numbers: UInt64s, corruptions: int) -> npt.NDArray[np.bool_]:
    """Return in which cells each image is shown: bool, shape (corruptions, 5, N).

    Up to five corruptions are shown to every image at every severity. Of K > 5, each image is shown 25 of the 5 K
    cells, and each cell is shown to 5 of K images: a cyclic incomplete block design, begun where the image's id says.
    """
    cells = np.arange(corruptions * SEVERITIES)
    if len(cells) <= MOST_CELLS:
        shown = np.ones((len(cells), len(numbers)), dtype=bool)
    else:
        residues = (draw(numbers, _KEY - 1) % np.uint64(corruptions)).astype(np.int64)
        shown = (cells[:, None] + residues) % corruptions < MOST_CELLS // SEVERITIES
    return shown.reshape(corruptions, SEVERITIES, len(numbers))


def _bias_field(planes: Planes, strength: float, random: np.random.Generator) -> npt.NDArray[np.floating]:
    """Multiply by exp of a polynomial of order 3 in x and y, from -1 to 1 (Van Leemput et al. 1999).

    Each coefficient is ``strength`` times a draw from -1 to 1. The result is shown in the window of the original: its
    largest value is that of the original.
    """
    side = planes.shape[1]
    axis = (np.arange(side, dtype=np.float32) + 0.5 - side / 2) / max(side / 2 - 0.5, 0.5)
    powers = [np.ones_like(axis), axis, axis**2, axis**3]
    exponent = np.zeros((side, side), dtype=np.float32)
    for i in range(_BIAS_ORDER + 1):
        for j in range(_BIAS_ORDER + 1 - i):
            exponent += np.float32(strength * random.uniform(-1, 1)) * powers[i][:, None] * powers[j]
    spoilt = planes * np.exp(exponent)
    largest = spoilt.max()
    return spoilt if largest == 0 else np.asarray(spoilt * (planes.max() / largest))


def _motion(planes: Planes, strength: float, random: np.random.Generator) -> npt.NDArray[np.floating]:
    """Take parts of k-space from the picture as it lies after each of two movements (Shaw et al. 2019).

    A movement turns it by up to ``strength`` degrees and shifts it by up to as many millimetres each way; the middle
    of k-space is that of the picture at rest.
    """
    axis, side = int(random.integers(2)), planes.shape[1]
    step = 1 / (_MOVEMENTS + 1)
    times = step * np.arange(1, _MOVEMENTS + 1) + random.uniform(-step, step, _MOVEMENTS) * _PERTURBATION
    amounts = random.uniform(0.5, 1, (_MOVEMENTS, 3)) * random.choice([-1, 1], (_MOVEMENTS, 3)) * strength
    pictures = [planes, *(_moved(planes, *amount) for amount in amounts)]
    late = np.flatnonzero(times > 0.5)
    middle = int(late[0]) if len(late) else _MOVEMENTS
    pictures[0], pictures[middle] = pictures[middle], pictures[0]
    ends = [0, *(int(side * time) for time in times), side]
    spectrum = np.empty(planes.shape, dtype=np.complex64)
    for picture, first, last in zip(pictures, ends[:-1], ends[1:], strict=True):
        part = (slice(None), *((slice(first, last), slice(None)) if axis == 0 else (slice(None), slice(first, last))))
        spectrum[part] = _spectrum(picture)[part]
    return _picture(spectrum)


def _moved(planes: Planes, degrees: float, down: float, right: float) -> Planes:
    """Return planes turned about their middle and shifted by millimetres; what comes in is as dark as they get."""
    from scipy import ndimage

    side, angle = planes.shape[1], np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.full(2, (side - 1) / 2)
    offset = middle - turn @ middle - np.array([down, right]) * side / _FIELD_MM
    return np.stack([ndimage.affine_transform(plane, turn, offset, order=1, cval=plane.min()) for plane in planes])


def _ghosting(planes: Planes, strength: float, random: np.random.Generator) -> npt.NDArray[np.floating]:
    """Weaken every n-th line of k-space, n from 2 to 4, by the share ``strength``; its middle line stays."""
    axis, every = int(random.integers(2)), int(random.integers(_GHOSTS[0], _GHOSTS[1] + 1))
    spectrum, middle = _spectrum(planes), planes.shape[1] // 2
    lines = np.moveaxis(spectrum, 1 + axis, 0)
    kept = lines[middle].copy()
    lines[::every] *= np.float32(1 - strength)
    lines[middle] = kept
    return _picture(spectrum)


def _noise(planes: Planes, strength: float, random: np.random.Generator) -> npt.NDArray[np.floating]:
    """Return the magnitude of the signal with Gaussian noise in both of its parts (Gudbjartsson & Patz 1995).

    ``strength`` is the noise's standard deviation over the picture's largest value.
    """
    real, imaginary = random.standard_normal((2, *planes.shape[1:]), dtype=np.float32) * (strength * planes.max())
    return np.asarray(np.hypot(planes + real, imaginary))


def _blur(planes: Planes, strength: float, random: np.random.Generator) -> npt.NDArray[np.floating]:
    """Smooth by a Gaussian whose standard deviation is ``strength`` pixels."""
    from scipy import ndimage

    return np.asarray(ndimage.gaussian_filter(planes, (0, strength, strength)))


def _contrast(planes: Planes, strength: float, random: np.random.Generator) -> npt.NDArray[np.floating]:
    """Raise values to the power exp(strength) or exp(-strength), by the toss of a coin."""
    return np.asarray(planes ** np.float32(np.exp(strength * random.choice([-1, 1]))))


def _resolution(planes: Planes, strength: float, random: np.random.Generator) -> npt.NDArray[np.floating]:
    """Keep the nearest of every ``strength`` pixels along one axis, and interpolate between them."""
    axis, side = 1 + int(random.integers(2)), planes.shape[1]
    count = max(2, round(side / strength))
    centres = (np.arange(count) + 0.5) * side / count - 0.5
    kept = np.take(planes, np.floor(centres + 0.5).astype(np.int64).clip(0, side - 1), axis=axis)
    place = ((np.arange(side) + 0.5) * count / side - 0.5).clip(0, count - 1)
    below = np.minimum(place.astype(np.int64), count - 2)
    share = (place - below).astype(np.float32).reshape((-1, 1) if axis == 1 else (1, -1))
    return np.asarray(np.take(kept, below, axis) * (1 - share) + np.take(kept, below + 1, axis) * share)


def _spectrum(planes: Planes) -> npt.NDArray[np.complex64]:
    return np.fft.fftshift(np.fft.fft2(planes), axes=(1, 2)).astype(np.complex64, copy=False)


def _picture(spectrum: npt.NDArray[np.complex64]) -> npt.NDArray[np.floating]:
    return np.asarray(np.fft.ifft2(np.fft.ifftshift(spectrum, axes=(1, 2))).real)


# fmt: off
CORRUPTIONS: Mapping[str, Corruption] = {
    "bias-field": Corruption("bias field", "largest coefficient of the field's polynomial",
        (0.25, 0.4, 0.6, 1.0, 1.5), _bias_field),
    "motion": Corruption("motion", "degrees and millimetres (of a field of 256 mm) of each of two movements",
        (2, 3, 5, 8, 12), _motion),
    "ghosting": Corruption("ghosting", "share by which every 2nd to 4th line of k-space is weakened",
        (0.2, 0.35, 0.5, 0.75, 1.0), _ghosting),
    "noise": Corruption("Rician noise", "standard deviation over the picture's largest value",
        (0.01, 0.02, 0.04, 0.07, 0.12), _noise),
    "blur": Corruption("blur", "standard deviation of the Gaussian in pixels",
        (0.4, 0.6, 0.8, 1.2, 1.7), _blur),
    "contrast": Corruption("contrast", "logarithm of the power to which values are raised, up or down",
        (0.15, 0.25, 0.4, 0.6, 0.9), _contrast),
    "resolution": Corruption("resolution", "times fewer pixels along one axis",
        (1.25, 1.5, 2, 3, 4.5), _resolution),
}
# fmt: on


def known_corruptions(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names of corruptions in the table's order; ``all`` stands for every one, ``none`` for no one.

    Raises:
        ValueError: a name that is none, or ``all`` or ``none`` beside others; says which may be given.
    """
    if set(names) in ({"all"}, {"none"}, set()):
        return tuple(CORRUPTIONS) if set(names) == {"all"} else ()
    unknown = [name for name in names if name not in CORRUPTIONS]
    if unknown:
        raise ValueError(f"'{unknown[0]}' is none of {', '.join(CORRUPTIONS)}; or give all or none alone")
    return tuple(name for name in CORRUPTIONS if name in names)
