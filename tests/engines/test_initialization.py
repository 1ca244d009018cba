"""Initial weights that a recipe has drawn: the same numbers on every engine, and never those of pretrained weights.

No process has two frameworks, so each engine is held against one list of what is expected.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from backbones import CAFFE, IMAGENET, RAW, UNIT, Preprocessing
from backbones.registry import load_registry
from benchmark.draws.initialization import glorot_uniform, he_normal, input_scale
from benchmark.recipe import Recipe

Shapes = Mapping[str, tuple[int, ...]]
SEED = 5
BASELINE = {
    "conv1": (3, 3, 3, 16), "conv2": (3, 3, 16, 32), "conv3": (3, 3, 32, 64), "dense": (1024, 256),
    "logits": (256, 4),
}  # fmt: skip


def resnet50_v1_5() -> dict[str, tuple[int, ...]]:
    """Return names and shapes of its kernels in the order of the forward pass, the shortcut after the main branch."""
    shapes: dict[str, tuple[int, ...]] = {"conv1": (7, 7, 3, 64)}
    inputs = 64
    for stage, (filters, blocks) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)], start=1):
        for block in range(blocks):
            name, outputs = f"layer{stage}.{block}", 4 * filters
            shapes[f"{name}.conv1"] = (1, 1, inputs, filters)
            shapes[f"{name}.conv2"] = (3, 3, filters, filters)
            shapes[f"{name}.conv3"] = (1, 1, filters, outputs)
            if block == 0:
                shapes[f"{name}.downsample.0"] = (1, 1, inputs, outputs)
            inputs = outputs
    return shapes | {"fc": (2048, 4)}


def expected(
    shapes: Mapping[str, tuple[int, ...]], preprocessing: Preprocessing
) -> dict[str, npt.NDArray[np.float32]]:
    """Return every kernel by its layer's name, in Keras's layout."""
    *hidden, last = shapes
    scale = {"conv1": input_scale(preprocessing)}
    kernels = {
        name: he_normal(SEED, number, shapes[name], math.prod(shapes[name][:-1])) / scale.get(name, 1)
        for number, name in enumerate(hidden)
    }
    inputs, outputs = shapes[last]
    return kernels | {last: glorot_uniform(SEED, "logits", (inputs, outputs))}


def engine_with(name: str, engine: str, initialization: str, weights: Path | None = None) -> Any:
    from benchmark.engines import BuildSpec, create

    changes = {"initialization": initialization, "execution.compile": "off", "execution.channels_last": "off"}
    made = create(engine, "cpu", tf32=False, deterministic=False)
    recipe = Recipe().with_values(changes)
    made.build(BuildSpec(load_registry().get(name), recipe, num_classes=4, size=32, weights=weights, seed=SEED))
    return made


def in_keras_layout(weights: Mapping[str, npt.NDArray[np.float32]], *, torch: bool) -> dict[str, Any]:
    """Return the kernels by their layers' names, from any engine."""
    kernels = {}
    for name, value in weights.items():
        if value.ndim < 2:
            continue
        layer = name.split("/")[-1].removesuffix(".weight") if torch else name.split("/")[-2]
        layer = layer.removeprefix("head.") if layer.startswith("head.") else layer
        kernels[layer.removesuffix(".0") if layer in ("conv1.0", "conv2.0", "conv3.0") else layer] = (
            value.transpose(*range(2, value.ndim), 1, 0) if torch else value
        )
    return kernels


def check(
    weights: Mapping[str, npt.NDArray[np.float32]], shapes: Mapping[str, tuple[int, ...]], *, torch: bool
) -> None:
    preprocessing = UNIT if "dense" in shapes else IMAGENET
    wanted, drawn = expected(shapes, preprocessing), in_keras_layout(weights, torch=torch)
    assert set(drawn) == set(wanted)
    if torch and "dense" in wanted:  # torch flattens channels first: (4, 4, 64) becomes (64, 4, 4)
        wanted["dense"] = wanted["dense"].reshape(4, 4, 64, 256).transpose(2, 0, 1, 3).reshape(1024, 256)
    for name, kernel in wanted.items():
        np.testing.assert_array_equal(drawn[name], kernel, err_msg=name)
    for name, value in weights.items():
        if value.ndim == 1:
            scale = name.endswith(("gamma", "moving_variance", "running_var")) or (
                name.endswith(".weight") and value.ndim == 1
            )
            assert (value == float(scale)).all(), name


def test_torch_draws_by_the_rule() -> None:
    check(engine_with("torch/baseline_cnn", "torch", "he").weights(), BASELINE, torch=True)
    check(engine_with("timm/resnet50", "torch", "he").weights(), resnet50_v1_5(), torch=True)


@pytest.mark.tensorflow
def test_tensorflow_draws_by_the_rule() -> None:
    check(engine_with("keras/baseline_cnn", "tensorflow", "he").weights(), BASELINE, torch=False)
    reference = engine_with("reference:keras_resnet50_v1_5", "tensorflow", "he").weights()
    check(reference, resnet50_v1_5(), torch=False)


def test_kernels_have_hes_variance() -> None:
    for name, kernel in expected(BASELINE, RAW).items():
        if name != "logits":
            assert abs(kernel.std() / np.sqrt(2 / math.prod(kernel.shape[:-1])) - 1) < 0.1


def test_the_first_kernel_is_scaled_to_its_inputs() -> None:
    assert input_scale(RAW) == 1
    assert input_scale(UNIT) == pytest.approx(np.sqrt((np.linspace(0, 1, 256) ** 2).mean()))
    assert 1.0 < input_scale(IMAGENET) < 1.5
    assert 70 < input_scale(CAFFE) < 80  # without it VGG16's first loss is above a hundred


def test_library_leaves_what_the_network_was_built_with() -> None:
    first, second = (engine_with("timm/resnet50", "torch", kind).weights() for kind in ("library", "he"))
    kernels = [name for name in first if first[name].ndim > 1]
    assert kernels
    assert not any(np.array_equal(first[name], second[name]) for name in kernels)
    gammas = [name for name in first if name.endswith("bn3.weight")]
    assert not any(first[name].any() for name in gammas)  # timm's: zero
    assert all((second[name] == 1).all() for name in gammas)


def test_pretrained_weights_are_left_alone() -> None:
    entry = load_registry().get("timm/tf_efficientnet_lite0")
    assert entry.local_weights is not None
    path = entry.local_weights()
    if path is None:
        pytest.skip("the package with weights of EfficientNet-Lite0 is not installed")
    first, second = (engine_with(entry.name, "torch", kind, path).weights() for kind in ("he", "library"))
    assert all(np.array_equal(first[name], second[name]) for name in first if "head" not in name)
