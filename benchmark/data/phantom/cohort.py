"""Who is examined: patients in matched groups of four, one of each class.

The four share plane, number and position of their slices and the size of the lesion (the healthy one's is not drawn).
So nothing about where, how often or how large a patient was examined says which class it is, exactly and not only
on average. All slices pass within a lesion's reach of the sella, since a pituitary tumour can't be elsewhere: the
other tumours stand wherever those slices meet dura or white matter.
"""

from dataclasses import dataclass

import numpy as np

from benchmark.data.phantom.grids import Array
from benchmark.data.phantom.head_anatomy import SELLA, Head
from benchmark.data.phantom.lesions import Glioma, Lesion, Meningioma, Pituitary
from benchmark.data.phantom.patient import Anatomy, Shape
from benchmark.data.phantom.random_fields import Plane, Waves
from benchmark.data.phantom.scanner import Scanner

CLASSES = ("glioma", "meningioma", "notumor", "pituitary")
PLANES = ("axial", "coronal", "sagittal")
KINDS_OF_EXAMINATION = 30  # pairs of planes with numbers of slices
GROUPS_OF_FOUR = 2 * KINDS_OF_EXAMINATION
NEAR_SHARE, NEAR_MM = 0.8, 11.0
REACH = ((-55.0, 55.0), (-80.0, 50.0), (-10.0, 95.0))  # of sites from the sella: rightwards, forwards, upwards
SMALLEST_MM, LARGEST_MM = 16.0, 25.0  # radius of a lesion

# For each plane: its normal, the image's down and right (patient mm: right, anterior, up), and where the image's
# centre lies from the sella.
VIEWS: dict[str, tuple[Array, Array, Array, Array]] = {
    "axial": (np.array([0, 0, 1.0]), np.array([0, -1.0, 0]), np.array([-1.0, 0, 0]), np.array([0, -18.0, 0])),
    "coronal": (np.array([0, 1.0, 0]), np.array([0, 0, -1.0]), np.array([-1.0, 0, 0]), np.array([0, 0, 16.0])),
    "sagittal": (np.array([1.0, 0, 0]), np.array([0, 0, -1.0]), np.array([0, -1.0, 0]), np.array([0, -12.0, 14.0])),
}


@dataclass(frozen=True)
class Examination:
    """What the four patients of a group share.

    Args:
        radius: of the lesion, mm.
        rise: height of a pituitary tumour's centre above the sella, mm.
        middles: for each of the two planes, where the lesion's centre lies along its normal, mm from the sella.
        site: near which a glioma or meningioma is looked for, reference mm, shape (3,).
        cuts: plane and position along its normal, mm from the sella, of each slice.
    """

    radius: float
    rise: float
    middles: dict[str, float]
    site: Array
    cuts: tuple[tuple[str, float], ...]


def examinations(seed: int) -> tuple[Examination, ...]:
    """Return the groups' examinations; each pair of planes and each number of slices about equally often."""
    rng = np.random.default_rng([seed, 0])
    kinds = rng.permutation(np.arange(GROUPS_OF_FOUR) % KINDS_OF_EXAMINATION)
    result = []
    for kind in kinds:
        first = PLANES[kind % 3]
        second = PLANES[(kind + 1 + kind // 3 % 2) % 3]
        radius = float(np.exp(rng.uniform(np.log(SMALLEST_MM), np.log(LARGEST_MM))))
        rise = radius * rng.uniform(0.0, 0.9)
        middles, cuts = {}, []
        # five slices a patient on average: 3 + 2, or 2 + 2 and 3 + 3 in turn
        for plane, count in zip(
            (first, second),
            ((3, 2), (2, 3), (3, 3), (2, 2))[kind // 3 % 4 if kind < 24 else kind // 3 % 2],
            strict=True,
        ):
            middle = (rise if plane == "axial" else 0.0) + 0.25 * radius * rng.normal(0, 1)
            steps = np.linspace(-0.45, 0.45, count) * radius * rng.uniform(0.7, 1)
            middles[plane] = float(middle)
            cuts += [(plane, float(middle + step)) for step in steps]
        along = {
            "sagittal": middles.get("sagittal"),
            "coronal": middles.get("coronal"),
            "axial": middles.get("axial"),
        }
        free = next(axis for axis, plane in enumerate(along) if along[plane] is None)
        site = np.array([value or 0.0 for value in along.values()])
        low, high = REACH[free]
        site[free] = (
            NEAR_MM * rng.normal(0, 1) + rise * (free == 2) if rng.random() < NEAR_SHARE else rng.uniform(low, high)
        )
        result.append(Examination(radius, rise, middles, SELLA + site, tuple(cuts)))
    return tuple(result)


@dataclass(frozen=True)
class Patient:
    """One simulated patient: head, lesion and scanner, shared by all slices."""

    examination: Examination
    anatomy: Anatomy
    scanner: Scanner
    lesion: Lesion | None

    @classmethod
    def draw(cls, seed: int, number: int, class_name: str, examination: Examination, head: Head) -> "Patient":
        """Draw patient ``number``; the same arguments give the same patient."""
        rng = np.random.default_rng([seed, 1, number])
        anatomy = Anatomy.draw(rng, head)
        scanner = Scanner.draw(rng)
        lesion: Lesion | None = None
        if class_name == "meningioma":
            lesion = _meningioma(rng, examination, anatomy.shape, head)
        elif class_name == "glioma":
            lesion = _glioma(rng, examination, anatomy.shape, head)
        elif class_name == "pituitary":
            lesion = _pituitary(rng, examination)
        return cls(examination, anatomy, scanner, lesion)

    def plane(self, index: int, size: int) -> Plane:
        """Return where slice ``index`` lies, with ``size`` pixels a side."""
        plane, offset = self.examination.cuts[index]
        normal, down, right, centre = VIEWS[plane]
        step = self.scanner.field_of_view / size
        middle = centre + self.scanner.shift[0] * down + self.scanner.shift[1] * right
        corner = middle + offset * normal - (size - 1) / 2 * step * (down + right)
        return Plane(corner, step * down, step * right, size)


def _at_slices(
    rng: np.random.Generator, examination: Examination, shape: Shape, places: Array, weights: Array
) -> int:
    """Choose one of ``places`` that the examination's slices, in both planes, pass through or nearly so."""
    normals = np.stack([VIEWS[plane][0] for plane in examination.middles])
    middles = np.asarray(list(examination.middles.values()))
    rough = np.abs((places - SELLA) @ np.linalg.inv(shape.matrix).T @ normals.T - middles).max(axis=1)
    near = np.flatnonzero(rough < 0.3 * examination.radius + 6)
    tried = rng.choice(near, size=96, p=weights[near] / weights[near].sum())
    miss = np.abs(shape.back(places[tried]) @ normals.T - middles).max(axis=1)
    good = np.flatnonzero(miss < 0.3 * examination.radius)
    return int(tried[good[0] if len(good) else miss.argmin()])


def _meningioma(rng: np.random.Generator, examination: Examination, shape: Shape, head: Head) -> Meningioma:
    r = examination.radius
    sunk = rng.uniform(0.2, 0.85, len(head.dura))
    middles = head.dura + head.inward * sunk[:, None] * r
    chosen = _at_slices(rng, examination, shape, middles, _closeness(middles, examination.site, 9))
    return Meningioma(
        head.dura[chosen],
        head.inward[chosen],
        r,
        height=rng.uniform(0.75, 1.05),
        sunk=float(sunk[chosen]),
        strength=rng.uniform(0.5, 0.8) if rng.random() < 0.06 else rng.uniform(0.95, 1.25),
        lobed=rng.uniform(0.02, 0.1),
        tail=rng.uniform(0, 0.9),
        cleft=rng.uniform(0, 0.7),
        oedema=rng.uniform(0.3, 0.8) if rng.random() < 0.1 else 0.0,
        calcified=rng.uniform(0.1, 0.5) if rng.random() < 0.1 else 0.0,
        form=Waves.draw(rng, 0.9 * r, 2.2 * r, fields=2),
    )


def _glioma(rng: np.random.Generator, examination: Examination, shape: Shape, head: Head) -> Glioma:
    r = examination.radius
    chosen = _at_slices(rng, examination, shape, head.tissue, _closeness(head.tissue, examination.site, 14))
    kind = rng.choice(3, p=[0.88, 0.08, 0.04])  # ring, solid, low grade
    waves = [Waves.draw(rng, a * r, b * r) for a, b in ((1.2, 2.5), (0.8, 1.6), (1.0, 2.0))]
    form = Waves(np.concatenate([w.vectors for w in waves]), np.concatenate([w.phases for w in waves]))
    return Glioma(
        head.tissue[chosen],
        r,
        rough=rng.uniform(0.1, 0.22),
        rim=(rng.uniform(0.22, 0.32), rng.uniform(0.5, 1.2), 0.0)[kind],
        strength=rng.uniform(0.95, 1.3) if kind == 0 else rng.uniform(0.4, 0.75),
        patchy=(rng.uniform(0.2, 0.6), rng.uniform(0.4, 0.9), 0.0)[kind],
        core=rng.uniform(0.0, 0.15) if kind < 2 else rng.uniform(0.4, 0.75),
        oedema=rng.uniform(0.9, 1.1) if kind < 2 else rng.uniform(0.2, 0.7),
        spread=rng.uniform(0.4, 1.0),
        edge=rng.uniform(1.8, 3) if kind < 2 else rng.uniform(3, 7),
        push=rng.uniform(0.3, 0.7),
        form=form,
    )


def _pituitary(rng: np.random.Generator, examination: Examination) -> Pituitary:
    r = examination.radius
    sideways = examination.middles.get("sagittal", 0.25 * r * rng.normal(0, 1))
    forwards = examination.middles.get("coronal", 0.2 * r * rng.normal(0, 1))
    return Pituitary(
        SELLA + np.array([sideways, forwards, examination.rise]),
        r,
        waist=rng.uniform(0.08, 0.25) if rng.random() < 0.4 else 0.0,
        stretch=rng.uniform(0.9, 1.25),
        strength=rng.uniform(0.25, 0.45) if rng.random() < 0.1 else rng.uniform(0.6, 0.9),
        patchy=rng.uniform(0.0, 0.35),
        lobed=rng.uniform(0.02, 0.08),
        cyst=rng.uniform(0.35, 0.7) if rng.random() < 0.25 else 0.0,
        cyst_signal=rng.uniform(0, 0.9),
        form=Waves.draw(rng, 0.8 * r, 2 * r, fields=2),
    )


def _closeness(places: Array, site: Array, reach: float) -> Array:
    return np.asarray(np.exp(-((places - site) ** 2).sum(axis=1) / (2 * reach**2)) + 1e-12)
