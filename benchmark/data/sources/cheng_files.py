"""Reading the files of the Cheng data set: one MATLAB v7.3 file a slice, and the folds."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.data.preparation.pixels import MAX_PIXELS, nonzero
from benchmark.errors import UserError

CLASSES = {1: "meningioma", 2: "glioma", 3: "pituitary"}
N_SLICES = 3064
_MATLAB = b"MATLAB 7.3"
_LONGEST_ID = 100


@dataclass(frozen=True)
class ChengSlice:
    """One slice as the author stored it, turned the way MATLAB shows it.

    Args:
        label: 1 meningioma, 2 glioma, 3 pituitary tumour.
        patient: the PID.
        image: int16, shape (H, W), intensities without a unit.
        mask: uint8, shape (H, W), non-zero inside the tumour.
        border: float64, shape (M, 2), x (column) and y (row) of points on the tumour's border, in pixels from 1;
            the mask is authoritative.
    """

    label: int
    patient: str
    image: npt.NDArray[Any]
    mask: npt.NDArray[np.uint8]
    border: npt.NDArray[np.float64]


def read_identity(data: bytes, name: str) -> tuple[int, str]:
    """Return label and patient of a slice without reading its image; raises as :func:`read_slice`."""
    with _opened(data, name) as file:
        return _identity(_group(file, data, name), name)


def read_slice(data: bytes, name: str) -> ChengSlice:
    """Read one ``N.mat``.

    MATLAB stores columns first and HDF5 rows first, so that image and mask arrive transposed: both are turned.

    Args:
        data: the file.
        name: of the file, for messages.

    Raises:
        UserError: truncated, not MATLAB's HDF5, a field missing, a label outside 1-3, a mask of another shape.
    """
    with _opened(data, name) as file:
        group = _group(file, data, name)
        label, patient = _identity(group, name)
        image, mask = (_field(group, field, name).T for field in ("image", "tumorMask"))
        border = _field(group, "tumorBorder", name).ravel()
    if image.ndim != 2:
        raise UserError(f"'{name}': the image has {image.ndim} dimensions, not 2.")
    if mask.shape != image.shape:
        raise UserError(f"'{name}': the mask is {_size(mask)} and the image {_size(image)} pixels.")
    points = border[: len(border) // 2 * 2].reshape(-1, 2).astype(np.float64)
    return ChengSlice(label, patient, image, nonzero(mask), points)


def read_folds(data: bytes, name: str) -> npt.NDArray[np.int64]:
    """Read ``cvind.mat`` or ``cvind5fold.mat``: the fold of each slice, from 1, in the order of slice numbers.

    Raises:
        UserError: not such a file, or values that are not whole numbers from 1.
    """
    with _opened(data, name) as file:
        values = _values(file, "cvind", "cvind", name).ravel()
    if not len(values) or not ((values >= 1) & (values < N_SLICES) & (values % 1 == 0)).all():
        raise UserError(f"'{name}' holds folds that are not whole numbers from 1.")
    return values.astype(np.int64)


def read_labels(data: bytes, name: str) -> npt.NDArray[np.int64]:
    """Read the author's ``label.mat`` (MATLAB 5): the label of each slice, in the order of slice numbers.

    Raises:
        UserError: not such a file.
    """
    from scipy.io import loadmat

    try:
        return np.asarray(loadmat(io.BytesIO(data))["label"], dtype=np.int64).ravel()
    except (OSError, ValueError, KeyError, NotImplementedError, TypeError) as error:
        raise UserError(f"'{name}' does not hold MATLAB 5 labels ({error}).") from None


def _opened(data: bytes, name: str) -> Any:
    import h5py

    try:
        return h5py.File(io.BytesIO(data), "r")
    except OSError as error:
        reason = "truncated or damaged" if data.startswith(_MATLAB) else "not MATLAB v7.3 (HDF5)"
        raise UserError(f"'{name}' can't be read: {reason} ({str(error).partition('(')[2].rstrip(')')}).") from None


def _group(file: Any, data: bytes, name: str) -> Any:
    import h5py

    if isinstance(file.get("cjdata"), h5py.Group):
        return file["cjdata"]
    kind = "" if data.startswith(_MATLAB) else "is an HDF5 file, but not MATLAB's, and "
    raise UserError(f"'{name}' {kind}has no field 'cjdata': it is not a slice of the Cheng data set.")


def _field(group: Any, field: str, name: str) -> npt.NDArray[Any]:
    return _values(group, field, f"cjdata.{field}", name)


def _values(group: Any, field: str, shown: str, name: str) -> npt.NDArray[Any]:
    """Return the numbers of a field; raises ``UserError`` where there are none, or too many, or in other files."""
    import h5py

    try:
        node = group.get(field)
        if not isinstance(node, h5py.Dataset):
            raise UserError(f"'{name}' has no field '{shown}'.")
        if node.dtype.kind not in "biuf" or node.external or node.is_virtual:
            raise UserError(f"'{name}': the field '{shown}' holds no numbers of its own.")
        if node.size > MAX_PIXELS:
            raise UserError(f"'{name}': the field '{shown}' claims {node.size} values, more than any slice has.")
        return np.asarray(node[()])
    except (OSError, RuntimeError, KeyError):
        raise UserError(f"'{name}': the field '{shown}' can't be read: truncated or damaged.") from None


def _identity(group: Any, name: str) -> tuple[int, str]:
    value = _field(group, "label", name).ravel()
    if len(value) != 1 or value[0] not in CLASSES:
        shown = f"{value[0]:g}" if len(value) == 1 else str(value.tolist())
        raise UserError(f"'{name}' has the label {shown}: 1 (meningioma), 2 (glioma) or 3 (pituitary) are known.")
    codes = _field(group, "PID", name).ravel()
    if not ((codes >= ord(" ")) & (codes < 2**16)).all() or len(codes) > _LONGEST_ID:
        raise UserError(f"'{name}': the field 'cjdata.PID' does not hold the characters of a patient's id.")
    return int(value[0]), "".join(chr(int(code)) for code in codes)


def _size(array: npt.NDArray[Any]) -> str:
    return " x ".join(str(side) for side in array.shape)
