"""Splits on disk: NumPy's .npz without pickle, and a table of who is where for people."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from benchmark.atomic_files import write_atomically, written_file
from benchmark.data.dataset import PARTS, DataSet, Split
from benchmark.errors import UserError
from benchmark.foreign_arrays import read_arrays
from benchmark.foreign_files import Refused, read_foreign

_KINDS = {"facts": ("U", 0), **dict.fromkeys(PARTS, ("i", 1))}
_MAX_BYTES, _MAX_FACTS = 256 * 2**20, 2**20  # of a file; characters
_FACTS = tuple(field.name for field in fields(Split) if field.name not in PARTS)


def save_split(split: Split, path: Path) -> None:
    """Write a split, complete or not at all; positions refer to the data set it was made of."""
    facts = json.dumps({name: getattr(split, name) for name in _FACTS})
    with written_file(path) as unfinished, unfinished.open("wb") as stream:
        np.savez(stream, facts=np.array(facts), **{part: getattr(split, part) for part in PARTS})


class _Facts(BaseModel):
    """The fields of :class:`~benchmark.data.dataset.Split` beside its positions, as a file has them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    hash: str
    limited_to: int | None
    leaks: tuple[str, ...]
    notes: tuple[str, ...]
    removed: int | None
    unscored: tuple[str, ...]
    kind: str
    fold: int | None
    folds: int | None
    scheme: str


def load_split(path: Path) -> Split:
    """Read what :func:`save_split` wrote; raises ``UserError`` where it can't."""
    try:
        data = read_foreign(path.parent, path.name, limit=_MAX_BYTES)
        arrays = read_arrays(data, _KINDS, unpacked=_MAX_BYTES, longest=_MAX_FACTS)
        facts = _Facts.model_validate_json(str(arrays["facts"]))
        parts: dict[str, Any] = {part: arrays[part].astype(np.int64) for part in PARTS}
        positions = np.concatenate(list(parts.values()))
        if len(np.unique(positions)) < len(positions) or (len(positions) and positions.min() < 0):
            raise Refused("an image is in two of its parts, or none")
        return Split(**{**dict(facts), **parts})
    except (Refused, OSError, ValidationError) as error:
        what = "its facts are not those of a split" if isinstance(error, ValidationError) else error
        raise UserError(f"Split file '{path}' can't be read ({what}).") from None


def split_table(data: DataSet, splits: Sequence[Split]) -> bytes:
    """Return a CSV with image id, class and group of each image, and its part in each split (empty: in none).

    The bytes are the same on every machine, so that their hash can stand for the split.
    """
    columns = [split.part_of_each(len(data)) for split in splits]
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(["image_id", "class", "group", *(split.name for split in splits)])
    groups = data.groups if data.groups is not None else [""] * len(data)
    names = [data.class_names[label] for label in data.labels]
    writer.writerows(zip(data.image_ids, names, groups, *columns, strict=True))
    return stream.getvalue().encode("utf-8")


def save_split_table(data: DataSet, splits: Sequence[Split], path: Path) -> None:
    """Write :func:`split_table`, complete or not at all."""
    write_atomically(path, split_table(data, splits))
