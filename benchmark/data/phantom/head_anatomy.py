"""The head: the real brain of the template, and a skull, a face and vessels drawn around it.

The template is skull-stripped. What surrounds the brain here is composed of simple solids at anatomical places; it is
made to look like a head on T1, not to be measured.
"""

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from benchmark.data.phantom import template
from benchmark.data.phantom.grids import Array, Volume

SELLA = np.array([0.0, 3.0, -31.0])  # the pituitary gland
SPACING = 2.0
ORIGIN = np.array([-98.0, -134.0, -134.0])
SHAPE = (99, 133, 120)
DEPTH_STEP = 0.25  # mm per grey level of the two depths

CHANNELS = (
    "cavity",  # depth within the intracranial cavity, in mm: level 128 is its wall, higher is inside
    "skin",  # depth below the skin, likewise
    "fat",
    "muscle",
    "mucosa",  # enhances
    "fluid",
    "marrow",
    "sinus",  # venous sinuses
    "artery",
    "choroid",  # choroid plexus
    "gland",  # pituitary gland and stalk
    "falx",
)
SOFT = ("fat", "muscle", "mucosa", "fluid", "marrow")  # the rest of the head is bone or air, and dark

Field = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Head:
    """The reference head.

    Args:
        brain: one channel, 1 mm: the template's T1, 0 outside the brain.
        tissues: one channel for each of ``CHANNELS``, 2 mm; fractions from 0 to 255.
        dura: places on the dura (cavity wall and falx), in mm, shape (N, 3).
        inward: unit vectors from there into the cavity, shape (N, 3).
        white: places in white matter, in mm, shape (M, 3).
        tissue: places well within brain tissue, likewise.
    """

    brain: Volume
    tissues: Volume
    dura: Array
    inward: Array
    white: Array
    tissue: Array


class _Canvas:
    """Fractions of each material on the 2 mm grid; what is painted later covers what was there."""

    def __init__(self) -> None:
        axes = [ORIGIN[i] + SPACING * np.arange(SHAPE[i]) for i in range(3)]
        x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
        self.x, self.y, self.z = (a.astype(np.float32) for a in (x, y, z))
        self.maps: dict[str, Field] = {name: np.zeros(SHAPE, np.float32) for name in CHANNELS[2:]}

    def paint(self, material: str | None, weight: Field, where: tuple[slice, ...] = (slice(None),) * 3) -> None:
        """Cover the part ``where`` with a material, ``None`` for bone and air, to the fraction ``weight``."""
        for name in SOFT:
            self.maps[name][where] *= 1 - weight
        if material is not None:
            self.maps[material][where] += weight

    def add(self, channel: str, weight: Field, where: tuple[slice, ...] = (slice(None),) * 3) -> None:
        """Mark a structure that is drawn over the materials (vessels, gland, falx)."""
        np.maximum(self.maps[channel][where], weight, out=self.maps[channel][where])

    def box(self, centre: Array, half: Array) -> tuple[slice, ...]:
        low = np.floor((centre - half - ORIGIN) / SPACING).astype(int).clip(0)
        high = np.ceil((centre + half - ORIGIN) / SPACING).astype(int) + 1
        return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))

    def ellipsoid(
        self, centre: tuple[float, float, float], radii: tuple[float, float, float], pitch: float = 0.0
    ) -> tuple[Field, tuple[slice, ...]]:
        """Return an ellipsoid's fraction in each voxel, and the part of the grid that holds it.

        ``pitch`` turns it about the left-right axis, in degrees, front upwards.
        """
        middle, size = np.asarray(centre), np.asarray(radii)
        where = self.box(middle, np.full(3, size.max() + 3) if pitch else size + 3)
        x = self.x[where[0]] - middle[0]
        y = self.y[:, where[1]] - middle[1]
        z = self.z[:, :, where[2]] - middle[2]
        c, s = np.cos(np.radians(pitch)), np.sin(np.radians(pitch))
        u, v = c * y + s * z, c * z - s * y
        distance = np.sqrt((x / size[0]) ** 2 + (u / size[1]) ** 2 + (v / size[2]) ** 2)
        return np.clip(0.5 + (1 - distance) * size.min() / SPACING, 0, 1).astype(np.float32), where

    def tube(self, channel: str, path: list[tuple[float, float, float]], radius: float, level: float = 1.0) -> None:
        """Draw a vessel along a path, both as given and mirrored."""
        points = np.asarray(path, dtype=float)
        steps = [np.linspace(a, b, max(2, int(np.linalg.norm(b - a) / 1.5))) for a, b in itertools.pairwise(points)]
        for point in np.concatenate(steps):
            for side in (1, -1) if point[0] else (1,):
                ball, where = self.ellipsoid((side * point[0], point[1], point[2]), (radius,) * 3)
                self.add(channel, ball * level, where)


def _inside(mask: npt.NDArray[np.bool_]) -> Field:
    """Return the signed distance to a mask's wall in mm, positive inside."""
    inner = ndimage.distance_transform_edt(mask, sampling=SPACING)
    outer = ndimage.distance_transform_edt(~mask, sampling=SPACING)
    return np.asarray(inner - outer, dtype=np.float32)


def _brain() -> Volume:
    t1 = template.read_t1().astype(np.float32)
    inside = t1 > 0
    # An average of 152 brains is blurred at its folds: sharpened within the brain.
    blurred = ndimage.gaussian_filter(t1, 1.6) / np.maximum(
        ndimage.gaussian_filter(inside.astype(np.float32), 1.6), 0.2
    )
    sharp = np.where(inside, np.clip(t1 + 0.9 * (t1 - blurred), 12, 255), 0)
    # The template ends above the foramen magnum; the cord goes on.
    below = 60
    whole = np.zeros((t1.shape[0], t1.shape[1], t1.shape[2] + below), np.uint8)
    whole[:, :, below:] = sharp.round()
    x = np.arange(t1.shape[0])[:, None] + template.ORIGIN[0]
    y = np.arange(t1.shape[1])[None] + template.ORIGIN[1]
    for k in range(below + 2):
        shift = (below + 2 - k) * 0.12
        distance = np.hypot(x / 1.25, y + 46 + shift)
        cord = np.clip(6.5 - distance, 0, 1) * 200
        whole[:, :, k] = np.maximum(whole[:, :, k], cord.round().astype(np.uint8))
    origin = (template.ORIGIN[0], template.ORIGIN[1], template.ORIGIN[2] - below)
    return Volume(np.ascontiguousarray(whole[..., None]), origin, 1.0)


def _profile(z: Array, table: list[tuple[float, float]]) -> Field:
    heights, values = zip(*sorted(table), strict=True)
    return np.asarray(np.interp(z, heights, values), dtype=np.float32)


def _outline(canvas: _Canvas, cavity: Field) -> Field:
    """Return the depth below the skin: the vault, a face with a nose, ears and a neck."""
    x, y, z = canvas.x, canvas.y, canvas.z
    front = _profile(
        z,
        [
            (60, 40),
            (15, 86),
            (-5, 90),
            (-18, 86),
            (-30, 88),
            (-56, 90),
            (-62, 89),
            (-70, 93),
            (-76, 90),
            (-82, 93),
            (-90, 87),
            (-99, 90),
            (-108, 84),
            (-114, 66),
            (-122, 34),
            (-140, 26),
        ],
    )
    width = _profile(z, [(20, 50), (-5, 63), (-25, 72), (-50, 71), (-75, 66), (-95, 60), (-110, 56), (-140, 54)])
    back = _profile(z, [(20, -60), (-30, -100), (-55, -98), (-75, -92), (-95, -90), (-140, -92)])
    middle = -15.0
    ahead = (np.abs(x) / width) ** 2.6 + (np.clip(y - middle, 0, None) / (front - middle)) ** 2.6 < 1
    behind = (np.abs(x) / width) ** 2.2 + (np.clip(middle - y, 0, None) / (middle - back)) ** 2.2 < 1
    face = np.where(y > middle, ahead, behind) & (z < 18)
    tip = _profile(z, [(-16, 84), (-24, 89), (-38, 99), (-47, 106), (-52, 107), (-57, 101), (-62, 88)])
    half = _profile(z, [(-16, 7), (-30, 9), (-50, 15), (-58, 13), (-62, 8)])
    nose = (np.abs(x) < half * np.clip((tip + 6 - y) / 22, 0.35, 1)) & (y > 60) & (y < tip) & (z > -62) & (z < -14)
    solid = (cavity > -13.0) & (z > -60) | face | nose
    for side in (-1, 1):
        temple, where = canvas.ellipsoid((side * 58, 18, -18), (17, 38, 34))
        solid[where] |= temple > 0.5
    smooth = ndimage.gaussian_filter(solid.astype(np.float32), 1.6)
    for side in (-1, 1):
        ear, where = canvas.ellipsoid((side * 80, -28, -42), (5, 15, 27))
        smooth[where] = np.maximum(smooth[where], ear)
    return _inside(smooth > 0.5)


def _ridges(rng: np.random.Generator, sigma: float) -> Field:
    """Return noise of unit variance on the 2 mm grid; its zero crossings are thin wandering sheets."""
    noise = ndimage.gaussian_filter(rng.standard_normal(SHAPE).astype(np.float32), sigma)
    return np.asarray(noise / noise.std(), dtype=np.float32)


def _soft_band(depth: Field, low: float | Field, high: float | Field) -> Field:
    """Return 1 where ``low < depth < high``, with edges one voxel wide."""
    return np.asarray(np.clip(np.minimum(depth - low, high - depth) / SPACING + 0.5, 0, 1))


def _paint_face(canvas: _Canvas, rng: np.random.Generator) -> None:
    """Eyes, sinuses, nose, mouth, jaws, spine, at about their places."""

    def solid(
        material: str | None,
        centre: tuple[float, float, float],
        radii: tuple[float, float, float],
        pitch: float = 0.0,
        level: float = 1.0,
    ) -> None:
        for side in (1, -1) if centre[0] else (1,):
            weight, where = canvas.ellipsoid((side * centre[0], centre[1], centre[2]), radii, pitch)
            canvas.paint(material, weight * level, where)

    # skull base: petrous bone and mastoid cells, the sphenoid's body and the clivus with their marrow
    solid(None, (34, -26, -43), (25, 9, 8))
    solid(None, (50, -38, -50), (13, 14, 18))
    solid("marrow", (52, -40, -53), (6, 7, 8), level=0.35)
    solid(None, (0, 2, -44), (18, 17, 16))
    solid("marrow", (0, -6, -43), (10, 6, 9), pitch=-20, level=0.8)
    solid("marrow", (0, -17, -56), (10, 4.5, 13), pitch=62, level=0.9)
    solid("marrow", (26, 22, -42), (9, 5, 5), level=0.6)
    # nose, mouth and throat
    solid(None, (0, 57, -53), (13, 31, 18))
    for height, length in ((-42, 20), (-52, 25), (-63, 27)):
        solid("mucosa", (8, 56, height), (3.6, length, 3.8))
    solid("mucosa", (0, 58, -52), (1.4, 28, 16), level=0.7)
    solid(None, (0, 44, -30), (13, 19, 8))  # ethmoid
    for along in (30, 40, 50, 60):
        solid("mucosa", (6, along, -30), (6, 1.3, 7), level=0.6)
    solid(None, (8, 20, -42), (9, 13, 10))  # sphenoid sinus
    solid("mucosa", (0, 20, -42), (1.2, 12, 9), level=0.4)
    solid(None, (9, 74, -8), (9, 5, 10))  # frontal sinus
    solid("mucosa", (28, 52, -62), (15.5, 17.5, 17.5), level=0.7)  # maxillary sinus
    solid(None, (28, 52, -62), (13.5, 15.5, 15.5))
    solid(None, (0, 52, -74), (22, 32, 2.6))  # palate
    solid("muscle", (0, 42, -95), (22, 33, 18))  # tongue
    solid("fat", (0, 44, -96), (2, 22, 12), level=0.6)
    solid(None, (0, 80, -80), (17, 6, 10))  # teeth
    solid("mucosa", (0, 88, -69), (16, 4, 4), level=0.8)
    solid("mucosa", (0, 87, -85), (16, 4, 4), level=0.8)
    solid(None, (0, 12, -66), (9, 8, 10))
    solid(None, (0, 4, -92), (8, 5, 26), pitch=6)
    solid("mucosa", (0, 2, -62), (13, 4, 9), level=0.8)
    # jaws
    solid(None, (48, 10, -72), (7, 13, 30), pitch=-8)
    solid("marrow", (48, 10, -74), (3.6, 8, 24), pitch=-8, level=0.8)
    solid(None, (0, 76, -101), (24, 8, 11))
    solid("marrow", (0, 76, -102), (20, 4.6, 7), level=0.9)
    solid(None, (32, 50, -100), (7, 27, 10))
    solid("marrow", (32, 50, -101), (3.8, 23, 6), level=0.8)
    # orbits
    solid("fat", (30, 50, -34), (17, 25, 16))
    solid("muscle", (30, 44, -23), (4, 16, 2.4), pitch=-12)
    solid("muscle", (30, 44, -45), (4, 16, 2.4), pitch=12)
    solid("muscle", (19, 44, -34), (2.2, 17, 4))
    solid("muscle", (41, 46, -34), (2.2, 15, 4))
    solid("muscle", (28, 38, -34), (2.6, 20, 2.6), level=0.9)  # optic nerve
    solid("muscle", (31, 62, -36), (13.6, 13.6, 13.6))
    solid("fluid", (31, 62, -36), (12, 12, 12))
    solid("muscle", (31, 71, -36), (5, 2.4, 5))
    # cervical spine
    for level, height in enumerate((-84, -102, -120)):
        at = -24 - 0.06 * (height + 84)
        solid(None, (0, at, height), (13, 10, 10))
        solid("marrow", (0, at, height), (10.5, 7.5, 6.4 if level else 9), level=0.9)
        solid(None, (26, at - 12, height), (9, 8, 6))
        solid("marrow", (26, at - 12, height), (6, 5, 3.4), level=0.7)
        solid(None, (0, -66, height), (4, 10, 4.5))
        solid("marrow", (0, -66, height), (2, 7, 2.5), level=0.7)
    # parotid glands
    solid("fat", (57, -4, -70), (8, 12, 16), level=0.55)


def _paint_vessels(canvas: _Canvas, cavity: Field) -> None:
    """What enhances in every head: sinuses, arteries, choroid plexus, the pituitary gland, the falx."""
    x, y, z = canvas.x, canvas.y, canvas.z
    along = (z > 2) | (y < -80)
    canvas.add(
        "sinus",
        np.where(
            along & (y < 62), np.clip((5.5 - np.abs(x) - 0.55 * cavity) / 2, 0, 1) * _soft_band(cavity, -1.5, 8), 0
        ),
    )
    run = np.where(y > -60, -19 - 0.5 * (y + 60).clip(0, 20), -14 - 0.14 * (y + 100))
    wall = np.clip((5.5 - np.abs(z - run)) / 2, 0, 1) * _soft_band(cavity, -1.5, 5.5)
    canvas.add("sinus", np.where((y < -40) & (np.abs(x) > 3), wall, 0))
    canvas.tube("sinus", [(46, -44, -32), (44, -40, -48), (36, -34, -62)], 4)
    canvas.tube("sinus", [(0, -44, 9), (0, -68, 0), (0, -96, -13)], 2.6)
    canvas.tube("sinus", [(0, -36, 4), (0, -44, 9)], 3.2)
    canvas.tube("sinus", [(3, -12, 14), (3, -36, 8)], 1.4, 0.8)
    canvas.tube("sinus", [(13, -10, -32), (14, 4, -33), (14, 14, -34)], 4.6, 0.75)  # cavernous sinus
    canvas.tube(
        "artery",
        [
            (13, -4, -36),
            (13, 8, -34),
            (12, 8, -26),
            (11, 2, -20),
            (22, 4, -18),
            (36, 4, -16),
            (42, 0, -8),
            (44, -10, 4),
        ],
        1.7,
    )
    canvas.tube("artery", [(11, 2, -20), (3, 10, -17), (2, 26, -12), (2, 36, 4), (2, 30, 18)], 1.4, 0.8)
    canvas.tube("artery", [(0, -20, -52), (0, -17, -40), (0, -13, -24), (0, -12, -19)], 1.9)
    canvas.tube("artery", [(0, -12, -20), (14, -16, -18), (24, -30, -10), (20, -48, -2)], 1.3, 0.8)
    canvas.tube("artery", [(6, -30, -66), (0, -22, -54)], 1.7)
    canvas.tube("choroid", [(20, -42, 9), (25, -36, 4), (28, -28, -10)], 3.2)
    canvas.tube("choroid", [(16, -32, 16), (9, -12, 18), (4, 2, 14)], 1.8, 0.8)
    canvas.tube("choroid", [(0, -56, -34), (5, -50, -40)], 2, 0.7)
    gland, where = canvas.ellipsoid((0, 3, -31.5), (7, 5.5, 4.5))
    canvas.paint(None, canvas.ellipsoid((0, 3, -31), (10, 8, 7))[0], canvas.ellipsoid((0, 3, -31), (10, 8, 7))[1])
    canvas.add("gland", gland, where)
    canvas.tube("gland", [(0, 2, -28), (0, 0, -18)], 1.5)
    arch = _profile(
        canvas.y[0, :, 0],
        [(-100, -14), (-60, 10), (-46, 14), (-30, 34), (0, 38), (22, 32), (40, 8), (50, -16), (70, -26)],
    )
    sheet = np.clip(1.15 - np.abs(x) / SPACING, 0, 1) * np.clip((z - arch[None, :, None]) / 4, 0, 1)
    canvas.add("falx", np.where(cavity > -2, sheet, 0).astype(np.float32))


def _places(canvas: _Canvas, cavity: Field, brain: Volume) -> tuple[Array, Array, Array, Array]:
    """Return the dura with its inward direction, and white matter."""
    smooth = ndimage.gaussian_filter(cavity, 2)
    slope = np.stack(np.gradient(smooth, SPACING), axis=-1)
    slope /= np.maximum(np.linalg.norm(slope, axis=-1, keepdims=True), 1e-6)
    grid = np.stack(np.broadcast_arrays(canvas.x, canvas.y, canvas.z), axis=-1).astype(float)
    wall = (np.abs(cavity - 1) < 1.1) & (canvas.z > -64) & (cavity > -1)
    on_falx = (canvas.maps["falx"] > 0.9) & (cavity > 4) & (canvas.x == 0)
    dura = [grid[wall]]
    inward = [slope[wall].astype(float)]
    for side in (1.0, -1.0):
        dura.append(grid[on_falx])
        inward.append(np.tile([side, 0.0, 0.0], (int(on_falx.sum()), 1)))
    values = brain.sample(grid.reshape(-1, 3))[:, 0].reshape(SHAPE)
    deep = ndimage.gaussian_filter((values > 150).astype(np.float32), 1.5) > 0.6
    tissue = deep & (canvas.z > -55)
    white = (values > 196) & (canvas.z > -50)
    return np.concatenate(dura), np.concatenate(inward), grid[white], grid[tissue]


@lru_cache(maxsize=1)
def reference_head() -> Head:
    """Return the reference head; built on the first call (seconds), about 35 MB."""
    rng = np.random.default_rng(152)  # the texture of fat and muscle, the same in every phantom
    brain = _brain()
    canvas = _Canvas()
    grid = np.stack(np.broadcast_arrays(canvas.x, canvas.y, canvas.z), axis=-1).reshape(-1, 3).astype(float)
    mask = (brain.sample(grid)[:, 0] > 6).reshape(SHAPE)
    near = ndimage.distance_transform_edt(~mask, sampling=SPACING) < 11
    cavity = ndimage.gaussian_filter(_inside(ndimage.distance_transform_edt(near, sampling=SPACING) > 8.5), 0.8)
    skin = ndimage.gaussian_filter(_outline(canvas, cavity), 0.7)

    streaks = _ridges(rng, 2.2)
    thick = _ridges(rng, 9)
    canvas.paint("muscle", _soft_band(skin, 0, 500))
    lower = np.clip((-20 - canvas.z) / 20, 0, 1) * _soft_band(skin, 4, 500)
    canvas.paint("fat", np.clip(1.2 - np.abs(streaks) / 0.28, 0, 1) * lower * 0.85)
    temple = np.exp(
        -(((np.abs(canvas.x) - 62) / 18) ** 2) - ((canvas.y - 14) / 34) ** 2 - ((canvas.z + 22) / 34) ** 2
    )
    canvas.paint("fat", _soft_band(skin, 1.8, 8.5 + 1.2 * thick - 4.5 * temple))
    canvas.paint(None, _soft_band(cavity, -6.2 - 0.7 * thick, 0.3))
    vault = np.clip((canvas.z + 25) / 12, 0, 1)
    canvas.paint(
        "marrow", _soft_band(cavity, -4.6 - 0.7 * thick, -1.8) * vault * (0.55 + 0.2 * _ridges(rng, 1.5)).clip(0, 1)
    )
    _paint_face(canvas, rng)
    inside = np.clip(cavity / SPACING + 0.5, 0, 1)
    canvas.paint(None, inside)
    _paint_vessels(canvas, cavity)

    layers = [np.clip(128 + depth / DEPTH_STEP, 0, 255) for depth in (cavity, skin)]
    layers += [np.clip(canvas.maps[name] * 255, 0, 255) for name in CHANNELS[2:]]
    values = np.stack([layer.round().astype(np.uint8) for layer in layers], axis=-1)
    dura, inward, white, tissue = _places(canvas, cavity, brain)
    tissues = Volume(np.ascontiguousarray(values), tuple(float(v) for v in ORIGIN), SPACING)  # type: ignore[arg-type]
    return Head(brain, tissues, dura, inward, white, tissue)
