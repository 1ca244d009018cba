"""Runs that continue from the weights of another, as a suite asks for them with ``init_from``."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from benchmark.records.outcomes import Outcome
from benchmark.records.record import Predictions, Record
from benchmark.records.store import RecordStore
from tests.execution.commands import GOOD, Bench, make_images

PLUGIN = (
    GOOD
    + """
@backbone("test/keras", framework="keras", input_size=16)
def of_keras(num_classes):
    import keras
    layers = keras.layers
    return keras.Sequential([keras.Input((16, 16, 3)), layers.Conv2D(4, 3, strides=4), layers.BatchNormalization(),
                             layers.ReLU(), layers.Flatten(), layers.Dense(num_classes)])


@backbone("test/late", framework="torch", input_size=16)
def late(num_classes):
    if pathlib.Path(__file__).with_name("not yet").exists():
        raise RuntimeError("not yet")
    return tiny(num_classes)
"""
)
# steps of such a size change neither weights nor running statistics: what continues predicts what was there
SUITE = """
recipes = ["quick"]
changes = { epochs = 2, optimizer.weight_decay = 0 }

[[entries]]
name = "first"

[[entries]]
name = "then"
init_from = "first"
changes = { optimizer.learning_rate = 1e-30, batch_norm.momentum = 1e-30, epochs = 1 }

[[entries]]
name = "alone"
changes = { optimizer.learning_rate = 1e-30, batch_norm.momentum = 1e-30, epochs = 1 }
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench.of(tmp_path, PLUGIN, make_images(tmp_path / "images", per_class=6))


def ask(bench: Bench, backbone: str, *words: str) -> str:
    """Do the suite with a backbone; return what the command said."""
    suite = bench.plugin.with_name("suite.toml")
    suite.write_text(f'backbones = ["{backbone}"]\n{SUITE}')
    command = bench.command("--suite", str(suite), *words)
    place = command.index("--recipe")  # the suite says which
    del command[place : place + 2]
    done = subprocess.run(command, capture_output=True, text=True, env=bench.environment(), check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def results(bench: Bench) -> dict[str, tuple[Record, Predictions | None]]:
    return {pair[0].recipe_name.partition(" + ")[0]: pair for pair in RecordStore(bench.out).read_all()}


@pytest.mark.parametrize("backbone", ["test/good", pytest.param("test/keras", marks=pytest.mark.slow)])
def test_a_run_continues_from_another_s_final_weights_which_are_then_removed(bench: Bench, backbone: str) -> None:
    ask(bench, backbone)
    found = results(bench)
    assert {record.outcome for record, _ in found.values()} == {Outcome.OK}, [r.reason for r, _ in found.values()]
    (first, before), (then, after), (_, without) = found["first"], found["then"], found["alone"]
    assert before
    assert after
    assert without
    assert np.allclose(before.probabilities, after.probabilities, atol=1e-5)
    assert not np.allclose(before.probabilities, without.probabilities, atol=1e-2)
    assert then.identity["init_from"] == first.key
    assert then.weights.loaded == f"run {first.key[:20]}"
    assert then.weights.hash != first.weights.hash, "the hash is of the weights with which it began"
    assert not list((bench.out / "internal/work").rglob("*.safetensors"))
    said = ask(bench, backbone)
    assert said.count(": kept, ") == 3


def test_what_continues_from_a_failure_says_so_and_is_done_once_that_is_mended(bench: Bench) -> None:
    stop = bench.plugin.with_name("not yet")
    stop.touch()
    said = ask(bench, "test/late", "--entry", "then")
    found = results(bench)
    assert set(found) == {"first", "then"}, "what it continues from is done too"
    record, _ = found["then"]
    assert record.outcome is Outcome.MISSING_WEIGHTS
    assert record.reason == "It continues from the weights of 'first + batch_size=8, size=16', which ended as error."
    assert "It continues from the weights of" in said
    stop.unlink()
    ask(bench, "test/late", "--entry", "then")
    assert {record.outcome for record, _ in results(bench).values()} == {Outcome.OK}


def test_a_run_whose_weights_are_gone_is_done_again_for_the_one_that_needs_them(bench: Bench) -> None:
    ask(bench, "test/good", "--entry", "first")
    assert list((bench.out / "internal/work").rglob("final.safetensors")), "an entry of the suite continues from it"
    (attempt,) = [record.provenance["attempt"] for record, _ in results(bench).values()]
    shutil.rmtree(bench.out / "internal/work")
    ask(bench, "test/good", "--entry", "then")
    found = results(bench)
    assert found["then"][0].outcome is Outcome.OK
    assert found["first"][0].provenance["attempt"] != attempt
