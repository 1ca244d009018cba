"""A cache that others may write to could change every score in silence: it is refused in a sentence."""

import os
from pathlib import Path

import numpy as np
import pytest

from benchmark.data import open_dataset
from benchmark.errors import UserError
from benchmark.ownership import make_private, other_writers
from benchmark.training.feature_store import FeatureStore, NoRoom
from tests.data.slices import SMALL_FOLDER

needs_root = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give files away")
NOBODY = 65534


def prepared(folder: Path, cache: Path) -> Path:
    data = open_dataset(str(folder), size=16, cache=cache)
    assert data.folder is not None
    return data.folder
