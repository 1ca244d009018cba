"""The scanner: what a coil, a matrix, noise and a window make of the signal."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from benchmark.data.phantom.patient import Scene
from benchmark.data.phantom.random_fields import Waves


@dataclass(frozen=True)
class Scanner:
    """One patient's examination.

    Args:
        field_of_view: side of the image, mm.
        shift: of the image's centre, mm, down and right.
        blur: standard deviation of the point spread, in pixels, down and right.
        noise: standard deviation of the noise in each of the two receive channels.
        coil, coil_strength: the receive coil's uneven sensitivity.
        surface: how much brighter the tissue near the coil is.
        white: the signal shown as white, in units of white matter's.
        gamma: of the display.
        ghost: strength of the half-field ghost along ``ghost_axis``.
        masked: whether the scanner set the background to black.
    """

    field_of_view: float
    shift: tuple[float, float]
    blur: tuple[float, float]
    noise: float
    coil: Waves
    coil_strength: float
    surface: float
    white: float
    gamma: float
    ghost: float
    ghost_axis: int
    masked: bool

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Scanner":
        sharp = rng.uniform(0.35, 0.75)
        return cls(
            field_of_view=rng.uniform(204, 226),
            shift=(rng.normal(0, 3), rng.normal(0, 2.5)),
            blur=(sharp * rng.uniform(1, 1.4), sharp),
            noise=float(np.exp(rng.uniform(np.log(0.006), np.log(0.025)))),
            coil=Waves.draw(rng, 180, 500, count=8),
            coil_strength=rng.uniform(0.03, 0.1),
            surface=rng.uniform(0, 0.25),
            white=float(np.exp(rng.uniform(np.log(1.85), np.log(2.9)))),
            gamma=float(np.exp(rng.uniform(-0.25, 0.25))),
            ghost=max(0.0, rng.normal(0, 0.02)),
            ghost_axis=int(rng.integers(2)),
            masked=bool(rng.random() < 0.35),
        )

    def image(self, scene: Scene, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        """Return the slice as the scanner shows it: uint8, square; ``rng`` gives the noise."""
        size = scene.plane.size
        coil = np.exp(self.coil_strength * self.coil.on(scene.plane)[0])
        near = 1 + self.surface * np.exp(-np.clip(scene.skin, 0, None) / 25)
        signal = (scene.signal * coil * near).reshape(size, size)
        signal = ndimage.gaussian_filter(signal, self.blur)
        signal = signal + self.ghost * np.roll(signal, size // 2, axis=self.ghost_axis)
        # the magnitude of a complex signal with Gaussian noise in both parts has a Rician distribution
        real, imaginary = rng.normal(0, self.noise, (2, size, size))
        signal = np.hypot(signal + real, imaginary)
        if self.masked:
            signal = np.where((scene.skin > -3).reshape(size, size), signal, 0)
        shown = np.clip(signal / (self.white * scene.contrast.white), 0, 1) ** self.gamma
        return np.asarray((255 * shown).round(), dtype=np.uint8)
