"""What ``pip install`` puts in place: the packages, ``import tumorboard``, and the command ``tumorboard``."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.plugins.newcomer import ROOT

SAME = (
    "import benchmark, tumorboard; assert tumorboard.load_results is benchmark.load_results; "
    "assert set(benchmark.__all__) <= set(dir(tumorboard)); print(tumorboard.__version__ == benchmark.__version__); "
    "from tumorboard import *; print(load_results is benchmark.load_results, tumorboard.__file__)"
)


def python(*words: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder; ``PYTHONPATH`` is empty unless it is given."""
    own = {**os.environ, "PYTHONPATH": "", **environment}
    return subprocess.run([sys.executable, *words], cwd=folder, env=own, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is installed from, since building leaves files beside it."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("benchmark", "backbones"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


def install(target: Path, *words: str) -> None:
    quiet = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--ignore-installed")
    done = python("-m", "pip", "install", *quiet, *words, folder=target)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def site(checkout: Path) -> Path:
    """The folder into which the packages are installed."""
    folder = checkout.parent / "site"
    folder.mkdir()
    install(folder, "--target", str(folder), str(checkout))
    return folder


@pytest.mark.slow
def test_tumorboard_is_benchmark(site: Path, tmp_path: Path) -> None:
    done = python("-c", SAME, folder=tmp_path, PYTHONPATH=str(site))
    assert done.stdout.split() == ["True", "True", str(site / "tumorboard" / "__init__.py")], done.stderr


@pytest.mark.slow
def test_tumorboard_is_benchmark_when_the_checkout_is_installed_in_place(checkout: Path, tmp_path: Path) -> None:
    install(tmp_path, "--prefix", str(tmp_path), "--editable", str(checkout))
    (place,) = (file.parent for file in tmp_path.rglob("__editable__*.pth"))
    libraries = sysconfig.get_paths()["purelib"]
    words = f"import site, sys; site.addsitedir({str(place)!r}); sys.path.append({libraries!r}); {SAME}"
    done = python("-I", "-S", "-c", words, folder=tmp_path)
    own = checkout / "benchmark" / "import_name" / "tumorboard" / "__init__.py"
    assert done.stdout.split() == ["True", "True", str(own)], done.stderr


@pytest.mark.slow
def test_the_command_runs_and_is_completed(site: Path, tmp_path: Path) -> None:
    command = str(site / "bin" / "tumorboard")
    assert "quick" in python(command, "recipe", folder=tmp_path, PYTHONPATH=str(site)).stdout.split()
    script = python(command, folder=tmp_path, PYTHONPATH=str(site), _TUMORBOARD_COMPLETE="bash_source")
    assert "complete -o nosort -F _tumorboard_completion tumorboard" in script.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", ["benchmark.py", "benchmark/__init__.py"])
def test_the_command_names_what_stands_in_its_way(site: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("raise RuntimeError\n")
    done = python(str(site / "bin" / "tumorboard"), "recipe", folder=tmp_path, PYTHONPATH=f".{os.pathsep}{site}")
    assert done.returncode == 2
    assert done.stderr.startswith("Python finds a module 'benchmark' of yours (")
    assert done.stderr.count("\n") == 1
