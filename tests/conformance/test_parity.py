"""One network in two frameworks: the same from the same weights, within the limits; others are told apart."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backbones.registry import load_registry
from benchmark.conformance.parity import compare
from benchmark.conformance.weight_mapping import correspond, to_keras
from benchmark.errors import UserError
from benchmark.evaluation.parity_certificates import CURVE_TOLERANCE, LOGITS_TOLERANCE, Certificate, shipped

# A torch network and its Keras twin, which runs on Keras's torch backend where TensorFlow's side is not the point.
TWINS = """from backbones import backbone


@backbone("own/torch", framework="torch", input_size=32)
def of_torch(num_classes):
    from torch import nn

    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
        nn.Sequential(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Sequential(nn.Flatten(), nn.Linear(16 * 8 * 8, num_classes)),
    )


@backbone("own/keras", framework="keras", input_size=32, keras_backends=("torch",))
def of_keras(num_classes, input_size):
    import keras
    from keras import layers

    return keras.Sequential([
        keras.Input((input_size, input_size, 3)),
        layers.ZeroPadding2D(1),
        layers.Conv2D(8, 3, strides=2, use_bias=False),
        layers.BatchNormalization(epsilon=1e-5),
        layers.ReLU(),
        layers.Conv2D(16, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(num_classes),
    ])
"""
# What is wrong with the second, and what the verdict says of it.
DISAGREEMENTS = {
    "another padding": (
        'layers.ZeroPadding2D(1),\n        layers.Conv2D(8, 3, strides=2, use_bias=False)',
        'layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)',
        "another padding, stride, activation",
    ),
    "another epsilon": ("epsilon=1e-5", "epsilon=1e-3", "a normalisation with another epsilon"),
    "another activation": ("layers.ReLU()", "layers.LeakyReLU(negative_slope=0.01)", "activation"),
    "dropout that only training has": (
        "layers.Flatten(),",
        "layers.Flatten(), layers.Dropout(0.1),",
        "predict alike and train differently",
    ),
}  # fmt: skip


def compared(folder: Path, source: str) -> Certificate:
    path = folder / "twins.py"
    path.write_text(source)
    registry = load_registry((path,))
    return compare(registry.get("own/torch"), registry.get("own/keras"), (path,), size=32, head="native")


def test_the_baseline_on_torch_and_on_tensorflow_is_one_network(tmp_path: Path) -> None:
    words = ["parity", "keras/baseline_cnn", "torch/baseline_cnn", "--size", "32", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmark", *words], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "torch/baseline_cnn and keras/baseline_cnn are the same network." in done.stdout
    (stored,) = (tmp_path / "parity").iterdir()
    found = Certificate.model_validate(json.loads(stored.read_text()))
    assert 0 < found.logits <= LOGITS_TOLERANCE == 1e-4
    assert 0 < found.sgd_curve <= CURVE_TOLERANCE == 1e-3
    assert found.fall > 50 * CURVE_TOLERANCE  # there is a curve to compare
    assert found.gradients < 1e-4
    assert found.adam_curve < 0.1
    assert f"{found.adam_curve:.1e}" in done.stdout
    assert found.parameters == sum((3 * 9 * 16 + 16, 16 * 9 * 32 + 32, 32 * 9 * 64 + 64, 4**2 * 64 * 256 + 256, 1028))


def test_twins_agree(tmp_path: Path) -> None:
    found = compared(tmp_path, TWINS)
    assert found.holds
    assert found.gradients < 1e-4


@pytest.mark.parametrize("what", DISAGREEMENTS)
def test_a_planted_disagreement_is_found(tmp_path: Path, what: str) -> None:
    right, wrong, says = DISAGREEMENTS[what]
    assert TWINS.count(right) == 1
    found = compared(tmp_path, TWINS.replace(right, wrong))
    assert not found.holds, found
    assert says in found.verdict()


def test_networks_that_do_not_correspond_are_refused(tmp_path: Path) -> None:
    wider = TWINS.replace("layers.Conv2D(16", "layers.Conv2D(24")
    with pytest.raises(
        UserError, match=r"^own/torch and own/keras can't be compared: they are not one architecture "
    ):
        compared(tmp_path, wider)


def test_a_network_that_can_not_be_built_is_named(tmp_path: Path) -> None:
    broken = TWINS.replace("return keras.Sequential", 'raise RuntimeError("no luck")\n    return keras.Sequential')
    with pytest.raises(UserError, match=r"can't be compared: own/keras ended with RuntimeError: no luck\.$"):
        compared(tmp_path, broken)
    absent = TWINS.replace('keras_backends=("torch",)', 'unsupported=lambda: "It sleeps."')
    with pytest.raises(UserError, match=r"^own/keras can't be compared: It sleeps\.$"):
        compared(tmp_path, absent)


def test_two_of_one_framework_are_refused() -> None:
    words = ["parity", "torch/baseline_cnn", "timm/resnet50"]
    done = subprocess.run([sys.executable, "-m", "benchmark", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "torch/baseline_cnn and timm/resnet50 are not one of each." in done.stderr


def test_weights_are_matched_by_name_else_by_order_and_laid_out_anew() -> None:
    generator = np.random.default_rng(0)
    weights = {
        "a/a.weight": generator.normal(size=(4, 3, 5, 2)),
        "b/b.weight": generator.normal(size=(4, 1, 3, 3)),  # depthwise
        "c/c.weight": generator.normal(size=(7, 4 * 2 * 2)),  # on a flattened map of 4 channels
    }
    shapes = {"s/c/kernel": (16, 7), "s/a/kernel": (5, 2, 3, 4), "s/b/depthwise_kernel": (3, 3, 4, 1)}
    pairs = correspond({name: value.shape for name, value in weights.items()}, shapes)
    assert pairs == {"a/a.weight": "s/a/kernel", "b/b.weight": "s/b/depthwise_kernel", "c/c.weight": "s/c/kernel"}
    laid_out = to_keras(weights, pairs, shapes)
    assert laid_out["s/a/kernel"][1, 0, 2, 3] == weights["a/a.weight"][3, 2, 1, 0]
    assert laid_out["s/b/depthwise_kernel"][2, 1, 3, 0] == weights["b/b.weight"][3, 0, 2, 1]
    channel, row, column = 3, 1, 0
    assert laid_out["s/c/kernel"][(row * 2 + column) * 4 + channel, 5] == weights["c/c.weight"][5, channel * 4 + 2]
    by_order = correspond({"x/x.weight": (2,), "y/y.weight": (3,)}, {"p/kernel": (2,), "q/kernel": (3,)})
    assert by_order == {"x/x.weight": "p/kernel", "y/y.weight": "q/kernel"}


def test_the_shipped_certificates_are_of_the_declarations_as_they_are_and_within_the_limits() -> None:
    registry = load_registry()
    pairs = {
        ("torch/baseline_cnn", "keras/baseline_cnn"),
        ("timm/vgg16", "keras/vgg16"),
        ("timm/resnet50", "reference:keras_resnet50_v1_5"),
        ("timm/tf_efficientnet_lite0", "keras/efficientnet_lite0"),
    }
    assert {(found.torch, found.keras) for found in shipped()} == pairs
    for found in shipped():
        assert found.holds, found
        stale = [name for name, source in found.sources.items() if registry.get(name).source_hash != source]
        assert not stale, f"changed since they were compared: {stale}; run tests/conformance/certify.py"
