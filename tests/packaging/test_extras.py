"""What works in an environment that lacks frameworks: tox runs this with the core alone, with torch, and with Keras.

``TUMORBOARD_EXTRAS`` names the extras that the environment has, separated by commas; empty is the core alone.
Without the variable (in the environment that has everything) these tests are skipped.
"""

import csv
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.dependencies import EXTRA_OF
from tests.packaging.tables import differences

ROOT = Path(__file__).parents[2]
BOARD = ROOT / "results" / "boards" / "nickparvar-v1-128px"
EXTRAS = os.environ.get("TUMORBOARD_EXTRAS")
INSTALLED = set((EXTRAS or "").split(",")) - {""}

pytestmark = pytest.mark.skipif(EXTRAS is None, reason="TUMORBOARD_EXTRAS does not name what is installed: tox does")


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Do ``python -m benchmark WORDS`` in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "benchmark", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def works(folder: Path, *words: str) -> str:
    """Return what a command prints that must end well."""
    done = command(folder, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("module", sorted(set(EXTRA_OF) - {"kagglehub", "huggingface_hub", "tensorboard"}))
def test_the_environment_is_what_it_says(module: str) -> None:
    assert (importlib.util.find_spec(module) is not None) == (EXTRA_OF[module] in INSTALLED)


def test_help_and_version(tmp_path: Path) -> None:
    assert "--backbone" in works(tmp_path, "--help")
    assert works(tmp_path, "--version").startswith("tumorboard, version ")


def test_the_list_names_the_extras_that_are_missing(tmp_path: Path) -> None:
    listed = works(tmp_path, "list")
    assert "timm/resnet50" in listed
    assert "keras_cv/resnet50" in listed
    last = listed.strip().splitlines()[-1]
    for extra in ("torch", "keras", "keras-cv"):
        assert (extra in last.rpartition("tumorboard[")[2].rstrip(']"').split(",")) == (extra not in INSTALLED)


def test_data_with_its_audit(tmp_path: Path) -> None:
    for part, count in (("Training", 8), ("Testing", 3)):
        for name, level in (("glioma", 60), ("notumor", 120), ("pituitary", 180)):
            (tmp_path / "images" / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.random.default_rng([level, number, count]).normal(level, 20, (48, 48)).clip(0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "images" / part / name / f"{number}.png")
    shown = works(tmp_path, "data", "images", "--audit", "--size", "64", "--out", "audit")
    assert "patients are unknown" in shown
    assert "48 x 48 (33)" in shown
    assert (tmp_path / "audit" / "audit.json").is_file()


def test_the_kept_board_is_made_anew(tmp_path: Path) -> None:
    shutil.copytree(BOARD, tmp_path / "kept")
    (tmp_path / "made").mkdir()
    works(tmp_path, "leaderboard", "kept", "--out", "made")
    assert differences(BOARD / "leaderboard.csv", tmp_path / "made" / "leaderboard.csv") == []
    assert "<html" in (tmp_path / "made" / "leaderboard.html").read_text(encoding="utf-8")[:500]


def test_results_in_python() -> None:
    import benchmark

    results = benchmark.load_results(BOARD)
    assert len(results.runs) == 5
    assert not {"torch", "tensorflow", "keras"} & set(sys.modules)


def test_a_run_without_its_framework_is_a_row_that_names_the_extra(tmp_path: Path) -> None:
    backbones = {
        "torch/baseline_cnn": "torch",
        "timm/tf_efficientnet_lite0": "torch",
        "keras/baseline_cnn": "keras",
        "keras_cv/resnet50": "keras-cv",
    }
    small = ("--limit", "24", "--epochs", "1", "--size", "64", "--batch-size", "8", "--device", "cpu")
    done = command(tmp_path, "--backbone", *backbones, *small, "--cam", "none", "--out", "out")
    assert done.returncode == (0 if set(backbones.values()) <= INSTALLED else 1), done.stdout + done.stderr
    with (tmp_path / "out" / "runs.csv").open(newline="") as stream:
        rows = {row["backbone"]: row for row in csv.DictReader(stream)}
    assert set(rows) == set(backbones)
    for name, extra in backbones.items():
        row = rows[name]
        if extra in INSTALLED:
            assert row["status"] == "ok", row["reason"]
        else:
            assert row["status"] == "missing_dependency"
            named = row["reason"].partition('pip install "tumorboard[')[2].partition("]")[0].split(",")
            assert extra in named, row["reason"]
    board = (tmp_path / "out" / "leaderboard.md").read_text(encoding="utf-8")
    assert all(name in board for name in backbones)


def test_the_check_says_what_is_missing(tmp_path: Path) -> None:
    done = command(tmp_path, "check", "torch/baseline_cnn", "--only", "builds")
    assert done.returncode == 0, done.stdout + done.stderr
    assert ('pip install "tumorboard[torch]"' in done.stdout) == ("torch" not in INSTALLED)


def test_every_backbone_is_a_row_with_the_core_alone(tmp_path: Path) -> None:
    if INSTALLED:
        pytest.skip("other environments train; the core alone does not")
    assert command(tmp_path, "--all", "--limit", "24", "--size", "64", "--out", "out").returncode == 1
    names = [entry["name"] for entry in json.loads(works(tmp_path, "list", "--json"))["backbones"]]
    with (tmp_path / "out" / "runs.csv").open(newline="") as stream:
        outcomes = {row["backbone"]: row["status"] for row in csv.DictReader(stream)}
    assert outcomes == dict.fromkeys(names, "missing_dependency")
