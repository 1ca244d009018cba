"""What the torch engine promises to the common loop."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backbones import CAFFE, HALF, IMAGENET, RAW, UNIT, Backbone, MissingWeights, Preprocessing
from benchmark.engines import StepInput
from benchmark.records.outcomes import Outcome, RunFailure
from tests.engines import promises
from tests.engines.torch_small import CLASSES, SIZE, built, changed, convolutions, images, logits, plain, train


def test_training_all_changes_every_weight_and_statistic() -> None:
    engine, network = built()
    before = engine.weights()
    train(engine)
    assert changed(before, engine.weights()) == set(before)
    assert network.trainable_parameters == network.parameters


@pytest.mark.parametrize(("trainable_from", "trained"), [("head", ("head/",)), ("1", ("1/", "head/"))])
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
    """With the head's dropout off, the loss before the step is that of the logits in inference mode."""
    engine, _ = built(trainable_from="head", head__kind="linear")
    labels, weights = np.array([0, 1, 2]), np.full(3, 1 / 3, dtype=np.float32)
    expected = cross_entropy(logits(engine, images(3)), labels).mean()
    loss = engine.train_step(StepInput(engine.upload(images(3)), labels, weights, 1e-3, 1, 0))
    assert engine.fetch([loss])[0] == pytest.approx(expected, rel=1e-5)


def test_a_stage_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(RunFailure, match=r"no stage 'heed'.*Did you mean 'head'.*0, 1, head") as raised:
        built(trainable_from="heed")
    assert raised.value.outcome is Outcome.UNSUPPORTED


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    first, again, other = built(seed=3)[1], built(seed=3)[1], built(seed=4)[1]
    assert first.weights_hash == again.weights_hash != other.weights_hash


def test_randomness_in_the_network_is_a_function_of_the_steps_seed() -> None:
    def loss(seed: int) -> float:
        engine, _ = built()
        return train(engine, 1, seed=seed)[0]

    assert loss(1) == loss(1) != loss(2)


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
    del state["1/1.0.weight"]
    with pytest.raises(ValueError, match=r"1/1\.0\.weight is in one of them only"):
        engine.load_state(state)


def cross_entropy(values: Any, labels: Any, smoothing: float = 0.0) -> Any:
    """Return each image's cross-entropy with the label mixed with the uniform distribution, in float64."""
    values = values.astype(np.float64)
    log_p = values - values.max(1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(1, keepdims=True))
    targets = np.eye(values.shape[1])[labels] * (1 - smoothing) + smoothing / values.shape[1]
    return -(targets * log_p).sum(1)


def test_the_loss_is_the_weighted_sum_of_smoothed_cross_entropies() -> None:
    engine, _ = built(plain, loss__label_smoothing=0.2)
    labels = np.array([0, 2, 1, 1])
    weights = np.array([0.5, 0.1, 0.0, 1.5], dtype=np.float32)
    expected = (cross_entropy(logits(engine, images(4)), labels, 0.2) * weights).sum()
    loss = engine.train_step(StepInput(engine.upload(images(4)), labels, weights, 1e-3, 1, 0))
    assert engine.fetch([loss])[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("variance", ["biased", "unbiased"])
def test_running_statistics_are_those_of_the_recipe(variance: str) -> None:
    import torch

    engine, network = built(batch_norm__momentum=0.25, batch_norm__variance=variance)
    weight = engine.weights()
    for count in (6, 5, 6):  # the number of values a channel differs between batch sizes
        before = engine.weights()
        x = engine.normalize(engine.upload(images(count, seed=1)))
        weight, bias = (torch.from_numpy(before[f"0/0.0.{name}"]) for name in ("weight", "bias"))
        y = torch.nn.functional.conv2d(x, weight, bias, padding=1).numpy().astype(np.float64)
        train(engine, 1, count=count)
        after = engine.weights()
        mean, var = y.mean((0, 2, 3)), y.var((0, 2, 3), ddof=int(variance == "unbiased"))
        expected = {"mean": mean, "var": var}
        for name, value in expected.items():
            wanted = 0.75 * before[f"0/0.1.running_{name}"] + 0.25 * value
            np.testing.assert_allclose(after[f"0/0.1.running_{name}"], wanted, rtol=1e-5, atol=1e-6)
    assert network.conventions["batch_norm_variance"] == variance
    assert network.conventions["batch_norm_momentum"] == "0.25"
    assert network.conventions["batch_norm_epsilon"] == "1e-05"


@pytest.mark.parametrize(
    "declared", [UNIT, IMAGENET, HALF, CAFFE, RAW], ids=["unit", "imagenet", "half", "caffe", "raw"]
)
@pytest.mark.parametrize("channels_last", ["on", "off"])
def test_pixels_are_normalized_as_declared(declared: Preprocessing, channels_last: str) -> None:
    backbone = Backbone(name="own/small", framework="torch", build=convolutions, preprocessing=declared)
    engine, network = built(backbone, execution__channels_last=channels_last)
    found = engine.fetch([engine.normalize(engine.upload(images()))])[0]
    pixels = images()[..., ::-1] if declared.channel_order == "bgr" else images()
    expected = (pixels * declared.scale - np.array(declared.mean)) / np.array(declared.std)
    assert found.shape == (6, 3, SIZE, SIZE)
    np.testing.assert_allclose(found.transpose(0, 2, 3, 1), expected, rtol=1e-5, atol=1e-5 * 255 * declared.scale)
    moved = (
        engine.upload(images()).permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    )  # as augmentation leaves them
    assert np.array_equal(engine.fetch([engine.normalize(moved)])[0], found), "by rows or by channels, to the bit"
    uploaded = engine.upload(images())
    in_one, in_two = engine.forward_images(uploaded), engine.forward(engine.normalize(uploaded))
    assert np.array_equal(*engine.fetch([in_one, in_two]))
    assert network.preprocessing == declared
    assert network.execution["channels_last"] == channels_last


def test_a_recipe_may_feed_unit_pixels_whatever_is_declared() -> None:
    backbone = Backbone(name="own/small", framework="torch", build=convolutions, preprocessing=CAFFE)
    assert built(backbone, preprocessing="unit")[1].preprocessing == UNIT


def test_gathered_images_are_those_at_the_positions() -> None:
    engine, _ = built()
    every = engine.upload(images())
    found = engine.fetch([engine.gather(every, np.array([4, 0, 4]))])[0]
    np.testing.assert_array_equal(found, images()[[4, 0, 4]])


def test_a_read_only_map_is_uploaded_and_left_alone() -> None:
    engine, _ = built()
    pixels = images()
    pixels.flags.writeable = False
    np.testing.assert_array_equal(engine.fetch([engine.upload(pixels)])[0], images())


def test_parameters_and_multiply_accumulates_are_counted() -> None:
    _, network = built()
    assert network.parameters == (27 * 8 + 8) + 16 + (72 * 8 + 8) + 16 + (128 * CLASSES + CLASSES)
    assert network.gmacs * 1e9 == 27 * 8 * 256 + 72 * 8 * 64 + 128 * CLASSES


def test_bfloat16_computes_in_bfloat16_and_keeps_weights_in_float32() -> None:
    exact, half = built()[0], built(execution__precision="bfloat16")[0]
    assert {array.dtype for array in half.state(optimizer=True).values()} <= {np.dtype("float32"), np.dtype("int64")}
    a, b = logits(exact, images()), logits(half, images())
    assert 0 < np.abs(a - b).max() < 0.1
    assert b.dtype == np.float32


def test_float16_needs_a_gpu() -> None:
    with pytest.raises(RunFailure, match="float16 needs a GPU"):
        built(execution__precision="float16")


def test_a_gpu_that_is_not_there_is_unsupported() -> None:
    import torch

    from benchmark.engines import create

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(RunFailure, match="torch sees no GPU") as raised:
        create("torch", "cuda", tf32=False, deterministic=False)
    assert raised.value.outcome is Outcome.UNSUPPORTED


def test_lack_of_memory_is_an_outcome_of_its_own() -> None:
    def hungry(num_classes: int) -> Any:
        import torch
        from torch import nn

        class Hungry(nn.Module):
            def forward(self, x: Any) -> Any:
                return torch.ones(10**15) if self.training else x

        return nn.Sequential(nn.Flatten(), Hungry(), nn.Linear(3 * SIZE**2, num_classes))

    with pytest.raises(RunFailure, match="Out of memory") as raised:
        built(hungry)
    assert raised.value.outcome is Outcome.OOM


def test_other_runtime_errors_stay_what_they_are() -> None:
    engine, _ = built()
    with pytest.raises(RuntimeError, match="channels"):
        engine.forward(engine.normalize(engine.upload(images()))[:, :2])


def test_missing_weights_are_an_outcome_of_their_own() -> None:
    def build(num_classes: int, weights: Any) -> Any:
        raise MissingWeights("The hub can't be reached.")

    with pytest.raises(RunFailure, match=r"The hub can't be reached\.") as raised:
        built(build, weights="imagenet")
    assert raised.value.outcome is Outcome.MISSING_WEIGHTS


def test_what_is_not_a_network_is_said_so() -> None:
    with pytest.raises(RunFailure, match="gives dict, not a torch module"):
        built(lambda num_classes: {})


def test_process_wide_switches_are_set_either_way() -> None:
    import torch

    from benchmark.engines import create

    create("torch", "cpu", tf32=True, deterministic=True)
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32
    assert not torch.backends.cudnn.benchmark
    create("torch", "cpu", tf32=False, deterministic=False)
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.benchmark


def test_denormals_are_flushed_on_every_thread() -> None:
    script = """
import torch
from benchmark.engines import create
engine = create("torch", "cpu", tf32=False, deterministic=False)
torch.set_num_threads(2)
tiny = torch.full((1 << 20,), 1e-30)
print(torch.get_num_threads(), int(((tiny * 1e-10) != 0).sum()))
"""
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert said.stdout.split() == ["2", "0"]


@pytest.mark.slow
def test_without_a_compiler_compiling_is_unsupported(tmp_path: Path) -> None:
    script = """
import sys
from benchmark.records.outcomes import RunFailure
from tests.engines.torch_small import built, train
engine, _ = built()
engine.set_compile(True)
try:
    train(engine)
except RunFailure as failure:
    print(failure.outcome, failure.reason)
engine.set_compile(False)
print(len(train(engine)))
"""
    nowhere = {"CXX": "/nonexistent/c++", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(Path.cwd())}
    environment = {**os.environ, **nowhere}
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    first, second = said.stdout.splitlines()
    assert first.startswith("unsupported torch.compile fails here (")
    assert second == "2"


@pytest.mark.slow
def test_compiled_steps_compute_the_same() -> None:
    plainly, compiled = built(trainable_from="1")[0], built(trainable_from="1")[0]
    compiled.set_compile(True)
    # dropout draws otherwise when compiled, so compare what does not depend on it
    np.testing.assert_allclose(logits(compiled, images()), logits(plainly, images()), rtol=1e-4, atol=1e-5)
    first, second = built(plain)[0], built(plain)[0]
    second.set_compile(True)
    np.testing.assert_allclose(train(second, 3), train(first, 3), rtol=1e-4)
    second.set_compile(False)
    np.testing.assert_allclose(train(second, 1, first=4), train(first, 1, first=4), rtol=1e-4)


def test_averages_are_what_is_evaluated() -> None:
    promises.averages_are_what_is_evaluated(built, plain)


def test_averages_resume_bit_for_bit() -> None:
    promises.averages_resume_bit_for_bit(built, convolutions)


def test_parts_of_a_batch_make_one_step() -> None:
    promises.parts_of_a_batch_make_one_step(built, plain)


def test_frozen_statistics_that_move_are_noticed() -> None:
    engine, _ = built(convolutions, trainable_from="1")
    name = next(name for name in engine.weights() if "running_mean" in name)
    promises.statistics_that_move_are_noticed(engine, lambda: spoil(engine, name))


def spoil(engine: Any, name: str) -> None:
    """Change a running mean as BatchNorm in training mode would."""
    engine._all_weights()[name].add_(0.1)


def test_choosing_the_layout_leaves_values_and_slots_as_they_are() -> None:
    engine, network = built(convolutions, ema__decay=0.5)
    assert network.layout_is_free
    train(engine, 2, ema_decay=0.5)
    before, outputs = engine.state(optimizer=True), logits(engine, images())
    engine.set_channels_last(False)
    assert not changed(before, engine.state(optimizer=True))
    np.testing.assert_allclose(logits(engine, images()), outputs, rtol=1e-4, atol=1e-5)
    assert engine.normalize(engine.upload(images())).is_contiguous()
    train(engine, 1, first=3, ema_decay=0.5)


def test_a_native_head_has_the_dropout_that_its_adapter_takes() -> None:
    def with_dropout(num_classes: int, dropout: float) -> Any:
        from torch import nn

        return nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(3 * SIZE**2, num_classes))

    dropped, kept = built(with_dropout, head__dropout=0.5)[0], built(with_dropout)[0]
    assert train(dropped, 1, seed=1) != train(built(with_dropout, head__dropout=0.5)[0], 1, seed=2)
    assert train(kept, 1, seed=1) == train(built(with_dropout)[0], 1, seed=2)
    with pytest.raises(RunFailure, match=r"takes no dropout: use head\.kind = 'linear'"):
        built(convolutions, head__dropout=0.5)
