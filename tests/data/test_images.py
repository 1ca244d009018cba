"""How each kind of stored image becomes uint8 pixels."""

import io

import numpy as np
import pytest
from PIL import Image

from benchmark.data.preparation.index import is_grey
from benchmark.data.preparation.pixels import decode, resized, resized_mask, to_uint8
from benchmark.errors import UserError

RAMP = np.tile(np.arange(0, 240, 10, dtype=np.uint8), (16, 1))


def stored(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def test_greyscale_and_rgb_are_kept():
    assert np.array_equal(decode(stored(Image.fromarray(RAMP)), "a"), RAMP)
    colours = np.stack([RAMP, RAMP // 2, RAMP // 3], axis=2)
    assert np.array_equal(decode(stored(Image.fromarray(colours)), "a"), colours)
    grey_as_rgb = np.stack([RAMP] * 3, axis=2)
    assert np.array_equal(decode(stored(Image.fromarray(grey_as_rgb)), "a"), RAMP)


@pytest.mark.parametrize("place", [(0, 0), (0, 23), (7, 11), (15, 0), (15, 23)])
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_an_image_of_one_coloured_byte_has_colour(place: tuple[int, int], channel: int) -> None:
    pixels = np.stack([RAMP] * 3, axis=2)
    assert is_grey(pixels)
    pixels[(*place, channel)] += 1
    assert not is_grey(pixels)
    for view in (pixels[::-1], pixels[:, ::-1], pixels.transpose(1, 0, 2), np.asfortranarray(pixels)):
        assert not is_grey(view)


@pytest.mark.parametrize("shape", [(5, 4), (5, 1, 3), (1, 5, 3), (0, 4, 3), (4, 0, 3)])
def test_an_image_of_equal_channels_has_none(shape: tuple[int, ...]) -> None:
    assert is_grey(np.full(shape, 7, dtype=np.uint8))


def test_transparency_is_laid_over_black():
    rgba = np.dstack([RAMP, RAMP, RAMP, np.full_like(RAMP, 255)])
    rgba[:8, :, 3] = 0
    pixels = decode(stored(Image.fromarray(rgba)), "a")
    assert (pixels[:8] == 0).all()
    assert np.array_equal(pixels[8:], RAMP[8:])


def test_a_palette_is_looked_up():
    pixels = decode(stored(Image.fromarray(RAMP).convert("P")), "a")
    assert np.array_equal(pixels, RAMP)


def test_cmyk_becomes_rgb():
    image = Image.fromarray(np.dstack([RAMP, RAMP // 2, RAMP])).convert("CMYK")
    pixels = decode(stored(image, "JPEG", quality=100), "a")
    assert pixels.shape == (16, 24, 3)
    assert np.abs(pixels[..., 0].astype(int) - RAMP).max() < 12


def test_16_bit_greyscale_is_scaled_to_its_own_range():
    deep = (RAMP.astype(np.uint16) + 1000) * 3
    pixels = decode(stored(Image.fromarray(deep)), "a")
    assert pixels.min() == 0
    assert pixels.max() == 255
    assert (np.diff(pixels[0].astype(int)) > 0).all()


def test_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    assert decode(stored(Image.fromarray(RAMP), "JPEG", exif=exif), "a").shape == (24, 16)


def test_hot_pixels_do_not_darken_the_rest():
    values = np.linspace(0, 100, 10_000)
    values[0] = 1e6
    assert np.median(to_uint8(values, "a")) == pytest.approx(127, abs=2)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value):
    with pytest.raises(UserError, match=r"'a\.dcm' holds values that are not finite"):
        to_uint8(np.array([[0.0, value]]), "a.dcm")


def test_constant_images_are_refused():
    with pytest.raises(UserError, match=r"'a\.png' is constant"):
        decode(stored(Image.new("RGB", (9, 9), (10, 20, 30))), "a.png")
    with pytest.raises(UserError, match=r"'a\.mat' is constant"):
        to_uint8(np.full((4, 4), 7), "a.mat")


def test_truncated_empty_and_foreign_files_are_refused():
    whole = stored(Image.fromarray(RAMP))
    for data in (whole[: len(whole) // 2], b"not an image"):
        with pytest.raises(UserError, match=r"'a\.png' can't be read"):
            decode(data, "a.png")
    with pytest.raises(UserError, match="is empty"):
        decode(b"", "a.png")


def test_an_image_with_absurdly_many_pixels_is_refused():
    bomb = stored(Image.new("1", (20_000, 20_000)))
    with pytest.raises(UserError, match=r"'bomb\.png' claims"):
        decode(bomb, "bomb.png")


def test_squash_fills_and_pad_keeps_the_aspect_ratio():
    wide = np.full((10, 40), 200, dtype=np.uint8)
    assert (resized(wide, 20, "squash") == 200).all()
    padded = resized(wide, 20, "pad")
    assert (padded[:7] == 0).all()
    assert (padded[9:11] == 200).all()


def test_shrinking_is_antialiased():
    stripes = np.tile(np.array([0, 255], dtype=np.uint8), (64, 32))
    assert np.ptp(resized(stripes, 16, "squash")[4:-4, 4:-4].astype(int)) < 20


def test_masks_follow_their_image_and_small_lesions_stay():
    mask = np.zeros((64, 64), dtype=np.uint8)
    mask[16:48, 0:32] = 1
    small = resized_mask(mask, 16, "squash")
    assert small[4:12, 0:8].all()
    assert small.sum() == pytest.approx(64, abs=8)
    dot = np.zeros((64, 64), dtype=np.uint8)
    dot[20, 20] = 7
    assert resized_mask(dot, 8, "squash").sum() >= 1
