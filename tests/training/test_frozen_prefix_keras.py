"""The outputs of a Keras network's frozen stages are computed once on either backend, and nothing changes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backbones import Backbone
from benchmark.engines import BuildSpec, create
from benchmark.recipe import Recipe
from tests.engines.keras_small import convolutions
from tests.training.frozen import COUNT, Built, exact_and_computed_once, recipe, run, same

# What a run freezes, and the last stage that is kept: all but the head, of which the pooling is kept too where it is
# the recipe's; all before a stage; all layers before a number, of which the last clean boundary before it is kept.
CASES = [
    ({"trainable_from": "head"}, "second"),
    ({"trainable_from": "head", "head__kind": "linear", "head__dropout": 0.3, "ema__decay": 0.8}, "average pooling"),
    ({"trainable_from": "second", "execution__accumulate": 2}, "first"),
    ({"trainable_from": "5"}, "first"),
]


def builder(framework: str, network: Callable[..., Any] = convolutions) -> Callable[[Recipe], Built]:
    def build(chosen: Recipe) -> Built:
        backbone = Backbone("own/small", "keras", network)
        engine = create(framework, "cpu", tf32=False, deterministic=False)
        return engine, engine.build(BuildSpec(backbone, chosen, 3, 16, None, 0))

    return build


@pytest.mark.tensorflow
@pytest.mark.parametrize(("changes", "through"), CASES)
def test_on_tensorflow(changes: dict[str, Any], through: str, tmp_path: Path) -> None:
    exact_and_computed_once(builder("tensorflow"), recipe(**changes), tmp_path, through)


@pytest.mark.tensorflow
def test_bfloat16_is_kept_bit_for_bit_on_tensorflow(tmp_path: Path) -> None:
    chosen = recipe(trainable_from="second", execution__precision="bfloat16")
    build = builder("tensorflow")
    plain, kept, again = run(build, None, chosen), run(build, tmp_path, chosen), run(build, tmp_path, chosen)
    assert again.feature_cache["reused"] == COUNT
    same(plain, kept, 1e-2)
    same(kept, again, 1e-6)


@pytest.mark.parametrize(("changes", "through"), CASES)
def test_on_torch(changes: dict[str, Any], through: str, tmp_path: Path) -> None:
    exact_and_computed_once(builder("torch"), recipe(**changes), tmp_path, through)
