"""Folders of small images, made as a user would have them."""

import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Draw = Callable[..., Path]


@pytest.fixture
def draw(tmp_path: Path) -> Draw:
    """Draw a random greyscale image, the same for the same number, below the test's folder."""

    def make(path: str, number: int = 0, size: tuple[int, int] = (24, 20)) -> Path:
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(number).integers(0, 256, (size[1], size[0]), dtype=np.uint8)
        Image.fromarray(values).save(target)
        return target

    return make


@pytest.fixture
def kaggle(tmp_path: Path, draw: Draw) -> Path:
    """``Training`` with 12 and ``Testing`` with 4 images of each of three classes."""
    number = 0
    for part, count in (("Training", 12), ("Testing", 4)):
        for folder in ("glioma_tumor", "no_tumor", "pituitary_tumor"):
            for k in range(count):
                number += 1
                draw(f"kaggle/{part}/{folder}/{k:02d}.png", number)
    return tmp_path / "kaggle"


@pytest.fixture
def plain(tmp_path: Path, draw: Draw) -> Path:
    """Two class folders of 20 images each."""
    for c, folder in enumerate(("yes", "no")):
        for k in range(20):
            draw(f"plain/{folder}/{k:02d}.png", 100 * c + k)
    return tmp_path / "plain"


@pytest.fixture
def zipped(tmp_path: Path) -> Callable[[Path, str], Path]:
    """Zip a folder, its members below an optional wrapper folder."""

    def make(folder: Path, wrapper: str = "") -> Path:
        target = tmp_path / f"{folder.name}.zip"
        with zipfile.ZipFile(target, "w") as archive:
            for file in _files(folder):
                archive.write(file, wrapper + file.relative_to(folder).as_posix())
        return target

    return make


def _files(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
