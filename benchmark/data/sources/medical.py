"""DICOM and NIfTI slices, through pydicom and nibabel (the extra ``medical``).

Intensities are scaled to uint8 per slice by :func:`benchmark.data.preparation.pixels.to_uint8`.

- DICOM: rescale slope and intercept are applied, MONOCHROME1 is inverted, RGB is kept; of several frames the one
  that the manifest names, else the middle one.
- NIfTI: the array is brought to the closest canonical orientation (RAS+) and turned so that a slice across its
  third axis is shown with the patient's front up and the patient's left on the right. A volume needs the slice's
  number, from 0; a file with one slice does not.
"""

import gzip
import importlib
import io
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.data.preparation.pixels import Pixels, nonzero, to_uint8
from benchmark.errors import UserError

MEDICAL_SUFFIXES = (".dcm", ".nii", ".nii.gz")
_MAX_UNPACKED = 2 * 2**30


def decode_medical(data: bytes, name: str, slice_number: int | None = None) -> Pixels:
    """Return one slice as uint8 of shape (H, W) or (H, W, 3).

    Args:
        data: the file.
        name: of the file; its suffix tells the format.
        slice_number: of a volume or of several frames, from 0.

    Raises:
        UserError: not such a file, damaged, no such slice, constant, or the library is missing.
    """
    values = _slice_values(data, name, slice_number)
    if values.dtype == np.uint8 and values.ndim == 3:
        return values
    return to_uint8(values, name)


def decode_medical_mask(data: bytes, name: str, slice_number: int | None = None) -> Pixels:
    """Return one slice of a mask as 0 and 1, shape (H, W); arguments and errors as :func:`decode_medical`."""
    return nonzero(_slice_values(data, name, slice_number))


def _slice_values(data: bytes, name: str, number: int | None) -> npt.NDArray[Any]:
    """Return intensities of shape (H, W), or RGB of shape (H, W, 3)."""
    dicom = name.lower().endswith(".dcm")
    library = _library("pydicom" if dicom else "nibabel", name)
    try:
        slices = _dicom(library, data) if dicom else _nifti(library, data, name.lower().endswith(".gz"))
    except Exception as error:  # both libraries raise many kinds on damaged files
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"Image '{name}' can't be read ({reason}).") from None
    count = len(slices)
    if number is None:
        if not dicom and count > 1:
            raise UserError(f"'{name}' is a volume of {count} slices: name one in a manifest's column 'slice'.")
        number = count // 2
    if not 0 <= number < count:
        raise UserError(f"'{name}' has no slice {number}: it has {count}, counted from 0.")
    return np.asarray(slices[number])


def _library(name: str, file: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(f"Reading '{file}' needs {name}: pip install 'tumorboard[medical]'.") from None


def _dicom(pydicom: ModuleType, data: bytes) -> npt.NDArray[Any]:
    """Return intensities of shape (frames, H, W), or RGB of shape (frames, H, W, 3)."""
    file = pydicom.dcmread(io.BytesIO(data))
    pixels = np.asarray(file.pixel_array)
    colour = int(file.get("SamplesPerPixel", 1)) == 3
    frames = pixels if pixels.ndim == (4 if colour else 3) else pixels[None]
    if colour:
        return frames.astype(np.uint8)
    values = frames * float(file.get("RescaleSlope", 1)) + float(file.get("RescaleIntercept", 0))
    return values.max() - values if file.get("PhotometricInterpretation") == "MONOCHROME1" else values


def _nifti(nibabel: ModuleType, data: bytes, zipped: bool) -> npt.NDArray[Any]:
    """Return intensities of shape (slices, H, W)."""
    image = nibabel.as_closest_canonical(nibabel.Nifti1Image.from_bytes(_unzipped(data) if zipped else data))
    volume = np.asarray(image.dataobj)
    while volume.ndim > 3 and volume.shape[-1] == 1:
        volume = volume[..., 0]
    if volume.ndim == 2:
        volume = volume[:, :, None]
    if volume.ndim != 3:
        raise ValueError(f"it has {volume.ndim} dimensions, not 2 or 3")
    # from (x to the right, y to the front, slice) to (slice, rows from front to back, columns from right to left)
    return np.asarray(volume[::-1, ::-1].transpose(2, 1, 0))


def _unzipped(data: bytes) -> bytes:
    """Return what a gzip file holds, up to a bound: it may be a bomb."""
    with gzip.open(io.BytesIO(data)) as stream:
        unpacked = stream.read(_MAX_UNPACKED + 1)
    if len(unpacked) > _MAX_UNPACKED:
        raise ValueError("it unpacks to more than 2 GiB")
    return unpacked
