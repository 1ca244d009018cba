"""Kernels that a recipe draws anew: the same on every engine, and never those of pretrained weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backbones.registry import load_registry
from benchmark.draws.initialization import he_normal
from benchmark.recipe import Recipe


def engine_with(name: str, engine: str, initialization: str, weights: Path | None = None, size: int = 32) -> Any:
    from benchmark.engines import BuildSpec, create

    changes = {"initialization": initialization, "execution.compile": "off", "execution.channels_last": "off"}
    made = create(engine, "cpu", tf32=False, deterministic=False)
    recipe = Recipe().with_values(changes)
    made.build(BuildSpec(load_registry().get(name), recipe, num_classes=4, size=size, weights=weights, seed=5))
    return made


def check_kernels(drawn: dict[str, Any], library: dict[str, Any], transpose: tuple[int, ...]) -> None:
    """The baseline's three convolutions are He's, biases zero; its head, dense layer included, is as it was built."""
    kernels = [value for value in drawn.values() if value.ndim == 4]
    for number, (kernel, (inputs, outputs)) in enumerate(zip(kernels, ((3, 16), (16, 32), (32, 64)), strict=True)):
        expected = he_normal(5, number, (3, 3, inputs, outputs), 9 * inputs)
        np.testing.assert_array_equal(kernel.transpose(transpose), expected)
        assert abs(kernel.std() / np.sqrt(2 / (9 * inputs)) - 1) < 0.1
    assert all(not value.any() for name, value in drawn.items() if value.ndim == 1 and "head" not in name)
    head = [name for name in drawn if drawn[name].ndim == 2]
    assert len(head) == 2
    for name in head:
        np.testing.assert_array_equal(drawn[name], library[name])


def test_torch_draws_hes_kernels() -> None:
    drawn, library = (engine_with("torch/baseline_cnn", "torch", kind).weights() for kind in ("he", "library"))
    check_kernels(drawn, library, (2, 3, 1, 0))


@pytest.mark.tensorflow
def test_tensorflow_draws_hes_kernels() -> None:
    drawn, library = (engine_with("keras/baseline_cnn", "tensorflow", kind).weights() for kind in ("he", "library"))
    check_kernels(drawn, library, (0, 1, 2, 3))


def test_pretrained_weights_are_left_alone() -> None:
    entry = load_registry().get("timm/tf_efficientnet_lite0")
    assert entry.local_weights is not None
    path = entry.local_weights()
    if path is None:
        pytest.skip("the package with weights of EfficientNet-Lite0 is not installed")
    first, second = (engine_with(entry.name, "torch", kind, path).weights() for kind in ("he", "library"))
    assert all(np.array_equal(first[name], second[name]) for name in first if "head" not in name)
