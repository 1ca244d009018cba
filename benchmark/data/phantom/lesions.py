"""Tumours as they look on T1 with contrast agent, in the places where they grow."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from benchmark.data.phantom.grids import Array
from benchmark.data.phantom.patient import Displacement, Scene
from benchmark.data.phantom.random_fields import Waves


class Lesion(Protocol):
    """A tumour in the reference head."""

    @property
    def displacement(self) -> Displacement:
        """Return its mass effect."""

    def draw_on(self, scene: Scene) -> Array:
        """Change the scene's signal in place; return the tumour's fraction in each pixel, shape (N,)."""


def _smooth(value: Array, width: float) -> Array:
    """Return a step from 0 to 1 at 0, ``width`` wide."""
    return np.clip(0.5 + value / width, 0, 1)


def _blend(signal: Array, weight: Array, target: Array | float) -> None:
    signal += weight * (target - signal)


@dataclass(frozen=True)
class Meningioma:
    """Extra-axial, on a broad dural base; bright and even, well defined; displaces the brain.

    Args:
        base: on the dura, reference mm; ``inward`` points into the cavity.
        radius: along the dura, mm; ``height`` across it, as a share of the radius.
        sunk: the middle's distance from the dura, as a share of the radius.
        strength: of enhancement, 0 as white matter, 1 as a vein.
        lobed: relative roughness of the outline.
        tail, cleft, oedema: strength of the dural tail, of the fluid between tumour and brain, of oedema.
        calcified: share of dark specks, 0 without.
    """

    base: Array
    inward: Array
    radius: float
    height: float
    sunk: float
    strength: float
    lobed: float
    tail: float
    cleft: float
    oedema: float
    calcified: float
    form: Waves

    @property
    def centre(self) -> Array:
        return np.asarray(self.base + self.inward * self.sunk * self.radius)

    @property
    def displacement(self) -> Displacement:
        return Displacement(self.centre, self.radius * min(1.0, self.height), 0.85)

    def draw_on(self, scene: Scene) -> Array:
        contrast, r = scene.contrast, self.radius
        outline, wide = self.form.on(scene.plane)
        offset = scene.reference - self.centre
        across = offset @ self.inward
        along = np.sqrt(np.maximum((offset**2).sum(axis=1) - across**2, 0))
        depth = r * (1 - np.hypot(along / r, across / (self.height * r))) + r * self.lobed * outline  # mm, inside > 0
        own_side = _smooth(across + self.sunk * r + 0.5, 2.0) * _smooth(scene.cavity, 1.6)
        tumour = _smooth(depth, 1.8) * own_side

        around = _smooth(depth + 0.5 * r + 0.25 * r * wide, 0.5 * r) * _smooth(scene.brain - 175, 40) * own_side
        _blend(scene.signal, self.oedema * around, 0.75 * contrast.grey)
        rim = _smooth(depth + 3.0, 1.5) * own_side
        _blend(scene.signal, self.cleft * rim, contrast.csf)
        dura = (
            np.exp(-((scene.cavity / 1.6) ** 2))
            * _smooth(depth + 0.8 * r, 0.4 * r)
            * _smooth(across + self.sunk * r + 3, 2)
        )
        _blend(scene.signal, self.tail * dura, contrast.enhancing(self.strength))

        inner = np.full(len(depth), contrast.enhancing(self.strength)) * (1 + 0.03 * scene.texture)
        if self.calcified:
            inner -= 0.6 * inner * (scene.texture > 2.2 - 2 * self.calcified)
        _blend(scene.signal, tumour, inner)
        return tumour


@dataclass(frozen=True)
class Glioma:
    """Intra-axial, in white matter; irregular.

    High grade: an uneven bright rim (``rim`` of the radius wide) around a dark centre, or solid and patchy, in darker
    oedema. Low grade: no rim, darker than white matter, ill defined.

    Args:
        centre: reference mm. radius: mm.
        rough: relative roughness of the outline.
        rim: thickness as a share of the radius; above 1 the tumour is solid. 0 for low grade.
        strength: of enhancement, 0 as white matter, 1 as a vein.
        patchy: how unevenly it enhances.
        core: signal of the centre, from 0 (fluid) to 1 (grey matter).
        oedema: strength; ``spread``: its width as a share of the radius.
        edge: width of the outline, mm.
    """

    centre: Array
    radius: float
    rough: float
    rim: float
    strength: float
    patchy: float
    core: float
    oedema: float
    spread: float
    edge: float
    push: float
    form: Waves

    @property
    def displacement(self) -> Displacement:
        return Displacement(self.centre, self.radius, self.push)

    def draw_on(self, scene: Scene) -> Array:
        contrast, r = scene.contrast, self.radius
        outline, fine, wide = self.form.on(scene.plane)
        distance = np.linalg.norm(scene.reference - self.centre, axis=1)
        depth = r - distance + r * self.rough * (outline + 0.4 * fine)
        within = _smooth(scene.cavity - 1.5, 2.0)
        tumour = _smooth(depth, self.edge) * within

        reach = depth + r * self.spread * (1 + 0.5 * wide)
        swollen = _smooth(reach, 0.5 * r) * _smooth(scene.brain - 165, 50) * within
        _blend(scene.signal, self.oedema * swollen, 0.6 * contrast.grey)

        core = contrast.csf + self.core * (contrast.grey - contrast.csf)
        _blend(scene.signal, tumour, core * (1 + 0.05 * scene.texture))
        if self.rim:
            shell = _smooth(self.rim * r * (1 + 0.7 * fine) - depth, 1.8)
            uptake = np.clip(self.strength * (1 + self.patchy * (0.7 * fine - 0.5 * outline)), 0, 1.2)
            _blend(
                scene.signal,
                tumour * shell * (uptake > 0.02),
                contrast.enhancing(0) + uptake * (contrast.sinus - contrast.white),
            )
        return tumour


@dataclass(frozen=True)
class Pituitary:
    """An adenoma: from the sella, about the midline, round or waisted at the sellar diaphragm.

    Args:
        centre: reference mm. radius: mm.
        waist: relative depth of the waist, 0 for a plain ball.
        stretch: height over width.
        strength: of enhancement, 0 as white matter, 1 as a vein.
        patchy: how unevenly it enhances.
        cyst: share of the radius that is a cyst of signal ``cyst_signal`` (0 fluid, 1 as a vein), 0 without.
    """

    centre: Array
    radius: float
    waist: float
    stretch: float
    strength: float
    patchy: float
    lobed: float
    cyst: float
    cyst_signal: float
    form: Waves

    @property
    def displacement(self) -> Displacement:
        return Displacement(self.centre, self.radius, 0.8)

    def draw_on(self, scene: Scene) -> Array:
        contrast, r = scene.contrast, self.radius
        outline, inner = self.form.on(scene.plane)
        offset = (scene.reference - self.centre) / (1.0, 1.0, self.stretch)
        waist = self.waist * r * np.exp(-((offset[:, 2] / (0.3 * r)) ** 2))
        depth = r - np.linalg.norm(offset, axis=1) - waist + r * self.lobed * outline
        tumour = _smooth(depth, 1.8)
        # the thinned bone around it
        _blend(scene.signal, _smooth(depth + 2.5, 1.5) * _smooth(-scene.cavity, 2.0) * 0.8, 0.08)
        uptake = self.strength * (1 + self.patchy * inner)
        _blend(scene.signal, tumour, contrast.enhancing(0) + uptake * (contrast.sinus - contrast.white))
        if self.cyst:
            hollow = (
                _smooth(self.cyst * r - np.linalg.norm(offset - 0.25 * r, axis=1) + 0.15 * r * inner, 2.0) * tumour
            )
            _blend(scene.signal, hollow, contrast.csf + self.cyst_signal * (contrast.sinus - contrast.csf))
        return tumour
