"""From stored bytes to uint8 pixels of one size. Pillow alone decodes and resizes, for every framework.

How each kind of image is read:

- greyscale and RGB as they are, and RGB whose channels are equal as the greyscale that it is; one-bit images become
  0 and 255; CMYK, YCbCr and HSV are converted to RGB;
- a palette is looked up; transparency (RGBA, LA, palettes) is laid over black, the background of an MRI;
- 16- and 32-bit greyscale is scaled by :func:`to_uint8`;
- an EXIF orientation is applied; of several frames (GIF, TIFF) the first is read, or the one that is asked for.
"""

import io
import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from benchmark.errors import UserError

Pixels = npt.NDArray[np.uint8]
Resize = Literal["squash", "pad"]

SUFFIXES = frozenset(
    {*(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".png", ".bmp", ".tif", ".tiff", ".gif", ".webp")}
)
_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "GIF", "WEBP")
MAX_PIXELS = 64_000_000  # pixels; a slice has at most some millions, a decompression bomb more
WINDOW = (0.1, 99.9)  # percentiles of a slice's intensities that become 0 and 255
THUMBNAIL = 32  # side in pixels
_RESAMPLE = Image.Resampling.BICUBIC  # Pillow widens the kernel when it shrinks, which is antialiasing


def to_uint8(intensities: npt.NDArray[Any], name: str) -> Pixels:
    """Scale intensities of any range to uint8, linearly, per slice.

    MR intensities have no absolute unit. The 0.1st percentile becomes 0 and the 99.9th 255; what lies beyond is
    clipped, so that a few hot pixels don't darken the rest.

    Args:
        intensities: integer or float, any shape.
        name: of the image, for messages.

    Raises:
        UserError: values that are not finite, or all the same.
    """
    values = np.asarray(intensities, dtype=np.float32)
    if not np.isfinite(values).all():
        raise UserError(f"Image '{name}' holds values that are not finite (NaN or infinity).")
    low, high = (float(value) for value in np.percentile(values, WINDOW))
    if high <= low:
        low, high = float(values.min()), float(values.max())
    if high <= low:
        raise UserError(f"Image '{name}' is constant: every pixel has the value {low:g}.")
    scaled = np.clip((values - low) / (high - low), 0, 1) * 255
    return np.asarray(np.rint(scaled), dtype=np.uint8)


def decode(data: bytes, name: str, frame: int | None = None) -> Pixels:
    """Return the pixels of an image file, of shape (H, W) or (H, W, 3), as the module describes.

    Args:
        data: the file.
        name: of the file, for messages.
        frame: which of several, from 0.

    Raises:
        UserError: not an image, truncated, constant, without such a frame, or larger than any slice is.
    """
    return _read(data, name, frame, _pixels)


def decode_mask(data: bytes, name: str, frame: int | None = None) -> Pixels:
    """Return a mask file as 0 and 1, shape (H, W): 1 where any channel, or the palette's index, is not zero.

    Raises:
        UserError: as :func:`decode`; an empty mask is none of it.
    """
    return _read(data, name, frame, _inside)


def nonzero(values: npt.NDArray[Any]) -> Pixels:
    """Return 1 where any channel is not zero, else 0: (H, W) or (H, W, C) to (H, W)."""
    return np.asarray(values.reshape(*values.shape[:2], -1).any(axis=2), dtype=np.uint8)


def _read(data: bytes, name: str, frame: int | None, convert: Callable[[Image.Image, str], Pixels]) -> Pixels:
    if not data:
        raise UserError(f"Image '{name}' is empty (0 bytes).")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a bomb is refused below, and odd metadata harms nobody
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise UserError(f"Image '{name}' claims {image.width} x {image.height} pixels: refused.")
                if frame is not None:
                    frames = getattr(image, "n_frames", 1)
                    if not 0 <= frame < frames:
                        raise UserError(f"'{name}' has no slice {frame}: it has {frames}, counted from 0.")
                    image.seek(frame)
                image.load()  # reads the frame whole: a truncated file fails here
                ImageOps.exif_transpose(image, in_place=True)  # a copy of each image would cost a tenth of the time
                return convert(image, name)
    except UserError:
        raise
    except Image.DecompressionBombError:
        raise UserError(f"Image '{name}' claims more pixels than any slice has: refused.") from None
    except Exception as error:  # Pillow's decoders raise many kinds on damaged files
        reason = str(error).partition("<_io")[0].strip() or type(error).__name__
        raise UserError(f"Image '{name}' can't be read ({reason}).") from None


def _pixels(upright: Image.Image, name: str) -> Pixels:
    if upright.mode.startswith(("I", "F")):
        return to_uint8(np.asarray(upright), name)
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", layer.size, (0, 0, 0, 255)), layer)
    pixels = _grey_if_equal(upright)
    # a look at every eighth pixel clears all but images that are nearly constant
    if (pixels[::8, ::8] == pixels[0, 0]).all() and (pixels == pixels[0, 0]).all():
        raise UserError(f"Image '{name}' is constant: every pixel has the same value.")
    return pixels


def _grey_if_equal(image: Image.Image) -> Pixels:
    """Return an image as (H, W) where it is grey or its three channels are equal, as most slices are stored."""
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L") if image.mode == "1" else image)
    colours = image if image.mode == "RGB" else image.convert("RGB")
    red, green, blue = (channel.tobytes() for channel in colours.split())
    if red == green == blue:
        return np.frombuffer(red, dtype=np.uint8).reshape(image.height, image.width)
    return np.asarray(colours)


def _inside(upright: Image.Image, name: str) -> Pixels:
    values = np.asarray(upright.convert("RGB") if upright.mode in ("RGBA", "LA", "CMYK") else upright)
    return nonzero(values)


def resized(pixels: Pixels, size: int, rule: Resize) -> Pixels:
    """Return the image as a square of ``size``, antialiased (bicubic).

    Args:
        pixels: shape (H, W) or (H, W, 3).
        size: side in pixels.
        rule: ``squash`` changes the aspect ratio; ``pad`` keeps it and adds black.

    Returns:
        Shape (size, size) or (size, size, 3).
    """
    if pixels.shape[:2] == (size, size):  # as Pillow leaves it, without two copies
        return pixels
    return np.asarray(_fitted(Image.fromarray(pixels), size, rule, _RESAMPLE), dtype=np.uint8)


def write_rgb(target: Pixels, pixels: Pixels) -> None:
    """Write pixels of shape (..., H, W) or (..., H, W, 3) into a target of shape (..., H, W, 3)."""
    if pixels.ndim == target.ndim:
        target[...] = pixels
        return
    for channel in range(3):  # one at a time: grey into the last axis at once takes five times as long
        target[..., channel] = pixels


def resized_mask(mask: npt.NDArray[np.uint8], size: int, rule: Resize) -> Pixels:
    """Return a mask resized like its image: 1 where at least half of a pixel lies inside, else 0.

    A lesion smaller than a pixel keeps the pixel that it covers most.
    """
    covered = Image.fromarray(np.where(mask != 0, 255, 0).astype(np.uint8))
    shares = np.asarray(_fitted(covered, size, rule, Image.Resampling.BILINEAR))
    inside = shares >= min(128, max(1, int(shares.max())))
    return inside.astype(np.uint8)


def thumbnail(pixels: Pixels) -> Pixels:
    """Return the image in grey as a square of ``THUMBNAIL`` pixels, averaged: for comparisons, not for training."""
    image = Image.fromarray(pixels)
    grey = image if image.mode == "L" else image.convert("L")
    # Pillow first shrinks by a whole factor, then exactly: faster, and the same to the eye
    return np.asarray(grey.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX, reducing_gap=2.0), dtype=np.uint8)


def _fitted(image: Image.Image, size: int, rule: Resize, method: Image.Resampling) -> Image.Image:
    if rule == "pad":
        return ImageOps.pad(image, (size, size), method=method, color=0)
    return image.resize((size, size), method)
