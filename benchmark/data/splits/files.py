"""Splits on disk: NumPy's .npz without pickle, and a table of who is where for people."""

import csv
import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.atomic_files import write_atomically, written_file
from benchmark.data.dataset import DataSet, Split
from benchmark.errors import UserError

_PARTS = ("train", "validation", "test")
_FACTS = tuple(field.name for field in fields(Split) if field.name not in _PARTS)


def save_split(split: Split, path: Path) -> None:
    """Write a split, complete or not at all; positions refer to the data set it was made of."""
    facts = json.dumps({name: getattr(split, name) for name in _FACTS})
    with written_file(path) as unfinished, unfinished.open("wb") as stream:
        np.savez(stream, facts=np.array(facts), **{part: getattr(split, part) for part in _PARTS})


def load_split(path: Path) -> Split:
    """Read what :func:`save_split` wrote; raises ``UserError`` where it can't."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            facts = json.loads(str(stored["facts"]))
            parts = {part: stored[part] for part in _PARTS}
        fields_of_split: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()
        }
        return Split(**fields_of_split, **parts)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(f"Split file '{path}' can't be read ({error}).") from None


def split_table(data: DataSet, splits: Sequence[Split]) -> bytes:
    """Return a CSV with image id, class and group of each image, and its part in each split (empty: in none).

    The bytes are the same on every machine, so that their hash can stand for the split.
    """
    columns = []
    for split in splits:
        column = np.full(len(data), "", dtype="U10")
        for part in _PARTS:
            column[getattr(split, part)] = part
        columns.append(column)
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
