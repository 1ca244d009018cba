"""What the TensorFlow engine promises to the common loop."""

from typing import Any

import numpy as np
import pytest

from backbones import CAFFE, HALF, IMAGENET, RAW, UNIT, Backbone, MissingWeights, Preprocessing
from benchmark.engines import StepInput, create
from benchmark.engines.shared import factor_and_shift
from benchmark.records.outcomes import Outcome, RunFailure
from tests.engines import promises
from tests.engines.keras_small import (
    CLASSES,
    SIZE,
    built,
    changed,
    convolutions,
    cross_entropy,
    images,
    logits,
    plain,
    residual,
    train,
)

pytestmark = pytest.mark.tensorflow


def test_training_all_changes_every_weight_and_statistic() -> None:
    engine, network = built()
    before = engine.weights()
    train(engine)
    assert changed(before, engine.weights()) == set(before)
    assert network.trainable_parameters == network.parameters


@pytest.mark.parametrize(("trainable_from", "trained"), [("head", ("head/",)), ("second", ("second/", "head/"))])
def test_a_frozen_prefix_does_not_change_batch_norm_included(trainable_from: str, trained: tuple[str, ...]) -> None:
    engine, network = built(trainable_from=trainable_from)
    before = engine.weights()
    train(engine)
    logits(engine, images())
    train(engine, first=3)
    assert changed(before, engine.weights()) == {name for name in before if name.startswith(trained)}
    assert all(name.startswith(trained) for name in network.trainable_names)
    assert all(name.startswith(trained) for name in engine.state(optimizer=False))
    assert network.trainable_parameters < network.parameters


def test_a_frozen_prefix_gives_what_it_gives_in_inference() -> None:
    """Dropout in the prefix is off: with the head's off too, the loss is that of the logits in inference mode."""
    engine, _ = built(residual, trainable_from="head")
    labels, weights = np.array([0, 1, 2]), np.full(3, 1 / 3, dtype=np.float32)
    expected = cross_entropy(logits(engine, images(3)), labels).mean()
    loss = engine.train_step(StepInput(engine.upload(images(3)), labels, weights, 1e-3, 1, 0))
    assert engine.fetch([loss])[0] == pytest.approx(expected, rel=1e-5)


def test_a_stage_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(RunFailure, match=r"no stage 'heed'.*Did you mean 'head'.*first, second, head") as raised:
        built(trainable_from="heed")
    assert raised.value.outcome is Outcome.UNSUPPORTED


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    first, again, other = built(seed=3)[1], built(seed=3)[1], built(seed=4)[1]
    assert first.weights_hash == again.weights_hash != other.weights_hash


def test_building_leaves_pythons_generator_alone() -> None:
    import random

    random.seed(1)
    expected = random.random()
    random.seed(1)
    built()
    assert random.random() == expected


@pytest.mark.parametrize("build", [convolutions, residual])
def test_randomness_in_the_network_is_a_function_of_the_steps_seed(build: Any) -> None:
    def loss(seed: int, steps_before: int = 0) -> float:
        engine, _ = built(build)
        start = engine.state(optimizer=True)
        train(engine, steps_before)
        engine.load_state(start)
        return train(engine, 1, seed=seed)[0]

    assert loss(1) == loss(1) == loss(1, steps_before=2) != loss(2)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_a_saved_state_goes_on_bit_for_bit(name: str) -> None:
    engine, _ = built(optimizer__name=name)
    train(engine, 3)
    saved = engine.state(optimizer=True)
    losses = train(engine, 3, first=4)

    other, _ = built(optimizer__name=name, seed=9)
    train(other, 1)
    other.load_state(saved)
    assert train(other, 3, first=4) == losses
    assert not changed(engine.state(optimizer=True), other.state(optimizer=True))


def test_a_state_is_a_copy_and_may_leave_the_optimizer_out() -> None:
    engine, _ = built()
    best = engine.state(optimizer=False)
    slots = {name: value for name, value in engine.state(optimizer=True).items() if name not in best}
    assert slots
    assert all(name.startswith("optimizer/") for name in slots)
    kept = {name: value.copy() for name, value in best.items()}
    train(engine)
    assert not changed(kept, best)
    engine.load_state(best)
    assert not changed(best, engine.state(optimizer=False))


def test_a_state_of_another_network_is_refused() -> None:
    engine, _ = built()
    state = engine.state(optimizer=True)
    name = next(iter(state))
    del state[name]
    with pytest.raises(ValueError, match=f"{name} is in one of them only"):
        engine.load_state(state)


def test_names_of_weights_do_not_depend_on_what_the_process_built_before() -> None:
    first = list(built(plain)[0].state(optimizer=True))
    built(plain)
    assert list(built(plain)[0].state(optimizer=True)) == first


def test_the_loss_is_the_weighted_sum_of_smoothed_cross_entropies() -> None:
    engine, _ = built(plain, loss__label_smoothing=0.2)
    labels = np.array([0, 2, 1, 1])
    weights = np.array([0.5, 0.1, 0.0, 1.5], dtype=np.float32)
    expected = (cross_entropy(logits(engine, images(4)), labels, 0.2) * weights).sum()
    loss = engine.train_step(StepInput(engine.upload(images(4)), labels, weights, 1e-3, 1, 0))
    assert engine.fetch([loss])[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("variance", ["biased", "unbiased"])
@pytest.mark.parametrize(
    ("epsilon", "xla"), [(1e-3, False), (1e-6, False), (1e-3, True)], ids=["fused", "plain", "xla"]
)
def test_running_statistics_are_those_of_the_recipe(variance: str, epsilon: float, xla: bool) -> None:
    import tensorflow as tf

    def build(num_classes: int) -> Any:
        model = convolutions(num_classes)
        for layer in model.layers:
            if layer.name.endswith("_bn"):
                layer.epsilon = epsilon
        return model

    engine, network = built(build, batch_norm__momentum=0.25, batch_norm__variance=variance)
    engine.set_compile(xla)
    names = {name.rsplit("/", 2)[-2] + "/" + name.rsplit("/", 1)[-1]: name for name in engine.weights()}
    for count in (6, 5, 6):  # the number of values a channel differs between batch sizes
        before = engine.weights()
        x = engine.normalize(engine.upload(images(count, seed=1)))
        y = tf.nn.conv2d(x, before[names["first/kernel"]], 1, "SAME") + before[names["first/bias"]]
        y = y.numpy().astype(np.float64)
        train(engine, 1, count=count)
        after = engine.weights()
        mean, var = y.mean((0, 1, 2)), y.var((0, 1, 2), ddof=int(variance == "unbiased"))
        for name, value in {"moving_mean": mean, "moving_variance": var}.items():
            key = names[f"first_bn/{name}"]
            np.testing.assert_allclose(after[key], 0.75 * before[key] + 0.25 * value, rtol=1e-5, atol=1e-6)
    assert network.conventions["batch_norm_variance"] == variance
    assert network.conventions["batch_norm_momentum"] == "0.25"
    assert network.conventions["batch_norm_epsilon"] == f"{epsilon:g}"


def test_the_fused_batch_norm_gives_what_kerass_own_gives() -> None:
    def losses(epsilon: float) -> list[float]:
        def build(num_classes: int) -> Any:
            model = convolutions(num_classes)
            for layer in model.layers:
                if layer.name.endswith("_bn"):
                    layer.epsilon = epsilon
            return model

        # Adam would make steps of the rounding errors that are the gradient of a bias before BatchNorm
        engine, _ = built(build, optimizer__name="sgd")
        return [*train(engine, 4), float(logits(engine, images()).sum())]

    # on either side of the smallest epsilon that the fused kernel takes
    np.testing.assert_allclose(losses(1.001e-5), losses(1.0009e-5), rtol=2e-4)


@pytest.mark.parametrize(
    "declared", [UNIT, IMAGENET, HALF, CAFFE, RAW], ids=["unit", "imagenet", "half", "caffe", "raw"]
)
def test_pixels_are_normalized_as_declared(declared: Preprocessing) -> None:
    backbone = Backbone(name="own/small", framework="keras", build=convolutions, preprocessing=declared)
    engine, network = built(backbone)
    found = engine.fetch([engine.normalize(engine.upload(images()))])[0]
    pixels = images()[..., ::-1] if declared.channel_order == "bgr" else images()
    expected = (pixels * declared.scale - np.array(declared.mean)) / np.array(declared.std)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * 255 * declared.scale)
    factor, shift = factor_and_shift(declared)
    assert np.array_equal(found, pixels.astype(np.float32) * factor - shift), "by rows or by channels, to the bit"
    uploaded = engine.upload(images())
    in_one, in_two = engine.forward_images(uploaded), engine.forward(engine.normalize(uploaded))
    assert np.array_equal(*engine.fetch([in_one, in_two]))
    engine.set_compile(True)
    in_one, in_two = engine.forward_images(uploaded), engine.forward(engine.normalize(uploaded))
    assert np.array_equal(*engine.fetch([in_one, in_two]))
    assert network.preprocessing == declared
    assert network.execution["channels_last"] == "on"


def test_a_recipe_may_feed_unit_pixels_whatever_is_declared() -> None:
    backbone = Backbone(name="own/small", framework="keras", build=convolutions, preprocessing=CAFFE)
    assert built(backbone, preprocessing="unit")[1].preprocessing == UNIT


def test_gathered_images_are_those_at_the_positions() -> None:
    engine, _ = built()
    every = engine.upload(images())
    found = engine.fetch([engine.gather(every, np.array([4, 0, 4]))])[0]
    np.testing.assert_array_equal(found, images()[[4, 0, 4]])


def test_an_uploaded_array_may_change_afterwards() -> None:
    engine, _ = built()
    pixels = images()
    handle = engine.upload(pixels)
    pixels[:] = 0
    np.testing.assert_array_equal(engine.fetch([handle])[0], images())


def test_batches_of_any_size_and_any_step_are_traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmark.engines.tensorflow.engine import TensorFlowEngine
    from benchmark.engines.tensorflow.steps import Learning, Pixels

    calls = {"differentiate": 0, "_logits": 0, "normalized": 0}
    for owner, name in ((Learning, "differentiate"), (TensorFlowEngine, "_logits"), (Pixels, "normalized")):
        original = getattr(owner, name)

        def counting(*args: Any, original: Any = original, name: str = name) -> Any:
            calls[name] += 1
            return original(*args)

        monkeypatch.setattr(owner, name, counting)
    engine, _ = built()
    calls["normalized"] = 0
    for step, count in enumerate([6, 5, 6, 1, 5], start=1):
        train(engine, 1, first=step, count=count, rate=1e-3 / step)
        logits(engine, images(count))
    assert calls["differentiate"] == calls["_logits"] == 1
    # inside the step, and by itself for one batch size and then for any
    assert calls["normalized"] <= 3


def test_parameters_and_multiply_accumulates_are_counted() -> None:
    _, network = built()
    assert network.parameters == (27 * 8 + 8) + 16 + (72 * 8 + 8) + 16 + (128 * CLASSES + CLASSES)
    assert network.gmacs * 1e9 == 27 * 8 * 256 + 72 * 8 * 64 + 128 * CLASSES


def test_a_new_head_is_pooling_dropout_and_layers_drawn_by_numpy() -> None:
    from benchmark.draws.initialization import glorot_uniform

    engine, network = built(residual, head__kind="dense256", head__pooling="max", head__dropout=0.2, seed=3)
    weights = engine.weights()
    assert network.stages == ("stem", "inner", "nested", "head")
    assert network.stages_verified
    np.testing.assert_array_equal(weights["head/dense/kernel"], glorot_uniform(3, "dense", (4, 256)))
    np.testing.assert_array_equal(weights["head/logits/kernel"], glorot_uniform(3, "logits", (256, CLASSES)))
    assert not weights["head/dense/bias"].any()
    assert not weights["head/logits/bias"].any()


def test_bfloat16_computes_in_bfloat16_and_keeps_weights_in_float32() -> None:
    exact, half = built()[0], built(execution__precision="bfloat16")[0]
    assert {array.dtype for array in half.state(optimizer=True).values()} == {np.dtype("float32")}
    a, b = logits(exact, images()), logits(half, images())
    assert 0 < np.abs(a - b).max() < 0.1
    assert b.dtype == np.float32
    train(half, 3)
    exact, network = built()
    assert network.execution["precision"] == "float32"
    np.testing.assert_array_equal(logits(exact, images()), a)


def test_float16_needs_a_gpu() -> None:
    with pytest.raises(RunFailure, match="float16 needs a GPU"):
        built(execution__precision="float16")


def test_float16_scales_the_loss_and_skips_steps_that_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmark.engines.tensorflow import engine as tensorflow_engine

    monkeypatch.setattr(tensorflow_engine, "resolve_precision", lambda *_: "float16")
    engine, network = built(plain, optimizer__weight_decay=0.0)
    assert network.execution["precision"] == "float16"
    before = engine.weights()
    train(engine, 1)
    assert changed(before, engine.weights()) == set(before)
    state = engine.state(optimizer=True)
    assert state["scaler/scale"] == 2.0**16
    engine.load_state({**state, "scaler/scale": np.array(2.0**60, dtype=np.float32)})
    losses = train(engine, 1, first=2)
    assert np.isfinite(losses).all()
    after = engine.state(optimizer=True)
    assert changed(state, after) == {"scaler/scale", "scaler/steps"}
    assert after["scaler/scale"] == 2.0**59


def test_a_gpu_that_is_not_there_is_unsupported() -> None:
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        pytest.skip("this machine has a GPU")
    with pytest.raises(RunFailure, match="TensorFlow sees no GPU") as raised:
        create("tensorflow", "cuda", tf32=False, deterministic=False)
    assert raised.value.outcome is Outcome.UNSUPPORTED


def test_lack_of_memory_is_an_outcome_of_its_own() -> None:
    import tensorflow as tf

    built_already: list[bool] = []

    def hungry(num_classes: int) -> Any:
        import keras
        from keras import layers

        class Hungry(layers.Layer):
            def call(self, x: Any, training: bool = False) -> Any:
                # more than any machine has, and known only when the step is computed
                many = tf.cast(tf.shape(x)[0], tf.int64) * 10**14
                return x + tf.reduce_sum(tf.tile(x[0, :1], (many,))) if training and built_already else x

        return keras.Sequential([layers.Flatten(), Hungry(), layers.Dense(num_classes)])

    engine, _ = built(hungry)
    built_already.append(True)
    with pytest.raises(RunFailure, match="Out of memory") as raised:
        train(engine)
    assert raised.value.outcome is Outcome.OOM


def test_an_engine_that_is_dropped_leaves_no_graph_behind() -> None:
    import gc

    import tensorflow as tf

    def build(num_classes: int) -> Any:
        import keras
        from keras import layers

        # TensorFlow keeps the graphs of functions with a gradient of their own, as SiLU's
        return keras.Sequential([layers.Conv2D(4, 3, activation="silu"), layers.Flatten(), layers.Dense(num_classes)])

    def graphs() -> int:
        gc.collect()
        return sum(isinstance(thing, tf.Graph) for thing in gc.get_objects())

    def use() -> None:
        engine, _ = built(build)
        train(engine)
        logits(engine, images())

    use()
    before = graphs()
    for _ in range(3):
        use()
    assert graphs() == before


def test_missing_weights_are_an_outcome_of_their_own() -> None:
    def build(num_classes: int, weights: Any) -> Any:
        raise MissingWeights("The network can't be reached.")

    with pytest.raises(RunFailure, match=r"The network can't be reached\.") as raised:
        built(build, weights="imagenet")
    assert raised.value.outcome is Outcome.MISSING_WEIGHTS


def test_what_is_not_a_network_is_said_so() -> None:
    with pytest.raises(RunFailure, match="gives dict, not a Keras model"):
        built(lambda num_classes: {})


def test_denormals_are_flushed() -> None:
    import tensorflow as tf

    built()
    tiny = tf.fill((1 << 20,), 1e-30)
    assert int(tf.math.count_nonzero(tf.function(lambda x: x * 1e-10)(tiny))) == 0


def test_compiled_steps_compute_the_same() -> None:
    first, second = built(plain)[0], built(plain)[0]
    second.set_compile(True)
    np.testing.assert_allclose(train(second, 2), train(first, 2), rtol=1e-4)
    np.testing.assert_allclose(logits(second, images()), logits(first, images()), rtol=1e-3, atol=1e-5)
    second.set_compile(False)
    np.testing.assert_allclose(train(second, 1, first=3), train(first, 1, first=3), rtol=1e-4)


def test_a_users_keras_configuration_changes_nothing() -> None:
    import keras

    expected = logits(built()[0], images())
    keras.config.set_image_data_format("channels_first")
    keras.config.set_floatx("float64")
    np.testing.assert_array_equal(logits(built()[0], images()), expected)


def test_size_is_that_of_the_run() -> None:
    assert logits(built(size=2 * SIZE)[0], images(2, 2 * SIZE)).shape == (2, CLASSES)


def test_averages_are_what_is_evaluated() -> None:
    promises.averages_are_what_is_evaluated(built, plain)


def test_averages_resume_bit_for_bit() -> None:
    promises.averages_resume_bit_for_bit(built, convolutions)


def test_parts_of_a_batch_make_one_step() -> None:
    promises.parts_of_a_batch_make_one_step(built, plain)


def test_frozen_statistics_that_move_are_noticed() -> None:
    engine, _ = built(convolutions, trainable_from="second")
    name = next(name for name in engine.weights() if "moving_mean" in name)
    promises.statistics_that_move_are_noticed(engine, lambda: spoil(engine, name))


def spoil(engine: Any, name: str) -> None:
    """Change a running mean as BatchNorm in training mode would."""
    engine._weights[name].assign(engine._weights[name] + 0.1)


@pytest.mark.parametrize("number", [2, 4, 6])
def test_layers_are_frozen_by_their_number_exactly(number: int) -> None:
    """The network's layers are: first, its BatchNorm, ReLU, pooling, second, its BatchNorm, ..."""
    engine, network = built(trainable_from=str(number))
    before = engine.weights()
    frozen = {"first/", "first_bn"} | ({"second/", "second_bn"} if number == 6 else set())
    train(engine)
    moved = changed(before, engine.weights())
    assert moved == {name for name in before if not any(layer in name for layer in frozen)}
    assert set(network.trainable_names) <= moved
    engine.assert_frozen()


def test_a_layer_number_inside_a_stage_freezes_part_of_it() -> None:
    engine, _ = built(trainable_from="5")  # the second convolution, but not its BatchNorm
    before = engine.weights()
    train(engine)
    kept = set(before) - changed(before, engine.weights())
    assert {name.split("/", 2)[2] for name in kept} == {
        f"{layer}/{weight}"
        for layer, weights in {
            "first": ("kernel", "bias"),
            "first_bn": ("gamma", "beta", "moving_mean", "moving_variance"),
            "second": ("kernel", "bias"),
        }.items()
        for weight in weights
    }


def test_a_number_beyond_the_layers_is_named() -> None:
    with pytest.raises(RunFailure, match="trainable_from = 99 leaves nothing to train: the network has 11 layers"):
        built(trainable_from="99")
