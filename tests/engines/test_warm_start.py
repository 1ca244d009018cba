"""What a record says of the weights with which a network began, whatever framework its adapter is of."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from backbones import Backbone
from benchmark.engines.base import BuildSpec
from benchmark.engines.warm_start import weights_loaded


def takes_weights(num_classes: int, weights: object) -> None: ...


def takes_anything(**offered: object) -> None: ...


def takes_none(num_classes: int) -> None: ...


def spec(build: Callable[..., Any], weights: Path | str | None, framework: str, run: Path | None = None) -> BuildSpec:
    backbone = Backbone("test/plugin", framework, build, imagenet="hub/weights@1")
    return cast(BuildSpec, SimpleNamespace(backbone=backbone, weights=weights, init_from=run))


@pytest.mark.parametrize("framework", ["torch", "keras"])
@pytest.mark.parametrize(
    ("build", "weights", "described", "expected"),
    [
        (takes_weights, "imagenet", None, "imagenet: hub/weights@1"),
        (takes_anything, Path("tuned.h5"), None, "tuned.h5"),
        (takes_weights, Path("tuned.h5"), "tuned.h5 (all layers)", "tuned.h5 (all layers)"),
        (takes_weights, Path("tuned.h5"), "", "tuned.h5"),
        (takes_none, Path("tuned.h5"), None, "none"),
        (takes_none, None, "its own file", "its own file"),
        (takes_weights, None, None, "none"),
        (takes_weights, None, "", "none"),
    ],
)
def test_what_was_loaded_is_what_the_model_says_else_what_its_adapter_was_given(
    framework: str, build: Callable[..., Any], weights: Path | str | None, described: str | None, expected: str
) -> None:
    built = SimpleNamespace() if described is None else SimpleNamespace(weights_loaded=described)
    assert weights_loaded(spec(build, weights, framework), built) == expected


def test_a_run_that_continues_another_names_it() -> None:
    continued = spec(takes_weights, None, "keras", Path("work/abc/final.safetensors"))
    assert weights_loaded(continued, SimpleNamespace(weights_loaded="something")) == "run abc"
