"""DICOM and NIfTI slices, through pydicom and nibabel (the extra ``medical``).

Intensities are scaled to uint8 per slice by :func:`benchmark.data.preparation.pixels.to_uint8`.

- DICOM: rescale slope and intercept are applied, MONOCHROME1 is inverted, RGB is kept; of several frames the one
  that the manifest names, else the middle one.
- NIfTI: the array is brought to the closest canonical orientation (RAS+) and turned so that a slice across its
  third axis is shown with the patient's front up and the patient's left on the right. A volume needs the slice's
  number, from 0; a file with one slice does not.
"""

import gzip
import hashlib
import importlib
import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.data.preparation.pixels import Pixels, nonzero, to_uint8
from benchmark.errors import UserError

MEDICAL_SUFFIXES = (".dcm", ".nii", ".nii.gz")
_MAX_UNPACKED = 2 * 2**30
_KEPT_BYTES = 2**30  # of volumes that are kept for their next slices


@dataclass(frozen=True)
class Volume:
    """The slices of one file.

    Args:
        name: of the file, for messages.
        slices: intensities of shape (slices, H, W), or RGB of shape (slices, H, W, 3).
        digest: SHA-256 of the file.
    """

    name: str
    slices: npt.NDArray[Any]
    digest: bytes

    def image(self, number: int | None = None) -> Pixels:
        """Return one slice, from 0, as uint8 of shape (H, W) or (H, W, 3); raises ``UserError`` where there is none.

        Without a number: the only one, or the middle one of a DICOM file's frames.
        """
        values = self._slice(number)
        return values if values.dtype == np.uint8 and values.ndim == 3 else to_uint8(values, self.name)

    def mask(self, number: int | None = None) -> Pixels:
        """Return one slice of a mask as 0 and 1, shape (H, W); arguments and errors as :meth:`image`."""
        return nonzero(self._slice(number))

    def slice_hash(self, number: int | None) -> bytes:
        """Return a SHA-256 that tells the slices of one file apart, and is equal for those of equal files."""
        return self.digest if number is None else hashlib.sha256(self.digest + f"#{number}".encode()).digest()

    def _slice(self, number: int | None) -> npt.NDArray[Any]:
        count = len(self.slices)
        if number is None:
            if not self.name.lower().endswith(".dcm") and count > 1:
                raise UserError(
                    f"'{self.name}' is a volume of {count} slices: name one in a manifest's column 'slice'."
                )
            number = count // 2
        if not 0 <= number < count:
            raise UserError(f"'{self.name}' has no slice {number}: it has {count}, counted from 0.")
        return np.asarray(self.slices[number])


class Volumes:
    """The volumes that were read last: a file of many slices is read and unpacked once, not once a slice."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reading: dict[str, threading.Lock] = {}
        self._kept: OrderedDict[str, Volume] = OrderedDict()

    def __reduce__(self) -> tuple[type["Volumes"], tuple[()]]:
        """Pickle without volumes."""
        return Volumes, ()

    def at(self, name: str, shown: str, read: Callable[[], bytes]) -> Volume:
        """Return a file's slices.

        Args:
            name: tells the file from others.
            shown: how a message names it.
            read: returns the file's content.

        Raises:
            UserError: as :func:`read_volume`.
        """
        with self._lock:
            reading = self._reading.setdefault(name, threading.Lock())
        with reading:  # of two threads that want one volume the second waits for the first
            with self._lock:
                if name in self._kept:
                    self._kept.move_to_end(name)
                    return self._kept[name]
            volume = read_volume(read(), shown)
            with self._lock:
                self._kept[name] = volume
                while len(self._kept) > 1 and sum(one.slices.nbytes for one in self._kept.values()) > _KEPT_BYTES:
                    self._kept.popitem(last=False)
            return volume


def read_volume(data: bytes, name: str) -> Volume:
    """Read a DICOM or NIfTI file.

    Args:
        data: the file.
        name: of the file; its suffix tells the format.

    Raises:
        UserError: not such a file, damaged, or the library is missing.
    """
    dicom = name.lower().endswith(".dcm")
    library = _library("pydicom" if dicom else "nibabel", name)
    try:
        slices = _dicom(library, data) if dicom else _nifti(library, data, name.lower().endswith(".gz"))
    except Exception as error:  # both libraries raise many kinds on damaged files
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"Image '{name}' can't be read ({reason}).") from None
    return Volume(name, slices, hashlib.sha256(data).digest())


def require_libraries(paths: Iterable[str]) -> None:
    """Raise ``UserError`` where images need a library that is not installed: no image is at fault then."""
    missing = {".dcm": "pydicom", ".nii": "nibabel", ".gz": "nibabel"}
    for path in paths:
        suffix = path[path.rfind(".") :].lower() if path.lower().endswith(MEDICAL_SUFFIXES) else ""
        if suffix in missing:
            _library(missing.pop(suffix), path)


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
