"""Splits on disk: NumPy's .npz without pickle."""

import json
import zipfile
from pathlib import Path

import numpy as np

from benchmark.data.dataset import Split
from benchmark.data.store import written_file
from benchmark.errors import UserError

_PARTS = ("train", "validation", "test")


def save_split(split: Split, path: Path) -> None:
    """Write a split, complete or not at all; positions refer to the data set it was made of."""
    facts = json.dumps(
        {"name": split.name, "hash": split.hash, "limited_to": split.limited_to, "leaks": list(split.leaks)}
    )
    with written_file(path) as unfinished, unfinished.open("wb") as stream:
        np.savez(stream, facts=np.array(facts), **{part: getattr(split, part) for part in _PARTS})


def load_split(path: Path) -> Split:
    """Read what :func:`save_split` wrote; raises ``UserError`` where it can't."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            facts = json.loads(str(stored["facts"]))
            parts = {part: stored[part] for part in _PARTS}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"Split file '{path}' can't be read ({error}).") from None
    facts["leaks"] = tuple(facts["leaks"])
    return Split(**facts, **parts)
