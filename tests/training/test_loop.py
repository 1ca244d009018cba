"""The common loop, run on an engine small enough to know what it must do."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backbones import Backbone
from benchmark.data.dataset import DataSet, Split
from benchmark.draws.augmentation import Draws
from benchmark.engines import BuildSpec, Network, StepInput
from benchmark.recipe import Recipe
from benchmark.records.outcomes import Outcome, RunFailure
from benchmark.training.checkpoints import Checkpoints, Pace
from benchmark.training.train import Training, train
from tests.training.softmax_engine import SoftmaxEngine


@pytest.fixture(scope="module")
def data() -> DataSet:
    """Ninety images of three classes that differ in brightness and colour, with noise."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 30)
    base = np.array([[60, 90, 120], [120, 90, 60], [90, 120, 90]])[labels]
    pixels = np.clip(base[:, None, None, :] + generator.normal(scale=40, size=(90, 8, 8, 3)), 0, 255).astype(np.uint8)
    ids = np.array([f"image-{number:03d}" for number in range(90)])
    return DataSet("toy", pixels, labels, ids, ("a", "b", "c"), "f" * 64, identical=np.arange(90))


@pytest.fixture(scope="module")
def split() -> Split:
    positions = np.arange(90)
    third = positions % 3
    return Split("holdout", positions[third == 0], positions[third == 1], positions[third == 2], hash="0" * 64)


class WatchedEngine(SoftmaxEngine):
    """Keeps what it was asked for the tests to look at, and fails where a test wants it to.

    Args:
        resident_bytes: that the device is said to have free.
        explode_at: the step whose loss is not a number.
        explode_above: the learning rate above which no loss is one.
        most_images: that fit into memory at a time.
        free_layout: whether the layout may be chosen.
    """

    def __init__(
        self,
        resident_bytes: int = 0,
        explode_at: int | None = None,
        explode_above: float = float("inf"),
        most_images: int = 1000,
        free_layout: bool = False,
    ) -> None:
        super().__init__()
        self.resident_bytes, self.explode_at, self.explode_above = resident_bytes, explode_at, explode_above
        self.most_images, self.free_layout = most_images, free_layout
        self.layouts: list[bool] = []
        self.compiled: list[bool] = []
        self.steps: list[StepInput] = []

    def build(self, spec: BuildSpec) -> Network:
        return dataclasses.replace(super().build(spec), layout_is_free=self.free_layout)

    def set_compile(self, on: bool) -> None:
        self.compiled.append(on)

    def set_channels_last(self, on: bool) -> None:
        self.layouts.append(on)

    def free_bytes(self) -> int:
        return self.resident_bytes

    def forward(self, inputs: Any) -> Any:
        self._fit(len(inputs))
        return super().forward(inputs)

    def train_step(self, step: StepInput) -> Any:
        self.steps.append(step)
        self._fit(max(len(step.labels[at]) for at, _ in step.cuts()))
        loss = super().train_step(step)
        exploded = step.step == self.explode_at or step.learning_rate > self.explode_above
        return np.float32("nan") if exploded else loss

    def _fit(self, count: int) -> None:
        if count > self.most_images:
            self._head["kernel"] += 1  # a step that fails half way leaves something behind
            raise RunFailure(Outcome.OOM, "Out of memory.")


def recipe(**changes: Any) -> Recipe:
    base = {
        "epochs": 4, "batch_size": 8, "optimizer.learning_rate": 0.5, "schedule.name": "constant",
        "execution.compile": "off", "optimizer.name": "sgd",
    }  # fmt: skip
    return Recipe().with_values({**base, **changes})


def run(engine: WatchedEngine, data: DataSet, split: Split, chosen: Recipe, **options: Any) -> Training:
    defaults: dict[str, Any] = {"report": lambda event: None, "checkpoints": None, "should_stop": lambda: False}
    backbone = Backbone("own/softmax", "numpy", initial)
    classes = options.pop("classes", len(data.class_names))
    network = engine.build(BuildSpec(backbone, chosen, classes, data.size, None, 0))
    return train(engine, network, data, split, chosen, options.pop("seed", 0), **{**defaults, **options})


def initial(num_classes: int) -> dict[str, Any]:
    """Return the weights that training starts from: zeros, as of a softmax regression."""
    return {"kernel": np.zeros((48, num_classes), np.float32), "bias": np.zeros(num_classes, np.float32)}


def assert_same_weights(first: WatchedEngine, second: WatchedEngine) -> None:
    for name, value in first.weights().items():
        np.testing.assert_array_equal(value, second.weights()[name])


def test_it_learns_and_predicts_every_validation_and_test_image_once(data: DataSet, split: Split) -> None:
    done = run(WatchedEngine(), data, split, recipe())
    assert done.history[-1].val_macro_f1 > 0.9
    assert sorted(done.predictions.image_ids) == sorted(data.image_ids[np.r_[split.validation, split.test]])
    assert set(done.predictions.parts) == {"validation", "test"}
    np.testing.assert_allclose(done.predictions.probabilities.sum(axis=1), 1, atol=1e-6)


def test_images_of_one_patient_or_slice_are_said_to_belong_together(data: DataSet, split: Split) -> None:
    copied = data.pixels.copy()
    copied[2] = np.clip(copied[1].astype(int) + 1, 0, 255)  # the next slice, nearly
    done = run(WatchedEngine(), dataclasses.replace(data, pixels=copied), split, recipe(epochs=1)).predictions
    of = dict(zip(done.image_ids, done.groups, strict=True))
    assert of["image-001"] == of["image-002"]
    assert len(set(of.values())) == len(of) - 1
    patients = np.array([f"patient {number // 3}" for number in range(90)])
    known = run(WatchedEngine(), dataclasses.replace(data, groups=patients), split, recipe(epochs=1)).predictions
    assert dict(zip(known.image_ids, known.groups, strict=True))["image-004"] == "patient 1"


def test_each_epoch_sees_each_training_image_once_in_an_order_of_its_own(data: DataSet, split: Split) -> None:
    engine = WatchedEngine()
    run(engine, data, split, recipe(epochs=2, batch_size=7))
    sizes = [len(step.labels) for step in engine.steps]
    assert sizes == [6, 6, 6, 6, 6] * 2  # 30 images in batches of at most 7, as equal as can be
    seen = [step.images.sum(axis=(1, 2, 3)) for step in engine.steps]
    first, second = np.concatenate(seen[:5]), np.concatenate(seen[5:])
    assert sorted(first) == sorted(second) == sorted(data.pixels[split.train].sum(axis=(1, 2, 3)))
    assert list(first) != list(second)


def test_order_and_seeds_depend_on_the_seed_alone(data: DataSet, split: Split) -> None:
    engines = [WatchedEngine() for _ in range(3)]
    for engine, seed in zip(engines, [1, 1, 2], strict=True):
        run(engine, data, split, recipe(), seed=seed)
    orders = [[step.labels.tolist() for step in engine.steps] for engine in engines]
    seeds = [[step.seed for step in engine.steps] for engine in engines]
    assert orders[0] == orders[1] != orders[2]
    assert seeds[0] == seeds[1] != seeds[2]
    assert_same_weights(engines[0], engines[1])


def test_the_order_of_the_images_at_hand_does_not_depend_on_the_others(data: DataSet, split: Split) -> None:
    whole, half = WatchedEngine(), WatchedEngine()
    smaller = Split("holdout", split.train[::2], split.validation, split.test, hash="1" * 64)
    run(whole, data, split, recipe(batch_size=1, epochs=1))
    run(half, data, smaller, recipe(batch_size=1, epochs=1))
    kept = {int(image.sum()) for image in data.pixels[smaller.train]}
    order = [int(step.images.sum()) for step in whole.steps]
    assert [value for value in order if value in kept] == [int(step.images.sum()) for step in half.steps]


def test_resident_images_give_the_same_training_as_fetched_ones(data: DataSet, split: Split) -> None:
    fetched, resident = WatchedEngine(), WatchedEngine(resident_bytes=10**9)
    run(fetched, data, split, recipe())
    run(resident, data, split, recipe())
    assert_same_weights(fetched, resident)


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(
    data: DataSet, split: Split, tmp_path: Path, stop_after: int
) -> None:
    whole = run(WatchedEngine(), data, split, recipe())
    events: list[Any] = []
    checkpoints = Checkpoints(tmp_path / "run")
    with pytest.raises(RunFailure, match="Stopped after epoch") as stopped:
        run(
            WatchedEngine(), data, split, recipe(), checkpoints=checkpoints, report=events.append,
            should_stop=lambda: sum(event["event"] == "epoch" for event in events) == stop_after,
        )  # fmt: skip
    assert stopped.value.outcome is Outcome.INTERRUPTED
    resumed = run(WatchedEngine(), data, split, recipe(), checkpoints=checkpoints)
    assert resumed.resumed_from == stop_after
    np.testing.assert_array_equal(resumed.predictions.probabilities, whole.predictions.probabilities)
    assert [line.val_loss for line in resumed.history] == [line.val_loss for line in whole.history]


def test_only_the_last_and_the_best_checkpoint_stay(data: DataSet, split: Split, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "run")
    done = run(WatchedEngine(), data, split, recipe(), checkpoints=checkpoints)
    names = sorted(path.name for path in checkpoints.folder.iterdir())
    assert names == [f"best-{done.best_epoch}.safetensors", "last.safetensors"]


def test_a_short_run_writes_no_checkpoint_unless_it_is_stopped_or_its_end_is_kept(
    data: DataSet, split: Split, tmp_path: Path
) -> None:
    seldom = Checkpoints(tmp_path / "seldom", every_s=3600)
    whole = run(WatchedEngine(), data, split, recipe(), checkpoints=seldom)
    assert not seldom.folder.exists()
    with pytest.raises(RunFailure, match="Stopped after epoch 1"):
        run(WatchedEngine(), data, split, recipe(), checkpoints=seldom, should_stop=lambda: True)
    resumed = run(WatchedEngine(), data, split, recipe(), checkpoints=seldom)
    assert resumed.resumed_from == 1
    np.testing.assert_array_equal(resumed.predictions.probabilities, whole.predictions.probabilities)
    kept = Checkpoints(tmp_path / "kept", every_s=3600, keeps_end=True)
    done = run(WatchedEngine(), data, split, recipe(), checkpoints=kept)
    names = sorted(path.name for path in kept.folder.iterdir())
    assert names == [f"best-{done.best_epoch}.safetensors", "last.safetensors"]


def test_writing_checkpoints_takes_a_small_share_of_the_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    pace = Pace(Checkpoints(tmp_path, every_s=30))
    now[0] = 29
    assert not pace.is_due(at_end=False)
    now[0] = 31
    assert pace.is_due(at_end=False)
    assert not pace.is_due(at_end=True)  # a run that is done needs none
    with pace:
        now[0] = 36  # it took five seconds: the next is worth its time after twenty times as many
    now[0] = 36 + 99
    assert not pace.is_due(at_end=False)
    now[0] = 36 + 101
    assert pace.is_due(at_end=False)


def test_the_best_epoch_is_the_best_by_what_is_monitored(data: DataSet, split: Split) -> None:
    slowly = {"epochs": 6, "optimizer.learning_rate": 0.05}  # the two rules choose different epochs here
    by_loss = run(WatchedEngine(), data, split, recipe(**slowly))
    by_score = run(WatchedEngine(), data, split, recipe(**{**slowly, "early_stopping.monitor": "val_macro_f1"}))
    losses = [line.val_loss for line in by_loss.history]
    scores = [(line.val_macro_f1, -line.val_loss) for line in by_score.history]
    assert by_loss.best_epoch == int(np.argmin(losses)) + 1
    assert by_score.best_epoch == scores.index(max(scores)) + 1 != by_loss.best_epoch
    last = run(WatchedEngine(), data, split, recipe(**{**slowly, "early_stopping.restore_best": False}))
    assert last.best_epoch == 6 != min(by_loss.best_epoch, by_score.best_epoch)  # whose weights were judged


def test_a_cut_checkpoint_is_not_believed(data: DataSet, split: Split, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "run")
    run(WatchedEngine(), data, split, recipe(), checkpoints=checkpoints)
    last = checkpoints.folder / "last.safetensors"
    last.write_bytes(last.read_bytes()[:-40])
    assert run(WatchedEngine(), data, split, recipe(), checkpoints=checkpoints).resumed_from == 0


def test_early_stopping_waits_for_its_patience_and_restores_the_best_epoch(data: DataSet, split: Split) -> None:
    chosen = recipe(**{"epochs": 50, "optimizer.learning_rate": 8.0, "early_stopping.patience": 2})
    engine = WatchedEngine()
    done = run(engine, data, split, chosen)
    losses = [line.val_loss for line in done.history]
    assert len(losses) < 50
    assert done.best_epoch == int(np.argmin(losses)) + 1 == len(losses) - 2
    validation = done.predictions.part("validation")
    restored = -np.log(validation.probabilities[np.arange(30), validation.labels]).mean()
    assert restored == pytest.approx(min(losses), rel=1e-4)


def test_a_loss_that_is_not_a_number_ends_the_run(data: DataSet, split: Split) -> None:
    with pytest.raises(RunFailure, match=r"became nan in epoch 2.*--learning-rate") as failure:
        run(WatchedEngine(explode_at=6), data, split, recipe())
    assert failure.value.outcome is Outcome.DIVERGED


@pytest.mark.parametrize(("normalization", "total"), [("batch", 40 / 30), ("weights", 1.0)])
def test_class_weights_reach_the_loss(data: DataSet, split: Split, normalization: str, total: float) -> None:
    """Ten images of each class in a batch of 30: their weights add up to 40."""
    engine = WatchedEngine()
    weights = {"a": 2.0, "b": 1.0, "c": 1.0}
    changes = {"loss.class_weights": weights, "loss.class_weight_normalization": normalization, "batch_size": 30}
    run(engine, data, split, recipe(**changes))
    step = engine.steps[0]
    by_class = [step.loss_weights[step.labels == label][0] for label in range(3)]
    assert by_class[0] == pytest.approx(2 * by_class[1])
    assert step.loss_weights.sum() == pytest.approx(total)


def test_a_weight_for_an_unknown_class_is_named(data: DataSet, split: Split) -> None:
    with pytest.raises(RunFailure, match=r"'glioma', but the data has a, b, c") as failure:
        run(WatchedEngine(), data, split, recipe(**{"loss.class_weights": {"glioma": 2.0}}))
    assert failure.value.outcome is Outcome.BAD_DATA


def test_a_wrong_number_of_logits_is_an_error_that_says_so(data: DataSet, split: Split) -> None:
    with pytest.raises(RunFailure, match=r"shape \(30, 5\) for 30 images of 3 classes"):
        run(WatchedEngine(), data, split, recipe(), classes=5)


def test_short_training_is_never_compiled_for_speed(data: DataSet, split: Split) -> None:
    engine = WatchedEngine()
    done = run(engine, data, split, recipe(**{"execution.compile": "auto"}))
    assert engine.compiled == [False]
    assert "too short to repay compiling" in done.execution["compile"]


def test_measuring_whether_to_compile_leaves_no_trace(
    data: DataSet, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = run(WatchedEngine(), data, split, recipe())
    monkeypatch.setattr("benchmark.training.autotune.WORTH_ASKING_SECONDS", 0.0)
    engine = WatchedEngine()
    measured = run(engine, data, split, recipe(**{"execution.compile": "auto"}))
    assert engine.compiled[:2] == [False, True]
    assert "compiled after" in measured.execution["compile"]
    np.testing.assert_array_equal(measured.predictions.probabilities, plain.predictions.probabilities)


def test_training_images_alone_are_varied_anew_in_each_epoch(data: DataSet, split: Split) -> None:
    class Watching(WatchedEngine):
        def augment(self, images: Any, draws: Draws) -> Any:
            self.draws = [*getattr(self, "draws", []), draws]
            return 255 - images

    engine = Watching()
    run(engine, data, split, recipe(epochs=2, **{"augmentation.rotation": 0.1}))
    assert sum(len(step.labels) for step in engine.steps) == 2 * len(split.train)
    assert len(engine.draws) == len(engine.steps)
    seen = np.concatenate([step.images for step in engine.steps[: len(engine.steps) // 2]])
    assert sorted(seen.sum(axis=(1, 2, 3))) == sorted((255 - data.pixels[split.train]).sum(axis=(1, 2, 3)))
    affine = np.concatenate([drawn.affine for drawn in engine.draws if drawn.affine is not None])
    assert len(np.unique(affine, axis=0)) == 2 * len(split.train)


def test_the_layout_is_measured_where_training_is_long_and_left_where_it_is_short(
    data: DataSet, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = run(WatchedEngine(), data, split, recipe())
    short = WatchedEngine(free_layout=True)
    assert "too few" in run(short, data, split, recipe()).execution["channels_last"]
    assert short.layouts == []
    monkeypatch.setattr("benchmark.training.autotune.STEPS_WORTH_LAYOUT", 1)
    engine = WatchedEngine(free_layout=True)
    measured = run(engine, data, split, recipe())
    chosen = measured.execution["channels_last"]
    assert engine.layouts == [True, False, chosen.startswith("on")]
    assert "ms a step with it" in chosen
    np.testing.assert_array_equal(measured.predictions.probabilities, plain.predictions.probabilities)


def test_too_little_memory_is_an_outcome_or_smaller_parts(data: DataSet, split: Split, tmp_path: Path) -> None:
    chosen = recipe(batch_size=10)
    with pytest.raises(RunFailure) as failure:
        run(WatchedEngine(most_images=3), data, split, chosen)
    assert failure.value.outcome is Outcome.OOM
    whole = run(WatchedEngine(), data, split, chosen)
    events: list[Any] = []
    done = run(WatchedEngine(most_images=3), data, split, chosen, oom="accumulate", report=events.append)
    assert done.execution["batch"] == "10, computed in 4 parts of at most 3"
    assert whole.execution["batch"] == "10"
    assert done.batch_size == 3
    assert any("computed in 4 parts" in event.get("note", "") for event in events)
    np.testing.assert_allclose(done.predictions.probabilities, whole.predictions.probabilities, rtol=1e-5)
    with pytest.raises(RunFailure) as failure:
        run(WatchedEngine(most_images=0), data, split, chosen, oom="accumulate")
    assert failure.value.outcome is Outcome.OOM


def test_a_resumed_run_keeps_the_parts_that_memory_allowed(data: DataSet, split: Split, tmp_path: Path) -> None:
    chosen, checkpoints = recipe(batch_size=10), Checkpoints(tmp_path / "run")
    options: dict[str, Any] = {"checkpoints": checkpoints, "oom": "accumulate"}
    with pytest.raises(RunFailure, match="Stopped after epoch"):
        run(WatchedEngine(most_images=5), data, split, chosen, should_stop=lambda: True, **options)
    engine = WatchedEngine(most_images=5)
    assert run(engine, data, split, chosen, **options).resumed_from == 1
    assert {step.parts for step in engine.steps} == {2}


def tuned(**changes: Any) -> Recipe:
    return recipe(**{"tuning.learning_rates": (0.01, 0.5, 4.0, 99.0), **changes})


def test_tuning_keeps_the_rate_of_lowest_validation_loss_and_only_that_one_is_tested(
    data: DataSet, split: Split
) -> None:
    alone = {
        rate: run(WatchedEngine(), data, split, recipe(**{"optimizer.learning_rate": rate}))
        for rate in (0.01, 0.5, 4.0)
    }
    lowest = {rate: min(line.val_loss for line in done.history) for rate, done in alone.items()}
    best = min(lowest, key=lambda rate: lowest[rate])
    events: list[Any] = []
    done = run(WatchedEngine(explode_above=50.0), data, split, tuned(), report=events.append)
    assert [trial.learning_rate for trial in done.trials] == [0.01, 0.5, 4.0, 99.0]
    assert not any("that was tried" in str(event) for event in events) or best == 0.01
    assert [trial.learning_rate for trial in done.trials if trial.chosen] == [best]
    assert {trial.learning_rate: trial.val_loss for trial in done.trials} == {**lowest, 99.0: None}
    assert "became nan" in done.trials[3].reason
    assert all(trial.seconds > 0 and trial.epochs == 4 for trial in done.trials[:3])
    assert [line.val_loss for line in done.history] == [line.val_loss for line in alone[best].history]
    np.testing.assert_array_equal(done.predictions.probabilities, alone[best].predictions.probabilities)


def test_a_rate_at_an_end_of_the_grid_is_told(data: DataSet, split: Split) -> None:
    for rates, side in (((1e-7, 0.5), "the highest"), ((0.5, 0.1, 1e-7), "the highest"), ((0.5,), "")):
        events: list[Any] = []
        run(WatchedEngine(), data, split, tuned(**{"tuning.learning_rates": rates}), report=events.append)
        told = [event["note"] for event in events if "that was tried" in str(event)]
        assert told == ([f"The learning rate 0.5 is {side} that was tried."] if side else [])


@pytest.mark.parametrize("stop_after", [2, 5, 9])
def test_tuning_goes_on_as_if_it_had_not_been_stopped(
    data: DataSet, split: Split, tmp_path: Path, stop_after: int
) -> None:
    def engine() -> WatchedEngine:
        return WatchedEngine(explode_above=50.0)

    whole = run(engine(), data, split, tuned())
    events: list[Any] = []
    checkpoints = Checkpoints(tmp_path / "run")
    with pytest.raises(RunFailure, match="Stopped after epoch"):
        run(
            engine(), data, split, tuned(), checkpoints=checkpoints, report=events.append,
            should_stop=lambda: sum(event["event"] == "epoch" for event in events) >= stop_after,
        )  # fmt: skip
    second = engine()
    resumed = run(second, data, split, tuned(), checkpoints=checkpoints)
    assert len(second.steps) < 13 * 4  # 12 epochs of 4 steps in all, and one step that diverges
    np.testing.assert_array_equal(resumed.predictions.probabilities, whole.predictions.probabilities)
    same = {"seconds"}
    assert [t.model_dump(exclude=same) for t in resumed.trials] == [t.model_dump(exclude=same) for t in whole.trials]


def test_tuning_in_which_all_diverge_is_a_row_that_says_so(data: DataSet, split: Split) -> None:
    with pytest.raises(RunFailure, match="Every learning rate diverged") as failure:
        run(WatchedEngine(explode_above=0.0), data, split, tuned())
    assert failure.value.outcome is Outcome.DIVERGED
