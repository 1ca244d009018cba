"""A third engine comes as a package of its own: nothing of the harness is changed for it."""

import csv
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from backbones import Backbone
from benchmark.engines import create, engine_entry, engine_of, library_packages
from benchmark.errors import UserError
from benchmark.records.store import RecordStore
from tests.execution.commands import make_images

ROOT = Path(__file__).parents[2]
PLUGIN = """
from backbones import backbone


@backbone("numpy/softmax", framework="numpy", input_size=16)
def softmax(num_classes):
    import numpy as np
    return {"kernel": np.zeros((48, num_classes), np.float32), "bias": np.zeros(num_classes, np.float32)}
"""
RECIPE = """
epochs = 3
batch_size = 8
trainable_from = "head"
optimizer.name = "sgd"
optimizer.learning_rate = 0.1
execution.compile = "off"
"""


@dataclass(frozen=True)
class Installed:
    """A folder with the package ``softmax-engine``, as pip installs one, and what a command needs."""

    folder: Path

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        folder = self.folder
        command = [
            sys.executable, "-m", "benchmark", "--data", str(folder / "images"), "--out", str(folder / "out"),
            "--plugin", str(folder / "plugin.py"), "--recipe", str(folder / "recipe.toml"), "--size", "16",
            "--device", "cpu", "--seed", "0", *words,
        ]  # fmt: skip
        path = os.pathsep.join([str(ROOT), str(folder / "site")])
        environment = {**os.environ, "PYTHONPATH": path, "TUMORBOARD_CACHE": str(folder / "cache")}
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=folder)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("third")
    make_images(folder / "images")
    (folder / "plugin.py").write_text(PLUGIN)
    (folder / "recipe.toml").write_text(RECIPE)
    declared = folder / "site" / "softmax_engine-1.0.dist-info"
    declared.mkdir(parents=True)
    (declared / "METADATA").write_text("Metadata-Version: 2.1\nName: softmax-engine\nVersion: 1.0\n")
    points = "[tumorboard.engines]\nnumpy = tests.training.softmax_engine:ENTRY\nbroken = tests.nowhere:ENTRY\n"
    (declared / "entry_points.txt").write_text(points)
    return Installed(folder)


def test_it_trains_in_a_real_worker_and_stands_on_the_board(installed: Installed) -> None:
    done = installed.run("--backbone", "numpy/softmax")
    assert done.returncode == 0, done.stdout + done.stderr
    ((record, _),) = RecordStore(installed.folder / "out").read_all()
    assert (record.outcome, record.backbone.framework) == ("ok", "numpy")
    assert record.network is not None
    assert record.network.stages == ("pooling", "head")
    assert record.provenance["frozen_prefix"] == {
        "cached": True, "stages": 1, "through": "pooling", "computed": 72, "reused": 0
    }  # fmt: skip
    assert record.cam is not None
    assert record.cam.reason == "The engine numpy explains no networks."
    with (installed.folder / "out" / "leaderboard.csv").open(encoding="utf-8") as stream:
        row, *without_network = csv.DictReader(stream)
    assert {line["framework"] for line in without_network} == {"none"}
    assert (row["backbone"], row["framework"]) == ("numpy/softmax", "numpy")
    assert float(row["macro_f1"]) > 0.9


def test_what_it_can_not_do_is_refused_by_its_sentence(installed: Installed) -> None:
    done = installed.run("--backbone", "numpy/softmax", "--recipe", "quick", "--out", str(installed.folder / "other"))
    assert "NumPy trains by SGD, without EMA, and with its native head only." in done.stdout + done.stderr


def test_an_engine_that_can_not_be_loaded_is_named(installed: Installed) -> None:
    plugin = installed.folder / "other.py"
    plugin.write_text(PLUGIN.replace('"numpy/softmax", framework="numpy"', '"numpy/adrift", framework="nowhere"'))
    done = installed.run("--plugin", str(plugin), "--backbone", "numpy/adrift")
    assert done.returncode == 2
    assert "The engine 'broken' (tests.nowhere:ENTRY) can't be loaded (ModuleNotFoundError" in done.stderr


def test_an_unknown_engine_is_an_error_that_says_which_there_are() -> None:
    for ask in (engine_entry, lambda name: create(name, "cpu", tf32=False, deterministic=False)):
        with pytest.raises(UserError, match=r"'tensorflw'\. Did you mean 'tensorflow'\? There are torch, tensorflow"):
            ask("tensorflw")


def test_a_backbone_finds_its_engine_by_its_framework() -> None:
    def of(framework: str, preferred: str) -> str:
        return engine_of(Backbone("own/small", framework, lambda: None), preferred)

    assert [of("keras", name) for name in ("tensorflow", "torch")] == ["tensorflow", "torch"]
    assert of("torch", "tensorflow") == "torch"
    with pytest.raises(UserError, match=r"own/small: no engine runs networks of 'pytorch'\. Did you mean 'torch'\?"):
        of("pytorch", "tensorflow")


def test_versions_are_kept_of_every_framework() -> None:
    assert {"torch", "timm", "tensorflow", "keras", "keras-cv"} <= set(library_packages())
