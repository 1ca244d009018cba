"""Every command and every snippet of the README and the documentation is done, in one folder as a user would have it.

What takes the place of a user's own images and files, and what is made smaller, stands in :mod:`tests.docs.pages`.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.docs.pages import ROOT, blocks, commands, is_training, small, why_not_run

RUN = list(dict.fromkeys(text for _, text in commands() if not why_not_run(text) and text != "tox"))
QUICK = [text for text in RUN if re.match(r"python -m benchmark (list|recipe|suite|new|data --list)\b", text)]
SNIPPETS = {
    page: "\n".join(
        block.text
        for block in blocks()
        if block.page == page and block.language == "python" and "@backbone" not in block.text
    )
    for page in ("docs/python.md", "docs/models.md")
}


def _images(folder: Path) -> None:
    """Write a data set in the layout of Kaggle: 3 classes, each with a brightness of its own, and noise."""
    generator = np.random.default_rng(0)
    for part, count in (("Training", 24), ("Testing", 8)):
        for level, name in ((40, "glioma"), (120, "notumor"), (200, "pituitary")):
            place = folder / part / name
            place.mkdir(parents=True)
            for number in range(count):
                pixels = generator.normal(level, 25, (48, 48)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the pages name."""
    root = tmp_path_factory.mktemp("user")
    _images(root / "path" / "to" / "folder")
    with zipfile.ZipFile(root / "archive.zip", "w") as archive:
        for path in sorted((root / "path" / "to" / "folder").rglob("*.png")):
            archive.write(path, path.relative_to(root / "path" / "to" / "folder"))
    shutil.copy(root / "archive.zip", root / "path" / "to" / "archive.zip")
    board = ROOT / "results" / "boards" / "nickparvar-v1-128px"
    for kept in ("results/phantom", "results/more", "results/boards/nickparvar-v1-128px"):
        shutil.copytree(board, root / kept)
    (root / "results" / "merged").mkdir()
    for block in blocks():
        kind = block.text.partition("\n")[0]
        if kind == "# costs":
            (root / "costs.toml").write_text(block.text, encoding="utf-8")
        elif kind == "# recipe":
            (root / "my-recipe.toml").write_text(block.text, encoding="utf-8")
        elif kind == "# suite":
            text = block.text.replace(', "timm/resnet50"', "").replace("[0, 1, 2]", "[0]")
            (root / "my-suite.toml").write_text(text, encoding="utf-8")
        if '@backbone("torch/tiny"' in block.text:
            (root / "tiny.py").write_text(block.text, encoding="utf-8")
    return root


def _cache() -> Path:
    """Return the cache of all test processes: making the phantom's images takes 40 seconds."""
    own = Path(os.environ["TUMORBOARD_CACHE"])
    return own.parent.parent / "cache" if "PYTEST_XDIST_WORKER" in os.environ else own


def _do(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    words = small(text)
    if words[0] == "pytest":
        words = ["python", "-m", *words, "-p", "no:cacheprovider"]
    return subprocess.run(
        [sys.executable, *words[1:]],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TUMORBOARD_CACHE": str(_cache())},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.parametrize("text", QUICK)
def test_a_command_that_shows_something(folder: Path, text: str) -> None:
    done = _do(folder, text)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()


_KEPT = "results/first"  # what some commands of the documentation read, and one makes


@pytest.mark.slow
@pytest.mark.parametrize("text", [text for text in RUN if text not in QUICK])
def test_a_command(folder: Path, text: str) -> None:
    if _KEPT in text and "--out" not in text.split(_KEPT)[0] and not (folder / _KEPT).exists():
        # the command that makes it may be another process's test
        made = _do(folder, next(each for each in RUN if f"--out {_KEPT}" in each))
        assert made.returncode == 0, made.stdout + made.stderr
    done = _do(folder, text)
    assert done.returncode == 0, f"{shlex.join(small(text))}\n{done.stdout}{done.stderr}"
    if is_training(text) and "--dry-run" not in text:
        assert "leaderboard.html" in done.stdout


@pytest.mark.parametrize("page", SNIPPETS)
def test_a_snippet(folder: Path, page: str) -> None:
    assert SNIPPETS[page]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SNIPPETS[page]],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
