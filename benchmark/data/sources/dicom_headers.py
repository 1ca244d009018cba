"""What DICOM headers tell of patients and scanners. Names and dates are not read."""

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmark.data.preparation.threads import thread_map
from benchmark.data.sources.base import Item

_TAGS = (
    *("PatientID", "StudyInstanceUID", "ImageOrientationPatient", "SliceThickness"),
    *("MagneticFieldStrength", "Manufacturer"),
)
_PLANES = ("sagittal", "coronal", "axial")  # across x, y, z of the patient
_GAUSS = 100.0  # field strengths above are not in tesla


Header = dict[str, Any]  # what is kept of one file's header, by the fields of an item; None where it does not say


def with_headers(
    items: Sequence[Item], paths: Sequence[str], read: Callable[[str], bytes]
) -> tuple[tuple[Item, ...], tuple[str, ...]]:
    """Return the items with what the headers of DICOM files say where the items say nothing, and notes on it.

    Args:
        items: the images.
        paths: of each item's file.
        read: returns a file's content.
    """
    positions = [k for k, path in enumerate(paths) if path.lower().endswith(".dcm")]
    if not positions:
        return tuple(items), ()
    headers = dict(zip(positions, thread_map(lambda k: _header(read(paths[k])), positions), strict=True))
    complete = [_with_header(item, headers.get(k, {})) for k, item in enumerate(items)]
    return tuple(complete), _notes(list(headers.values()))


def _with_header(item: Item, header: Header) -> Item:
    return replace(item, **{name: value for name, value in header.items() if not getattr(item, name)})


def _notes(headers: Sequence[Header]) -> tuple[str, ...]:
    patients = len({header.get("group") for header in headers} - {None})
    scanners = Counter(header.get("scanner") or "unknown" for header in headers)
    parts = [f"{patients} patients", ", ".join(f"{name} ({count})" for name, count in scanners.most_common(6))]
    thickness = [header["thickness"] for header in headers if header.get("thickness") is not None]
    if thickness:
        parts.append(f"slices of {min(thickness):g} to {max(thickness):g} mm")
    return (f"from {len(headers)} DICOM headers: {'; '.join(parts)}; names and dates are not kept",)


def _header(data: bytes) -> Header:
    import pydicom

    try:
        file = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, specific_tags=list(_TAGS))
        thickness = _number(file.get("SliceThickness"))  # mm
        return {"group": _patient(file), "plane": _plane(file), "scanner": _scanner(file), "thickness": thickness}
    except Exception:  # a damaged file: reading its pixels will say so
        return {}


def _patient(file: Any) -> str | None:
    """Return a hash of the patient's id, or of the study's where there is none: neither can be read from it."""
    for kind, tag in (("patient", "PatientID"), ("study", "StudyInstanceUID")):
        value = str(file.get(tag) or "").strip()
        if value:
            return f"{kind}-{hashlib.sha256(value.encode()).hexdigest()[:12]}"
    return None


def _plane(file: Any) -> str | None:
    orientation = file.get("ImageOrientationPatient")
    if orientation is None or len(orientation) != 6:
        return None
    along_rows, along_columns = np.array(orientation, dtype=float).reshape(2, 3)
    return _PLANES[int(np.argmax(np.abs(np.cross(along_rows, along_columns))))]


def _scanner(file: Any) -> str | None:
    """Return manufacturer and field strength, such as ``SIEMENS 3 T``."""
    field = _number(file.get("MagneticFieldStrength"))
    if field is not None and field > _GAUSS:
        field /= 10_000
    shown = [*str(file.get("Manufacturer") or "").split(), *([f"{round(field, 1):g} T"] if field else [])]
    return " ".join(shown) or None


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
