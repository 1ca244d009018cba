"""Spoilt images: each corruption against what it is defined to be, and what all of them have in common."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import norm, rice

from benchmark.draws.corruptions import CORRUPTIONS, MOST_CELLS, corrupt, known_corruptions, shown_cells
from benchmark.draws.randomness import image_numbers

SIDE = 48
NAMES = tuple(CORRUPTIONS)


def head(side: int = SIDE) -> npt.NDArray[np.uint8]:
    """Return a picture with a smooth disc, a bright spot and texture, grey: shape (S, S, 3)."""
    y, x = np.mgrid[:side, :side] / (side - 1) * 2 - 1
    disc = 130 * (x**2 + (1.2 * y) ** 2 < 0.6) + 90 * ((x - 0.2) ** 2 + (y + 0.2) ** 2 < 0.03)
    texture = np.random.default_rng(0).integers(0, 25, (side, side)) * (disc > 0)
    return np.repeat((disc + texture).astype(np.uint8)[..., None], 3, axis=-1)


def numbers(*names: str) -> npt.NDArray[np.uint64]:
    return image_numbers(np.array(names))


def planes() -> npt.NDArray[np.float32]:
    return np.moveaxis(head()[..., :1], -1, 0).astype(np.float32) / 255


@pytest.mark.parametrize("name", NAMES)
def test_a_higher_severity_is_more_of_the_same(name: str) -> None:
    image = head()
    ids = numbers(*(f"image {k}" for k in range(12)))
    apart = []
    for severity in range(1, 6):
        spoilt = corrupt(np.repeat(image[None], len(ids), axis=0), ids, name, severity)
        assert spoilt.dtype == np.uint8
        assert (spoilt[..., :1] == spoilt).all()  # grey stays grey
        apart.append(np.abs(spoilt.astype(float) - image).mean())
    assert apart == sorted(apart)
    assert 0 < apart[0] < apart[4] / 1.5


@pytest.mark.parametrize("name", NAMES)
def test_pixels_follow_from_the_image_and_its_id_alone(name: str) -> None:
    image = head()
    other = 255 - image
    both = corrupt(np.stack([other, image]), numbers("b", "a"), name, 4)
    alone = corrupt(image[None], numbers("a"), name, 4)
    assert (both[1] == alone[0]).all()
    if name != "blur":  # nothing about it is drawn
        differ = [corrupt(image[None], numbers(f"image {k}"), name, 4) for k in range(8)]
        assert any((each != alone).any() for each in differ)


@pytest.mark.parametrize("name", NAMES)
def test_a_black_image_and_one_in_colours_can_be_spoilt(name: str) -> None:
    black = np.zeros((1, SIDE, SIDE, 3), dtype=np.uint8)
    assert (corrupt(black, numbers("a"), name, 5) == 0).all()
    colours = head()[None].copy()
    colours[..., 1] //= 2
    spoilt = corrupt(colours, numbers("a"), name, 3)
    if name != "noise":  # which adds the same to all channels
        assert (
            spoilt[..., 0] == corrupt(colours[..., :1].repeat(3, axis=-1), numbers("a"), name, 3)[..., 0]
        ).mean() > 0.97


def test_a_bias_field_is_the_exponential_of_a_polynomial() -> None:
    flat = np.full((1, SIDE, SIDE), 0.5, dtype=np.float32)
    field = CORRUPTIONS["bias-field"].apply(flat, 0.7, np.random.default_rng(3))[0]
    draws = np.random.default_rng(3).uniform(-1, 1, 10)
    axis = (np.arange(SIDE) + 0.5 - SIDE / 2) / (SIDE / 2 - 0.5)
    assert (axis[0], axis[-1]) == (-1, 1)
    expected = np.zeros((SIDE, SIDE))
    terms = [(i, j) for i in range(4) for j in range(4 - i)]
    for coefficient, (i, j) in zip(draws, terms, strict=True):
        for row in range(SIDE):
            for column in range(SIDE):
                expected[row, column] += 0.7 * coefficient * axis[row] ** i * axis[column] ** j
    expected = np.exp(expected)
    np.testing.assert_allclose(field, expected / expected.max() * 0.5, rtol=1e-4)


def test_ghosts_are_copies_shifted_by_a_part_of_the_image() -> None:
    """Weakening every n-th line by s takes s / n of n shifted copies away: the sum over a comb is a comb."""
    image = planes()
    for seed in range(6):
        random = np.random.default_rng(seed)
        axis, every = 1 + int(random.integers(2)), int(random.integers(2, 5))
        spoilt = CORRUPTIONS["ghosting"].apply(image, 0.6, np.random.default_rng(seed))
        copies = np.mean([np.roll(image, k * SIDE // every, axis=axis) for k in range(every)], axis=0)
        middle = image.mean(axis=axis, keepdims=True)  # a line that would be weakened, and stays
        np.testing.assert_allclose(spoilt, image - 0.6 * (copies - middle), atol=2e-5)


def test_noise_has_rices_distribution() -> None:
    size, level = 400, 0.5
    flat = np.full((1, size, size), level, dtype=np.float32)
    for strength in (0.1, 0.8):
        spoilt = CORRUPTIONS["noise"].apply(flat, strength, np.random.default_rng(0))
        sigma = strength * level
        law = rice(level / sigma, scale=sigma)
        assert abs(spoilt.mean() - law.mean()) < 4 * law.std() / size
        assert abs(spoilt.std() / law.std() - 1) < 0.02
    dark = flat.copy()
    dark[:, : size // 2] = 0
    background = CORRUPTIONS["noise"].apply(dark, 0.2, np.random.default_rng(0))[0, : size // 2]
    assert abs(background.mean() - 0.2 * level * np.sqrt(np.pi / 2)) < 1e-3  # Rayleigh's


def test_blur_is_a_gaussian_of_so_many_pixels() -> None:
    point = np.zeros((1, 21, 21), dtype=np.float32)
    point[0, 10, 10] = 1
    spoilt = CORRUPTIONS["blur"].apply(point, 1.5, np.random.default_rng(0))[0]
    across = norm.pdf(np.arange(-10, 11), scale=1.5)
    np.testing.assert_allclose(spoilt, np.outer(across, across), atol=1e-4)


def test_contrast_is_a_power_up_or_down() -> None:
    middle = np.full((1, 4, 4), 0.5, dtype=np.float32)
    spoilt = [CORRUPTIONS["contrast"].apply(middle, 0.4, np.random.default_rng(k)) for k in range(20)]
    found = {round(float(each[0, 0, 0]), 5) for each in spoilt}
    assert found == {round(0.5 ** np.exp(0.4), 5), round(0.5 ** np.exp(-0.4), 5)}


def test_resolution_keeps_a_line_and_interpolates_between() -> None:
    ramp = np.repeat(np.linspace(0, 1, 60, dtype=np.float32)[None, :, None], 60, axis=2)
    for seed in range(4):
        random = np.random.default_rng(seed)
        along = random.integers(2) == 0
        spoilt = CORRUPTIONS["resolution"].apply(ramp, 3, np.random.default_rng(seed))
        if not along:
            np.testing.assert_allclose(spoilt, ramp, atol=1e-6)
            continue
        # every third row is kept (the middle of three), what lies between is on the line between its neighbours
        np.testing.assert_allclose(spoilt[:, 1::3], ramp[:, 1::3], atol=1e-6)
        np.testing.assert_allclose(spoilt[:, 2:58], ramp[:, 2:58], atol=1e-6)
        assert (spoilt[:, 0] == spoilt[:, 1]).all()


def test_an_image_that_does_not_move_has_no_motion() -> None:
    still = CORRUPTIONS["motion"].apply(planes(), 0.0, np.random.default_rng(0))
    np.testing.assert_allclose(still, planes(), atol=1e-5)


def test_motion_mixes_lines_of_k_space_of_the_moved_image() -> None:
    """A whole shift multiplies k-space by phases: each line must be that of one of three positions, in order."""
    image = planes()
    spoilt = CORRUPTIONS["motion"].apply(image, 4.0, np.random.default_rng(1))
    before, after = (np.fft.fftshift(np.fft.fft2(each), axes=(1, 2))[0] for each in (image, spoilt))
    axis = int(np.random.default_rng(1).integers(2))
    lines = np.abs(np.moveaxis(before - after, axis, 0)).max(axis=1) < 1e-2 * np.abs(before).max()
    middle = SIDE // 2
    assert lines[middle]  # that of the image at rest
    assert not lines.all()


def test_each_image_is_shown_in_25_cells_at_most() -> None:
    ids = image_numbers(np.arange(700).astype(np.str_))
    for count in range(1, 8):
        shown = shown_cells(ids, count)
        assert shown.shape == (count, 5, 700)
        assert (shown.sum(axis=(0, 1)) == min(5 * count, MOST_CELLS)).all()
        if count <= 5:
            assert shown.all()
        else:  # each cell is shown to about 5 of `count` images
            assert np.abs(shown.mean(axis=2) - 5 / count).max() < 0.06
    assert (shown_cells(ids[100:], 7) == shown_cells(ids, 7)[..., 100:]).all()


def test_names_are_read_in_the_order_of_the_table() -> None:
    assert known_corruptions(("blur", "noise", "blur")) == ("noise", "blur")
    assert known_corruptions(("all",)) == NAMES
    assert known_corruptions(("none",)) == known_corruptions(()) == ()
    for words, named in ((("snow",), "'snow' is none of bias-field"), (("all", "blur"), "'all'")):
        with pytest.raises(ValueError, match=named):
            known_corruptions(words)
