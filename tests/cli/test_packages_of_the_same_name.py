"""The user stands beside modules that are called as ours are: the installed command does not notice."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark import child_process
from benchmark.execution.planning import devices
from tests.execution.commands import GOOD, WORDS, make_images

THEIRS = 'raise RuntimeError("this is a file of the user\'s")\n'
PLACES = {
    "a file": ("benchmark.py", "backbones.py"),
    "a project": ("benchmark/__init__.py", "backbones/__init__.py"),
}


@pytest.fixture(params=PLACES)
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder of the user's, with modules named as our packages are, a plug-in and some images."""
    folder = tmp_path / "project"
    for name in PLACES[request.param]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(THEIRS)
    (folder / "plugin.py").write_text(GOOD)
    make_images(folder / "images")
    return folder


def installed(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Do a command as the console script does it: Python searches beside the script, and not where the user is."""
    script = folder.parent / "bin" / "tumorboard"
    script.parent.mkdir(exist_ok=True)
    script.write_text("import sys\nfrom benchmark.cli.main import main\nsys.exit(main())\n")
    return subprocess.run(
        [sys.executable, str(script), *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(child_process.__file__).parents[1]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_its_workers_find_our_packages(project: Path) -> None:
    words = (
        "--backbone",
        "test/good",
        "--plugin",
        "plugin.py",
        "--data",
        "images",
        "--out",
        "out",
        "--seed",
        "0",
        *WORDS,
    )
    planned = installed(project, *words, "--epochs", "1", "--dry-run")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    done = installed(project, *words, "--epochs", "1", "--cam", "none")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test/good, seed 0: ok" in done.stdout


def test_its_checks_find_our_packages(project: Path) -> None:
    done = installed(project, "check", "plugin.py", "--only", "builds")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 checks passed" in done.stdout


def test_a_framework_is_asked_for_its_gpu(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setattr(devices, "driver_shows_gpu", lambda: True)
    sentences: list[str] = []
    (choice,) = devices.choose_devices("auto", {"torch"}, sentences.append).values()
    assert sentences == []
    assert choice.kind in ("cpu", "cuda")


def test_a_framework_that_can_not_be_asked_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "driver_shows_gpu", lambda: True)
    monkeypatch.setattr(devices, "_PROBE_SECONDS", 0.01)
    sentences: list[str] = []
    (choice,) = devices.choose_devices("auto", {"torch"}, sentences.append).values()
    assert choice.kind == "cpu"
    (sentence,) = sentences
    assert sentence.startswith("torch could not be asked whether it sees the GPU (")


@pytest.mark.parametrize("name", ["backbones.py", "backbones/__init__.py", "backbones/mine.py"])
def test_python_m_names_the_module_that_is_in_its_way(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(THEIRS)
    root = str(Path(child_process.__file__).parents[1])
    code = f"import sys; sys.path.append({root!r}); from benchmark.cli.main import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "list"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    if name == "backbones/mine.py" and done.returncode == 0:
        return  # a folder without __init__.py gives way to a package that is found later
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1
    assert f"a module 'backbones' of yours ({tmp_path}" in done.stderr
    assert "start with the command tumorboard" in done.stderr
