"""One simulated patient's head: its own shape, contrast and small findings, and how a slice through it looks."""

from dataclasses import dataclass

import numpy as np

from benchmark.data.phantom.grids import Array
from benchmark.data.phantom.head_anatomy import CHANNELS, DEPTH_STEP, SELLA, SOFT, Head
from benchmark.data.phantom.random_fields import Plane, Waves

# The template's grey levels at which tissue changes: fluid, fluid, sulcus, cortex, deep grey, white, bright white.
TEMPLATE_LEVELS = np.array([0.0, 55, 112, 162, 190, 216, 255])


@dataclass(frozen=True)
class Contrast:
    """Signal of each tissue after contrast agent, where subcutaneous fat is near 1."""

    csf: float
    grey: float
    white: float
    fat: float
    muscle: float
    mucosa: float
    fluid: float
    marrow: float
    sinus: float
    artery: float
    choroid: float
    gland: float
    falx: float
    veins: float
    sulci: float  # how deep the folds' shadow is, from 0 to 1
    atrophy: float  # shifts the template's grey levels towards fluid

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Contrast":
        white = rng.uniform(0.44, 0.62)
        vessel = white * rng.uniform(1.6, 2.1)
        return cls(
            csf=rng.uniform(0.10, 0.20),
            grey=white * rng.uniform(0.74, 0.93),
            white=white,
            fat=rng.uniform(0.5, 0.95),
            muscle=rng.uniform(0.32, 0.46),
            mucosa=vessel * rng.uniform(0.7, 0.95),
            fluid=rng.uniform(0.12, 0.22),
            marrow=rng.uniform(0.35, 0.75),
            sinus=vessel,
            artery=vessel * rng.uniform(0.3, 0.95),
            choroid=vessel * rng.uniform(0.7, 0.95),
            gland=vessel * rng.uniform(0.75, 1.0),
            falx=rng.uniform(0.35, 0.7) * vessel,
            veins=vessel * rng.uniform(0.75, 1.0),
            sulci=rng.uniform(0.25, 0.65),
            atrophy=rng.uniform(-15, 25),
        )

    def enhancing(self, strength: float) -> float:
        """Signal of tissue that takes up contrast agent: 0 is white matter, 1 as bright as a vein."""
        return self.white + strength * (self.sinus - self.white)


@dataclass(frozen=True)
class Spot:
    """A small finding that is no tumour (a dark patch, a cyst, a bright vein seen end on), found in any patient."""

    centre: Array  # (3,), reference mm
    radius: float
    signal: float
    strength: float  # 0 to 1
    edge: float  # mm


@dataclass(frozen=True)
class Shape:
    """From the patient's space to the reference head: a pose, a size and a smooth deformation of its own.

    Patient coordinates have their origin at the sella, whatever the deformation.
    """

    matrix: Array  # (3, 3)
    coarse: Waves
    fine: Waves
    coarse_mm: float
    fine_mm: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Shape":
        angles = np.radians(rng.normal(0, 1, 3) * (2.5, 1.5, 1.5)).clip(-0.12, 0.12)
        size = rng.uniform(0.975, 1.025) * rng.uniform(0.98, 1.02, 3)
        return cls(
            _rotation(angles) @ np.diag(1 / size),
            Waves.draw(rng, 80, 180, fields=3, count=24),
            Waves.draw(rng, 24, 46, fields=3, count=40),
            coarse_mm=rng.uniform(1.5, 3.0),
            fine_mm=rng.uniform(0.4, 0.9),
        )

    def on(self, plane: Plane) -> Array:
        """Return the reference positions of a slice's pixels: shape (N, 3)."""
        warp = self.coarse_mm * self.coarse.on(plane) + self.fine_mm * self.fine.on(plane)
        return np.asarray(plane.moved(self.matrix).points() + warp.T + (SELLA - self._shift()))

    def at(self, points: Array) -> Array:
        """Return the reference positions of ``points``, shape (N, 3)."""
        return np.asarray(SELLA + points @ self.matrix.T + self._warp(points) - self._shift())

    def back(self, reference: Array) -> Array:
        """Return the patient's positions of reference points, to well under a millimetre: shape (N, 3)."""
        inverse = np.linalg.inv(self.matrix)
        points = (reference - SELLA) @ inverse.T
        for _ in range(8):
            points = (reference - SELLA - self._warp(points) + self._shift()) @ inverse.T
        return np.asarray(points)

    def _warp(self, points: Array) -> Array:
        return np.asarray((self.coarse_mm * self.coarse.at(points) + self.fine_mm * self.fine.at(points)).T)

    def _shift(self) -> Array:
        return np.asarray(self._warp(np.zeros((1, 3)))[0])


def _rotation(angles: Array) -> Array:
    (cp, cr, cy), (sp, sr, sy) = np.cos(angles), np.sin(angles)
    pitch = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    roll = np.array([[cr, 0, sr], [0, 1, 0], [-sr, 0, cr]])
    yaw = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    return np.asarray(yaw @ roll @ pitch)


@dataclass(frozen=True)
class Anatomy:
    """What all slices of one patient share beneath the scanner.

    Args:
        folds: a field whose zero crossings become sulci.
        vessels: two fields; where both cross zero, a vein runs.
        texture: a field of fine unevenness.
        skin_mm: how much thinner the scalp is than the reference's.
    """

    shape: Shape
    contrast: Contrast
    folds: Waves
    vessels: Waves
    texture: Waves
    vein_mm: float
    skin_mm: float
    uneven: float
    spots: tuple[Spot, ...]

    @classmethod
    def draw(cls, rng: np.random.Generator, head: Head) -> "Anatomy":
        contrast = Contrast.draw(rng)
        return cls(
            Shape.draw(rng),
            contrast,
            Waves.draw(rng, 18, 34, count=48),
            Waves.draw(rng, 22, 50, fields=2, count=40),
            Waves.draw(rng, 5, 14, count=48),
            vein_mm=rng.uniform(0.7, 1.5),
            skin_mm=rng.uniform(-1.0, 2.0),
            uneven=rng.uniform(0.01, 0.04),
            spots=_spots(rng, contrast, head),
        )


def _spots(rng: np.random.Generator, contrast: Contrast, head: Head) -> tuple[Spot, ...]:
    spots = []
    for _ in range(rng.poisson(0.6)):  # patches of old white-matter disease
        spots.append(
            Spot(
                rng.choice(head.white),
                rng.uniform(3, 9),
                contrast.grey * rng.uniform(0.6, 0.95),
                rng.uniform(0.3, 0.9),
                rng.uniform(1.5, 4),
            )
        )
    for _ in range(rng.poisson(0.6)):  # small vessels and calcified or fatty dots, bright
        spots.append(
            Spot(
                rng.choice(head.white),
                rng.uniform(1.2, 3),
                contrast.enhancing(rng.uniform(0.4, 1)),
                rng.uniform(0.5, 1),
                0.8,
            )
        )
    if rng.random() < 0.15:  # an arachnoid cyst
        spots.append(Spot(rng.choice(head.dura), rng.uniform(6, 15), contrast.csf, 0.95, 1.0))
    if rng.random() < 0.15:  # a bright plaque on the dura
        spots.append(
            Spot(rng.choice(head.dura), rng.uniform(2, 4.5), contrast.enhancing(rng.uniform(0.4, 1)), 0.9, 1.0)
        )
    return tuple(spots)


@dataclass(frozen=True)
class Scene:
    """A slice through a head before the scanner: flat arrays over the N pixels.

    Args:
        reference: where each pixel is in the reference head, before any lesion pushes, shape (N, 3).
        cavity: depth within the intracranial cavity, mm.
        skin: depth below the skin, mm.
        brain: the template's grey level there, 0 outside the brain.
        signal: the image, shape (N,); lesions change it in place.
        texture: unit-variance fine noise, shape (N,).
    """

    plane: Plane
    contrast: Contrast
    reference: Array
    cavity: Array
    skin: Array
    brain: Array
    signal: Array
    texture: Array


def scene(head: Head, anatomy: Anatomy, plane: Plane, displace: "Displacement | None" = None) -> Scene:
    """Look at a slice through a patient's head; ``displace`` is a lesion's mass effect."""
    contrast = anatomy.contrast
    reference = anatomy.shape.on(plane)
    source = reference if displace is None else displace.source(head, reference)
    tissues = head.tissues.sample(source)
    cavity = (tissues[:, 0] - 128) * DEPTH_STEP
    skin = (tissues[:, 1] - 128) * DEPTH_STEP - anatomy.skin_mm
    part = {name: tissues[:, i] / 255 for i, name in enumerate(CHANNELS) if i > 1}

    signal = np.zeros(len(source))
    for name in SOFT:
        signal += part[name] * getattr(contrast, name)
    signal *= np.clip(skin / 1.5 + 0.5, 0, 1)

    inside = cavity > -2
    brain = np.zeros(len(source))
    brain[inside] = head.brain.sample(source[inside])[:, 0]
    matter = _matter(anatomy, plane, brain, cavity)
    weight = np.clip(cavity / 1.6 + 0.5, 0, 1)
    signal += weight * (matter - signal)

    for name in ("falx", "sinus", "artery", "choroid", "gland"):
        signal += part[name] * (getattr(contrast, name) - signal)
    first, second = anatomy.vessels.on(plane)
    distance = (first**2 + second**2) * 30  # the fields' slope is about 0.18 per mm
    vein = np.exp(-distance / anatomy.vein_mm**2) * np.clip(1.4 - np.abs(cavity - 3.5) / 6, 0, 1) * (cavity > -1)
    signal += vein * (contrast.veins - signal)
    for spot in anatomy.spots:
        away = np.linalg.norm(reference - spot.centre, axis=1) - spot.radius
        cover = spot.strength * np.clip(0.5 - away / (2 * spot.edge), 0, 1) * weight
        signal += cover * (spot.signal - signal)
    texture = anatomy.texture.on(plane)[0]
    signal *= 1 + anatomy.uneven * texture
    return Scene(plane, contrast, reference, cavity, skin, brain, signal, texture)


def _matter(anatomy: Anatomy, plane: Plane, brain: Array, cavity: Array) -> Array:
    """Return the signal of brain and fluid, with folds of the patient's own."""
    c = anatomy.contrast
    levels = TEMPLATE_LEVELS + anatomy.contrast.atrophy * np.array([0, 1, 1, 0.4, 0, 0, 0])
    signals = [c.csf, c.csf, 0.45 * c.csf + 0.55 * c.grey, c.grey, (c.grey + c.white) / 2, c.white, c.white * 1.05]
    matter = np.interp(brain, levels, signals)
    cortex = np.clip((200 - brain) / 30, 0, 1) * np.clip((22 - cavity) / 8, 0, 1)
    fold = np.exp(-((anatomy.folds.on(plane)[0] / 0.16) ** 2)) * cortex * c.sulci
    return np.asarray(matter + fold * (c.csf - matter))


@dataclass(frozen=True)
class Displacement:
    """How a lesion pushes tissue aside: nothing moves at the skull, most at the lesion's edge.

    Args:
        centre: shape (3,), reference mm.
        radius: the lesion's, mm.
        strength: 0 for a lesion that replaces tissue, 1 for one that displaces all of it.
    """

    centre: Array
    radius: float
    strength: float

    def source(self, head: Head, reference: Array) -> Array:
        """Return where the tissue at each reference position was before the lesion grew."""
        offset = reference - self.centre
        distance = np.linalg.norm(offset, axis=1)
        near = np.flatnonzero(distance < 4 * self.radius)
        depth = (head.tissues.sample(reference[near])[:, 0] - 128) * DEPTH_STEP
        r = distance[near]
        # a sphere of this radius, swollen from a point: r^3 = source^3 + radius^3 (incompressible), faded outwards
        core = np.cbrt(np.maximum(r**3 - (self.strength * self.radius) ** 3, (0.2 * r) ** 3))
        fade = np.clip((4 * self.radius - r) / (2 * self.radius), 0, 1) * np.clip(depth / 8, 0, 1)
        scale = 1 + fade * (core / np.maximum(r, 1e-6) - 1)
        source = reference.copy()
        source[near] = self.centre + offset[near] * scale[:, None]
        return source
