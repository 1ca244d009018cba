"""What test images have in common, kept beside the records so that a board can be broken down without the data set.

``image_facts/<data>.csv``: plane, scanner, source, thickness of the slice and area of the lesion, as far as they are
known. Nothing of a patient stands in it.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmark.atomic_files import inside, write_atomically
from benchmark.data.dataset import DataSet
from benchmark.foreign_files import Refused, read_foreign

AREA, THICKNESS = "lesion_area", "slice_thickness_mm"
NAMES = ("plane", "scanner", "source")  # of which a value is a word
NUMBERS = (AREA, THICKNESS)
HEAD = ("image_id", *NAMES, *NUMBERS)
MAX_BYTES, MAX_IMAGES = 64 * 2**20, 1_000_000
MAX_NAME = 120  # characters of a plane, scanner or source

Facts = Mapping[str, Mapping[str, str]]  # by image id, then by the names of HEAD; what is unknown is absent


def facts_path(out: Path, fingerprint: str) -> Path:
    """Return where the facts of a data set's test images are kept."""
    return out / "image_facts" / f"{fingerprint[:20]}.csv"


def write_image_facts(data: DataSet, positions: Iterable[int], out: Path) -> Path | None:
    """Keep what is known of some images, such as a split's test part; those kept earlier stay.

    Args:
        positions: positions of the images within ``data``, from 0.
        out: the results folder.

    Returns:
        The path of the table, ``None`` where nothing is known of these images.
    """
    kept = dict(read_image_facts([out], data.fingerprint))
    new = {str(data.image_ids[place]): facts for place in positions if (facts := _facts(data, int(place)))}
    if set(new) <= set(kept):
        return facts_path(out, data.fingerprint) if kept else None
    return save_image_facts(kept | new, out, data.fingerprint)


def save_image_facts(facts: Facts, out: Path, fingerprint: str) -> Path:
    """Write facts as those of a data set's images, in place of those that are kept; return the path."""
    path = facts_path(out, fingerprint)
    inside(out, path.parent.name, path.name)
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, HEAD, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({"image_id": name, **values} for name, values in sorted(facts.items()))
    return write_atomically(path, stream.getvalue())


def read_image_facts(folders: Sequence[Path], fingerprint: str) -> Facts:
    """Return what results folders keep of a data set's images; empty where there is nothing that can be read.

    A value that is no such fact (a number that is none, a name of more than 120 characters) is absent.
    """
    by_image: dict[str, Mapping[str, str]] = {}
    for folder in folders:
        path = facts_path(folder, fingerprint)
        try:
            text = read_foreign(folder, path.parent.name, path.name, limit=MAX_BYTES).decode("utf-8")
            for number, line in enumerate(csv.DictReader(io.StringIO(text, newline=""))):
                if number == MAX_IMAGES:
                    break
                facts = {name: str(line[name]) for name in HEAD[1:] if _is_fact(name, line.get(name))}
                if line.get("image_id") and facts:
                    by_image[line["image_id"]] = facts
        except (Refused, OSError, UnicodeDecodeError, csv.Error):
            continue
    return by_image


def _facts(data: DataSet, place: int) -> dict[str, str]:
    facts: dict[str, str] = {}
    for name, values in (("plane", data.planes), ("scanner", data.scanners), ("source", data.sources)):
        if values is not None and 0 < len(str(values[place])) <= MAX_NAME:
            facts[name] = str(values[place])
    if data.thicknesses is not None and data.thicknesses[place] > 0:  # nan where it is not known
        facts[THICKNESS] = f"{data.thicknesses[place]:g}"
    if data.masks is not None:
        area = float(np.count_nonzero(data.masks[place]) / data.masks[place].size)
        facts |= {AREA: f"{area:.6f}"} if area else {}
    return facts


def _is_fact(name: str, value: object) -> bool:
    if not isinstance(value, str) or not value:
        return False
    if name not in NUMBERS:
        return len(value) <= MAX_NAME and value.isprintable()
    try:
        return math.isfinite(float(value)) and float(value) > 0
    except ValueError:
        return False
