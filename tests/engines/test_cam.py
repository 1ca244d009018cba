"""Grad-CAM through the engines: a network whose map is known, and one network in two frameworks."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backbones import Backbone
from benchmark.data.dataset import DataSet
from benchmark.engines.cam_stage import NoFeatureMap, find_feature_stage
from benchmark.evaluation.cam_metrics import CAM_METHODS, grad_cam, hires_cam, normalized
from benchmark.measurement.cam_sanity_check import cascade
from benchmark.measurement.grad_cam import cam_maps
from tests.engines import keras_small, torch_small
from tests.engines.test_engines_agree import as_torch, weights
from tests.engines.torch_small import CLASSES, SIZE, images

# 1x1 convolution: channel 0 passes red, channel 1 green. The logit of class 0 is red's mean minus green's, that of
# class 1 the negative, that of class 2 nothing: the maps are ReLU(red - green) and ReLU(green - red) over the pixels.
KERNEL = np.array([[1, 0, 0], [0, 1, 0]], dtype=np.float32)
DENSE = np.array([[1, -1], [-1, 1], [0, 0]], dtype=np.float32)


def known_torch(num_classes: int) -> Any:
    import torch
    from torch import nn

    convolution, dense = nn.Conv2d(3, 2, 1, bias=False), nn.Linear(2, num_classes, bias=False)
    with torch.no_grad():
        convolution.weight.copy_(torch.from_numpy(KERNEL[:, :, None, None]))
        dense.weight.copy_(torch.from_numpy(DENSE))
    return nn.Sequential(convolution, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), dense))


def known_keras(num_classes: int, input_size: int) -> Any:
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((input_size, input_size, 3)),
            layers.Conv2D(2, 1, use_bias=False),
            layers.GlobalAveragePooling2D(),
            layers.Dense(num_classes, use_bias=False),
        ]
    )
    model.set_weights([KERNEL.T[None, None], DENSE.T])
    return model


def maps_of(engine: Any, pixels: Any, classes: list[int]) -> Any:
    inputs = engine.normalize(engine.upload(pixels))
    return grad_cam(*engine.fetch(engine.features_and_gradients(inputs, np.array(classes))))


def assert_known(engine: Any) -> None:
    pixels = images(3)
    red, green = pixels[..., 0] / 255.0, pixels[..., 1] / 255.0
    expected = np.stack([red[0] - green[0], green[1] - red[1], 0 * red[2]])
    np.testing.assert_allclose(maps_of(engine, pixels, [0, 1, 2]), np.maximum(expected, 0) / SIZE**2, atol=1e-7)


def test_a_known_map_on_torch() -> None:
    assert_known(torch_small.built(known_torch)[0])


def test_a_known_map_of_keras_on_torch() -> None:
    assert_known(keras_small.built(known_keras, engine="torch")[0])


@pytest.mark.tensorflow
def test_a_known_map_on_tensorflow() -> None:
    assert_known(keras_small.built(known_keras)[0])


# The head has a weight of its own for each place and channel, which therefore is the gradient there.
PLACES = np.random.default_rng(5).normal(0, 1, (SIZE, SIZE, 2, CLASSES)).astype(np.float32)


def placed_torch(num_classes: int) -> Any:
    import torch
    from torch import nn

    convolution, dense = nn.Conv2d(3, 2, 1, bias=False), nn.Linear(2 * SIZE**2, num_classes, bias=False)
    with torch.no_grad():
        convolution.weight.copy_(torch.from_numpy(KERNEL[:, :, None, None]))
        dense.weight.copy_(torch.from_numpy(PLACES.transpose(3, 2, 0, 1).reshape(num_classes, -1)))
    return nn.Sequential(convolution, nn.Sequential(nn.Flatten(), dense))


def placed_keras(num_classes: int, input_size: int) -> Any:
    import keras
    from keras import layers

    convolution, dense = layers.Conv2D(2, 1, use_bias=False), layers.Dense(num_classes, use_bias=False)
    model = keras.Sequential([keras.Input((input_size, input_size, 3)), convolution, layers.Flatten(), dense])
    model.set_weights([KERNEL.T[None, None], PLACES.reshape(-1, num_classes)])
    return model


def assert_by_hand(engine: Any) -> None:
    """Compare the maps of each method with loops over places and channels."""
    pixels, classes = images(3), np.array([0, 1, 2])
    data = DataSet("noise", pixels, classes, np.array(["a", "b", "c"]), ("a", "b", "c"), "", np.arange(3))
    expected = {name: np.zeros((3, SIZE, SIZE)) for name in CAM_METHODS}
    for image, said in enumerate(classes):
        for row in range(SIZE):
            for column in range(SIZE):
                for channel in range(2):
                    value = pixels[image, row, column, channel] / 255.0  # what the convolution passes
                    gradient = PLACES[row, column, channel, said]
                    expected["grad-cam"][image, row, column] += value * PLACES[..., channel, said].mean()
                    expected["hirescam"][image, row, column] += value * gradient
                    expected["layercam"][image, row, column] += value * max(gradient, 0.0)
    for name, maps in expected.items():
        found = cam_maps(engine, data, np.arange(3), classes, name)
        np.testing.assert_allclose(found, normalized(np.maximum(maps, 0)), atol=2e-5)


def test_each_method_by_hand_on_torch() -> None:
    assert_by_hand(torch_small.built(placed_torch)[0])


def test_each_method_by_hand_on_keras_on_torch() -> None:
    assert_by_hand(keras_small.built(placed_keras, engine="torch")[0])


@pytest.mark.tensorflow
def test_each_method_by_hand_on_tensorflow() -> None:
    assert_by_hand(keras_small.built(placed_keras)[0])


def test_behind_a_mean_over_all_places_hirescam_is_grad_cam() -> None:
    engine = torch_small.built(known_torch)[0]
    inputs = engine.normalize(engine.upload(images(3)))
    both = engine.fetch(engine.features_and_gradients(inputs, np.array([0, 1, 2])))
    np.testing.assert_allclose(hires_cam(*both), grad_cam(*both), rtol=1e-5, atol=1e-9)


SCRIPT = """
import os, sys
import numpy as np
from backbones.registry import load_registry
from benchmark.recipe import Recipe
from benchmark.engines import BuildSpec, create
from tests.engines.test_cam import maps_of
from tests.engines.torch_small import images

framework, name, weights = sys.argv[1], sys.argv[2], np.load(sys.argv[3])
engine = create(framework, "cpu", tf32=False, deterministic=False)
recipe = Recipe().with_values({"execution.precision": "float32"})
engine.build(BuildSpec(load_registry().get(name), recipe, 3, 16, None, 0))
engine.load_state({key: weights[f"{number}"] for number, key in enumerate(engine.state(optimizer=False))})
np.save(sys.argv[4], maps_of(engine, images(6), [0, 1, 2, 0, 1, 2]))
os._exit(0)  # TensorFlow may crash while it is torn down
"""


def test_the_same_weights_give_the_same_maps_on_all_engines(tmp_path: Path) -> None:
    drawn = weights()
    found = []
    for framework, name, arrays in (
        ("torch", "torch/baseline_cnn", as_torch(drawn)),
        ("tensorflow", "keras/baseline_cnn", drawn),
        ("torch", "keras/baseline_cnn", drawn),
    ):
        given, left = tmp_path / "weights.npz", tmp_path / f"{len(found)}.npy"
        np.savez(given, **{str(number): array for number, array in enumerate(arrays)})
        command = [sys.executable, "-c", SCRIPT, framework, name, str(given), str(left)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
        assert done.returncode == 0, done.stderr
        found.append(np.load(left))
    assert (found[0].max(axis=(1, 2)) > 0).sum() >= 4  # there is something to compare
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=1e-4, atol=1e-6 * found[0].max())


def test_tokens_single_pixels_and_wrong_names_say_why_there_is_no_map() -> None:
    names = ("stem", "blocks.0", "blocks.1", "head")
    assert find_feature_stage(names, [(8, 4, 4), (8, 2, 2), (8, 1, 1)], None, 0) == 1
    assert find_feature_stage(names, [(8, 4, 4), (8, 2, 2), (8, 2, 2)], "blocks", 0) == 2
    with pytest.raises(NoFeatureMap, match=r"'blocks\.1' gives 17 tokens of 64 values"):
        find_feature_stage(names, [(8, 4, 4), (17, 64), (17, 64)], None, 0)
    with pytest.raises(NoFeatureMap, match="more than one pixel"):
        find_feature_stage(names, [(8, 1, 1), (8,), (8,)], None, 0)
    with pytest.raises(NoFeatureMap, match="no stage 'block'"):
        find_feature_stage(names, [(8, 4, 4), (8, 2, 2), (8, 1, 1)], "block", 0)
    with pytest.raises(NoFeatureMap, match="can't be cut"):
        find_feature_stage(("head",), [], None, 0)


def test_a_map_that_is_too_coarse_gives_way_to_the_last_fine_one() -> None:
    names = ("stem", "blocks.0", "blocks.1", "blocks.2", "head")
    assert find_feature_stage(names, [(8, 16, 16), (8, 8, 8), (8, 4, 4), (8, 2, 2)], None, 0) == 1
    assert find_feature_stage(names, [(8, 28, 28), (8, 14, 14), (8, 7, 7), (8, 7, 7)], None, 0) == 3
    assert find_feature_stage(names, [(16, 16, 8), (6, 6, 8), (4, 4, 8), (2, 2, 8)], None, 2) == 0
    assert find_feature_stage(names, [(8, 16, 16), (8, 4, 4), (8, 2, 2), (8, 2, 2)], "blocks", 0) == 3


def test_the_adapter_names_the_stage_that_is_explained() -> None:
    named = Backbone(name="own/small", framework="torch", build=torch_small.convolutions, cam_stage="1")
    assert torch_small.built(named)[0].cam_stage() == "1"
    assert torch_small.built()[0].cam_stage() == "0"  # the last whose map is not too coarse


def test_maps_lose_what_they_showed_as_weights_are_drawn_anew() -> None:
    engine, network = torch_small.built(seed=3)
    pixels = images(8)
    data = DataSet(
        name="noise", pixels=pixels, labels=np.arange(8) % CLASSES, image_ids=np.array([f"{n}" for n in range(8)]),
        class_names=("a", "b", "c"), fingerprint="", identical=np.arange(8),
    )  # fmt: skip
    found = cascade(engine, network.stages, data, np.arange(8), np.arange(8) % CLASSES)
    assert [step.stage for step in found] == ["head", "1", "0"]
    assert abs(found[-1].correlation) < 0.5
    again = torch_small.built(seed=3)[0]
    assert found == cascade(again, network.stages, data, np.arange(8), np.arange(8) % CLASSES)
