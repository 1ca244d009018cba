"""Keras networks on the torch engine, without TensorFlow."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.engines import promises
from tests.engines.keras_small import CLASSES, built, changed, convolutions, images, logits, plain, residual, train


@pytest.fixture(autouse=True)
def no_tensorflow() -> Any:
    """Keras on torch must never bring TensorFlow into the process: the two crash together."""
    yield
    assert "tensorflow" not in sys.modules


def on_torch(build: Callable[..., Any] = convolutions, **changes: Any) -> Any:
    return built(build, engine="torch", **changes)


@pytest.mark.parametrize("build", [convolutions, residual])
def test_stages_are_found_and_proven(build: Any) -> None:
    network = on_torch(build)[1]
    assert network.stages[-1] == "head"
    assert network.stages_verified, network.stages_unverified
    assert network.gmacs > 0


def test_training_all_changes_every_weight_and_statistic() -> None:
    engine, network = on_torch()
    before = engine.weights()
    train(engine)
    assert changed(before, engine.weights()) == set(before)
    assert network.trainable_parameters == network.parameters


@pytest.mark.parametrize(("trainable_from", "trained"), [("head", ("head/",)), ("second", ("second/", "head/"))])
def test_a_frozen_prefix_does_not_change_batch_norm_included(trainable_from: str, trained: tuple[str, ...]) -> None:
    engine, _ = on_torch(trainable_from=trainable_from)
    before = engine.weights()
    train(engine)
    logits(engine, images())
    train(engine, first=3)
    assert changed(before, engine.weights()) == {name for name in before if name.startswith(trained)}
    assert all(name.startswith(trained) for name in engine.state(optimizer=False))


@pytest.mark.parametrize("build", [convolutions, residual])
def test_dropout_is_on_in_training_and_a_function_of_the_steps_seed(build: Any) -> None:
    def loss(seed: int, steps_before: int = 0) -> float:
        engine, _ = on_torch(build)
        start = engine.state(optimizer=True)
        train(engine, steps_before)
        engine.load_state(start)
        return train(engine, 1, seed=seed)[0]

    assert loss(1) == loss(1) == loss(1, steps_before=2) != loss(2)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    first, again, other = (on_torch(seed=seed)[1] for seed in (3, 3, 4))
    assert first.weights_hash == again.weights_hash != other.weights_hash


def test_a_saved_state_goes_on_bit_for_bit() -> None:
    engine, _ = on_torch()
    train(engine, 3)
    saved = engine.state(optimizer=True)
    losses = train(engine, 3, first=4)
    other, _ = on_torch(seed=9)
    other.load_state(saved)
    assert train(other, 3, first=4) == losses


@pytest.mark.parametrize("variance", ["biased", "unbiased"])
def test_running_statistics_are_those_of_the_recipe(variance: str) -> None:
    engine, _ = on_torch(batch_norm__momentum=1.0, batch_norm__variance=variance)
    import torch

    names = {name.rsplit("/", 2)[-2] + "/" + name.rsplit("/", 1)[-1]: name for name in engine.weights()}
    before = engine.weights()
    x = engine.normalize(engine.upload(images(seed=1)))
    kernel = torch.from_numpy(before[names["first/kernel"]]).permute(3, 2, 0, 1)
    y = torch.nn.functional.conv2d(x.permute(0, 3, 1, 2), kernel, padding=1).numpy().astype(np.float64)
    train(engine, 1)
    after = engine.weights()
    expected = {"moving_mean": y.mean((0, 2, 3)), "moving_variance": y.var((0, 2, 3), ddof=variance == "unbiased")}
    for name, value in expected.items():
        np.testing.assert_allclose(after[names[f"first_bn/{name}"]], value, rtol=1e-5, atol=1e-6)


def test_a_new_head_is_the_same_as_on_any_engine() -> None:
    from benchmark.draws.initialization import glorot_uniform

    engine, network = on_torch(plain, head__kind="linear", seed=3)
    found = engine.weights()["head/logits/kernel"]
    np.testing.assert_array_equal(found, glorot_uniform(3, "logits", (4, CLASSES)))
    assert network.stages_verified


@pytest.mark.parametrize("variance", ["biased", "unbiased"])
def test_torchs_kernel_for_batch_norm_gives_what_kerass_operations_give(
    variance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def outcome() -> list[float]:
        # Adam would make steps of the rounding errors that are the gradient of a bias before BatchNorm
        engine, _ = on_torch(optimizer__name="sgd", batch_norm__variance=variance)
        return [*train(engine, 4), *logits(engine, images()).ravel()]

    fused = outcome()
    from benchmark.engines.keras import network as keras_network
    from benchmark.engines.keras import on_torch as keras_on_torch

    monkeypatch.setattr(keras_on_torch, "set_batch_norm", keras_network.set_plain_batch_norm)
    np.testing.assert_allclose(outcome(), fused, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("variance", ["biased", "unbiased"])
def test_a_batch_norm_that_is_used_twice_trains(variance: str) -> None:
    def build(num_classes: int, input_size: int) -> Any:
        import keras
        from keras import layers

        inputs = keras.Input((input_size, input_size, 3))
        norm = layers.BatchNormalization()
        x = norm(layers.Conv2D(4, 3)(inputs))
        x = norm(layers.Conv2D(4, 3)(x))
        return keras.Model(inputs, layers.Dense(num_classes)(layers.GlobalMaxPooling2D()(x)))

    assert np.isfinite(train(on_torch(build, batch_norm__variance=variance)[0])).all()


def test_averages_and_parts_are_as_on_the_other_engines() -> None:
    promises.averages_are_what_is_evaluated(on_torch, plain)
    promises.averages_resume_bit_for_bit(on_torch, convolutions)
    promises.parts_of_a_batch_make_one_step(on_torch, plain)
