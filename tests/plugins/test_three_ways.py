"""A backbone comes in as a file, as an installed package, or as a file in ``backbones/``."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.plugins.newcomer import ROOT, examples, shell

TINY = examples()["torch/tiny"]
PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "my-package"
version = "1.0"

[project.entry-points."tumorboard.backbones"]
my_nets = "my_package.backbones"
broken_nets = "my_package.broken"
"""


def listed(folder: Path, *words: str, **environment: str) -> dict[str, Any]:
    done = shell(folder, "benchmark", "list", "--json", *words, **environment)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def origin(found: dict[str, Any], name: str) -> str:
    return str(next(entry["origin"] for entry in found["backbones"] if entry["name"] == name))


@pytest.mark.slow
def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "tiny.py").write_text(TINY)
    assert origin(listed(tmp_path, "--plugin", "tiny.py"), "torch/tiny") == str(tmp_path / "tiny.py")
    words = "--backbone torch/tiny --plugin tiny.py --limit 24 --epochs 1 --size 32 --batch-size 8 --device cpu"
    ran = shell(tmp_path, "benchmark", *words.split())
    assert ran.returncode == 0, ran.stdout + ran.stderr
    with (tmp_path / "results" / "phantom" / "leaderboard.csv").open() as stream:
        trained = [row["backbone"] for row in csv.DictReader(stream) if row["framework"] != "none"]
    assert trained == ["torch/tiny"]
    assert "torch/tiny leaves to defaults" in ran.stdout
    assert "trains from scratch" in ran.stdout


@pytest.mark.slow
def test_an_installed_package_and_one_that_fails_to_import(tmp_path: Path) -> None:
    package = tmp_path / "project" / "my_package"
    package.mkdir(parents=True)
    (package.parent / "pyproject.toml").write_text(PROJECT)
    (package / "__init__.py").write_text("")
    (package / "backbones.py").write_text(TINY)
    (package / "broken.py").write_text("import a_module_that_no_one_has\n")
    site = tmp_path / "site"
    words = ["pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(site)]
    installed = shell(tmp_path, *words, str(package.parent))
    assert installed.returncode == 0, installed.stderr

    found = listed(tmp_path, PYTHONPATH=str(site))
    assert origin(found, "torch/tiny") == "package my_package.backbones"
    (broken,) = found["broken"]
    assert broken["name"] == "broken_nets"
    assert broken["reason"] == "ModuleNotFoundError: No module named 'a_module_that_no_one_has'"
    checked = shell(tmp_path, "benchmark", "check", "torch/tiny", PYTHONPATH=str(site))
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.slow
def test_a_pull_request_is_one_file_that_nothing_else_names(tmp_path: Path) -> None:
    for package in ("backbones", "benchmark"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "backbones" / "tiny.py").write_text(TINY)
    assert origin(listed(tmp_path), "torch/tiny") == "built-in"
    checked = shell(tmp_path, "benchmark", "check", "torch/tiny")
    assert checked.returncode == 0, checked.stdout + checked.stderr
