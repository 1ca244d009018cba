"""The wheel and the sdist hold everything, and a fresh environment made from the wheel alone works.

Building and installing takes a minute or two and needs a package index: tox runs this (``tox -e wheel``); elsewhere
it is skipped unless ``TUMORBOARD_BUILD`` is set.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.packaging.tables import differences

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif("TUMORBOARD_BUILD" not in os.environ, reason="TUMORBOARD_BUILD is not set: tox does")


def do(*words: str, folder: Path = ROOT) -> str:
    """Return what a command prints that must end well."""
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it."""
    folder, source = tmp_path_factory.mktemp("dist"), tmp_path_factory.mktemp("source")
    for name in tracked("."):  # a copy, as other environments of tox build in the checkout meanwhile
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    (source / ".tox").mkdir()
    (source / ".tox" / "log").touch()
    do(sys.executable, "-m", "build", "--outdir", str(folder), folder=source)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("tumorboard-*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of a fresh environment that holds the wheel and what it requires, and nothing else."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=True)
    interpreter = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    do(str(interpreter), "-m", "pip", "install", "--quiet", str(wheel))
    return str(interpreter)


def tracked(*folders: str) -> set[str]:
    """Return the files that git tracks in some folders."""
    return set(do("git", "ls-files", *folders).splitlines())


def test_both_pass_twine_check(built: Path) -> None:
    said = do(sys.executable, "-m", "twine", "check", "--strict", *(str(path) for path in sorted(built.iterdir())))
    assert said.count("PASSED") == 2


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == {name.removeprefix("benchmark/import_name/") for name in tracked("benchmark", "backbones")}


def test_the_sdist_holds_the_packages_and_what_builds_them(built: Path) -> None:
    (path,) = built.glob("tumorboard-*.tar.gz")
    with tarfile.open(path) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    wanted = tracked("benchmark", "backbones") | {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"}
    assert wanted <= held
    assert not any(name.startswith(("results/", ".tox/")) for name in held)


def test_a_fresh_environment_from_the_wheel_alone(python: str, tmp_path: Path) -> None:
    assert "torch/baseline_cnn" in do(python, "-m", "benchmark", "list", folder=tmp_path)
    for name in do(python, "-m", "benchmark", "recipe", folder=tmp_path).split():
        assert "epochs = " in do(python, "-m", "benchmark", "recipe", name, folder=tmp_path)
    assert "flip" in do(python, "-m", "benchmark", "suite", "seed-notebook", folder=tmp_path)
    assert "glioma" in do(python, "-m", "benchmark", "data", "phantom", "--limit", "30", folder=tmp_path)
    command = str(Path(python).with_name("tumorboard"))
    assert "--backbone" in do(command, "--help", folder=tmp_path)
    board = ROOT / "results" / "boards" / "nickparvar-v1-128px"
    (tmp_path / "board").mkdir()
    do(command, "leaderboard", str(board), "--out", "board", folder=tmp_path)
    assert differences(board / "leaderboard.csv", tmp_path / "board" / "leaderboard.csv") == []
    said = do(
        python, "-c", f"import benchmark; print(len(benchmark.load_results({str(board)!r}).runs))", folder=tmp_path
    )
    assert said.strip() == "5"
