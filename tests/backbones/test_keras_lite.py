"""EfficientNet-Lite0 in Keras: timm's weights from either kind of file, and files that are others."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backbones import MissingWeights
from backbones.registry import load_registry
from tests.engines.keras_small import shut_out_torch

NAME, SIZE = "keras/efficientnet_lite0", 32
pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def packaged() -> Path:
    path = load_registry().get(NAME).local_weights
    found = path() if path is not None else None
    if found is None:
        pytest.skip("the package with weights of EfficientNet-Lite0 is not installed")
    return found


@pytest.fixture(autouse=True)
def no_torch() -> None:
    shut_out_torch()


def build(weights: Path | None, num_classes: int = 4) -> Any:
    return load_registry().get(NAME).make(num_classes, weights, SIZE)


def as_timm_has_it(model: Any, folder: Path, **changed: Any) -> Path:
    """Write a Keras network's weights as timm names and shapes them."""
    from safetensors.numpy import save_file

    kinds = {"kernel": "weight", "gamma": "weight", "beta": "bias", "bias": "bias", "moving_mean": "running_mean",
             "moving_variance": "running_var"}  # fmt: skip
    state = {}
    for layer in model.layers:
        for weight in layer.weights:
            value = weight.numpy()
            if value.ndim == 4:
                value = value.transpose(2, 3, 0, 1) if "conv_dw" in layer.name else value.transpose(3, 2, 0, 1)
            elif value.ndim == 2:
                value = value.T
            state[f"{layer.name}.{kinds[weight.path.split('/')[-1]]}"] = np.ascontiguousarray(value)
    path = folder / "model.safetensors"
    save_file({name: value for name, value in (state | changed).items() if value is not None}, path)
    return path


def test_all_weights_come_from_the_package(packaged: Path) -> None:
    model = build(packaged, 1000)
    assert model.weights_loaded == packaged.name
    for layer in model.layers:  # every running variance has left its initial value
        if hasattr(layer, "moving_variance"):
            assert (layer.moving_variance.numpy() != 1).all(), layer.name


def test_a_file_with_timms_names_gives_the_same_network(packaged: Path, tmp_path: Path) -> None:
    first = build(packaged, 1000)
    again = build(as_timm_has_it(first, tmp_path), 1000)
    for one, other in zip(first.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_another_number_of_classes_leaves_the_classifier_out(packaged: Path) -> None:
    model = build(packaged)
    assert model.weights_loaded == f"{packaged.name} (its classifier of 1000 classes replaced)"
    assert model.output_shape == (None, 4)


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    model = build(None)
    path = as_timm_has_it(model, tmp_path, **{"blocks.3.1.conv_dw.weight": None})
    with pytest.raises(MissingWeights, match=r"don't fit efficientnet_lite0: blocks\.3\.1\.conv_dw\.weight"):
        build(path)
    (tmp_path / "broken.safetensors").write_bytes(b"not a file of tensors")
    with pytest.raises(MissingWeights, match=r"broken\.safetensors can't be read"):
        build(tmp_path / "broken.safetensors")
    (tmp_path / "broken.pth").write_bytes(b"not a file of tensors")
    with pytest.raises(MissingWeights, match=r"broken\.pth can't be read by torch"):
        build(tmp_path / "broken.pth")
