"""Test-time augmentation: probabilities are means over mirror images, whatever is cached, on either engine."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backbones import Backbone
from benchmark.engines import BuildSpec, create
from benchmark.evaluation.temperature import softmax
from benchmark.measurement.throughput import measure
from benchmark.recipe import Recipe
from benchmark.training.views import AXES, logits_of_views, mirrored
from tests.training.frozen import Built, data, recipe, run, same

FLIPS = ("horizontal", "all")


def build_with(engine_name: str, network: Any, framework: str) -> Any:
    def build(chosen: Recipe) -> Built:
        engine = create(engine_name, "cpu", tf32=False, deterministic=False)
        backbone = Backbone("own/small", framework, network)
        return engine, engine.build(BuildSpec(backbone, chosen, 3, 16, None, 0))

    return build


def check_means(build: Any, flips: str) -> None:
    """The predictions of a run are the mean of its trained network's over the views; nothing else is different."""
    made: list[Built] = []

    def kept(chosen: Recipe) -> Built:
        made.append(build(chosen))
        return made[-1]

    plain, averaged = run(kept, None, recipe(epochs=1)), run(kept, None, recipe(epochs=1, testing__flips=flips))
    assert [line.val_loss for line in plain.history] == pytest.approx([line.val_loss for line in averaged.history])
    engine, images = made[-1][0], data()
    places = {name: place for place, name in enumerate(images.image_ids.tolist())}
    pixels = images.pixels[[places[name] for name in averaged.predictions.image_ids.tolist()]]

    def probabilities(view: Any) -> Any:
        return softmax(engine.fetch([engine.forward(engine.normalize(engine.upload(view)))])[0])

    views = [probabilities(np.ascontiguousarray(np.flip(pixels, axes))) for axes in AXES[flips]]  # type: ignore[index]
    assert len(views) == {"horizontal": 2, "all": 4}[flips]
    np.testing.assert_allclose(averaged.predictions.probabilities, np.mean(views, axis=0), atol=1e-5)
    np.testing.assert_allclose(plain.predictions.probabilities, views[0], atol=1e-5)
    assert np.abs(views[0] - views[1]).max() > 1e-4, "the network sees no difference: nothing is shown"
    assert averaged.execution["views"] == f"{len(views)} (flips: {flips})"
    assert "views" not in plain.execution


def torch_builder() -> Any:
    def with_places(num_classes: int) -> Any:
        """Return a network to which left and right are not the same."""
        from torch import nn

        return nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU()),
            nn.Sequential(nn.Flatten(), nn.Linear(8 * 49, num_classes)),
        )

    return build_with("torch", with_places, "torch")


def keras_network(num_classes: int) -> Any:
    import keras

    layers = keras.layers
    return keras.Sequential(
        [keras.Input((16, 16, 3)), layers.Conv2D(8, 3, strides=2, activation="relu"), layers.Flatten(),
         layers.Dense(num_classes)]
    )  # fmt: skip


@pytest.mark.parametrize("flips", FLIPS)
def test_torch(flips: str) -> None:
    check_means(torch_builder(), flips)


@pytest.mark.tensorflow
@pytest.mark.parametrize("flips", FLIPS)
def test_tensorflow(flips: str) -> None:
    check_means(build_with("tensorflow", keras_network, "keras"), flips)


def test_kept_features_change_nothing(tmp_path: Path) -> None:
    chosen = recipe(trainable_from="head", epochs=2, testing__flips="all")
    plain, kept = run(torch_builder(), None, chosen), run(torch_builder(), tmp_path, chosen)
    assert kept.feature_cache["cached"], kept.feature_cache
    same(plain, kept)


def test_images_that_are_their_own_mirror_images_have_the_same_probabilities() -> None:
    images = data()
    left = images.pixels[:, :, :8]
    symmetric = replace(images, pixels=np.concatenate([left, left[:, :, ::-1]], axis=2))
    both = [run(torch_builder(), None, recipe(epochs=1, testing__flips=flips), data=symmetric)
            for flips in ("none", "horizontal")]  # fmt: skip
    same(*both, tolerance=1e-6)


@pytest.mark.parametrize(("flips", "views"), [("none", 1), ("horizontal", 2), ("all", 4)])
def test_the_speeds_have_the_views_in_them(flips: Any, views: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.measurement.throughput._WINDOW_SECONDS", 0.01)
    monkeypatch.setattr("benchmark.measurement.throughput._LATENCY_SECONDS", 0.05)
    engine, _ = torch_builder()(recipe(epochs=1))
    calls, forward = [], engine.forward
    engine.forward = lambda inputs: calls.append(len(inputs)) or forward(inputs)
    measure(engine, data(), np.arange(60), 12, flips, report=lambda event: None)
    alone = calls.count(1)
    assert alone % views == 0
    assert (len(calls) - alone) % views == 0
    pipeline = [calls[place : place + views] for place in range(0, len(calls), views)]
    assert all(len(set(group)) == 1 for group in pipeline), "an image's views are computed together"


def test_logits_of_views_are_those_of_the_mean() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)

    def forward(view: Any) -> Any:
        return view[:, :2, :2].reshape(len(view), -1)[:, :3].astype(np.float32) / 64

    found = softmax(logits_of_views(forward, pixels, forward(pixels), "all"))
    expected = np.mean([softmax(forward(np.flip(pixels, axes))) for axes in AXES["all"]], axis=0)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    alone = logits_of_views(forward, pixels, forward(pixels), "none")
    np.testing.assert_allclose(softmax(alone), softmax(forward(pixels)), atol=1e-6)
    assert mirrored(pixels, "none") == []
