"""Where the head ends, and the part of a heat map that lies beyond it."""

import numpy as np
import pytest

from benchmark.evaluation.head_mask import energy_outside, head_mask


def slice_with_head(radius: float, ground: int = 0, hole: float = 0.0) -> np.ndarray:  # type: ignore[type-arg]
    """Return a bright disc on a noisy ground, dark within ``hole``, as a ventricle is."""
    at = np.hypot(*(np.indices((80, 80)) - 39.5))
    noise = np.random.default_rng(0).integers(0, 5, (80, 80))
    picture: np.ndarray = np.where((at < radius) & (at >= hole), 150, ground) + noise  # type: ignore[type-arg]
    return picture.astype(np.uint8)


def test_the_head_is_the_bright_part_with_its_dark_holes() -> None:
    head = head_mask(slice_with_head(25, hole=10))
    assert head is not None
    at = np.hypot(*(np.indices((80, 80)) - 39.5))
    assert head[at < 24].all()
    assert not head[at > 28].any()


def test_letters_beside_the_head_are_not_part_of_it() -> None:
    picture = slice_with_head(25)
    picture[2:6, 2:12] = 255
    head = head_mask(picture)
    assert head is not None
    assert not head[:8, :14].any()


@pytest.mark.parametrize(
    "picture", [slice_with_head(25, ground=90), slice_with_head(80), np.zeros((80, 80), np.uint8)]
)
def test_without_a_dark_ground_there_is_no_head(picture: np.ndarray) -> None:  # type: ignore[type-arg]
    assert head_mask(picture) is None


def test_energy_outside_is_the_share_of_the_sum() -> None:
    head = np.zeros((8, 8), dtype=bool)
    head[:, :4] = True
    flat = np.ones((4, 4), dtype=np.float32)
    assert energy_outside(flat, head) == pytest.approx(0.5)
    assert energy_outside(np.zeros((4, 4), dtype=np.float32), head) == pytest.approx(0.5)
    fine = np.zeros((16, 16), dtype=np.float32)  # finer than the mask: a mask's pixel is four of the map's
    fine[0, :6], fine[0, 15] = 1, 2
    assert energy_outside(fine, head) == pytest.approx(0.25)
