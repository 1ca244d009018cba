"""The common loop: the same code for every framework.

Epochs, order of images, schedule, early stopping, checkpoints, timing and the guard against NaN live here once;
an engine only computes. Every random draw is a function of (seed, epoch, step, image id), so that a run resumed
from a checkpoint goes on exactly as if it had never stopped.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.data.dataset import DataSet, Positions, Split
from benchmark.evaluation.scoring import confusion_matrix, macro_f1
from benchmark.outcomes import Outcome, RunFailure
from benchmark.recipe import Recipe
from benchmark.record import Epoch, Predictions, Timings
from benchmark.training.augmentation import Draws, draw_batch
from benchmark.training.checkpoints import Checkpoints, State
from benchmark.training.choices import resolve_compile
from benchmark.training.clock import Clock
from benchmark.training.engines.base import Engine, Handle, Network, StepInput
from benchmark.training.feed import Feed, near_equal_batches
from benchmark.training.randomness import epoch_order, image_numbers, step_seed
from benchmark.training.schedules import average_decay, factor

Report = Callable[[Mapping[str, Any]], None]

# The device is waited for about this often, to show progress and to look for NaN; often enough to see both, too
# rarely to cost anything.
_WINDOW_SECONDS = 0.5
_WARM_UP_STEPS = 3


@dataclass(frozen=True)
class Training:
    """What the loop leaves. ``train_images_per_s`` is the median over windows, with its interquartile range."""

    history: tuple[Epoch, ...]
    best_epoch: int
    timings: Timings
    predictions: Predictions
    train_images_per_s: float | None
    train_images_per_s_iqr: float | None
    resumed_from: int
    execution: Mapping[str, str]


@dataclass
class _Progress:
    """What the loop must know to go on after an epoch; kept in the header of the last checkpoint."""

    history: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = math.inf
    compile: str = ""
    seconds: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "history": [epoch.model_dump() for epoch in self.history],
            "best_epoch": self.best_epoch,
            "best_loss": self.best_loss,
            "compile": self.compile,
            "seconds": self.seconds,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "_Progress":
        return cls(**{**values, "history": [Epoch(**epoch) for epoch in values["history"]]})


def softmax(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the softmax over the last axis, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    exponentials = np.exp(shifted)
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def class_weights(recipe: Recipe, data: DataSet, train: Positions) -> npt.NDArray[np.float64]:
    """Return the loss weight of each class, shape (C,); ``balanced`` is N / (C * count), as scikit-learn's.

    Raises:
        RunFailure: ``bad_data`` where the recipe names a class that the data set does not have.
    """
    wanted = recipe.loss.class_weights
    if wanted == "none":
        return np.ones(len(data.class_names))
    if wanted == "balanced":
        counts = np.bincount(data.labels[train], minlength=len(data.class_names))
        return np.asarray(len(train) / (len(counts) * np.maximum(counts, 1)))
    unknown = sorted(set(wanted) - set(data.class_names))
    if unknown:
        known = ", ".join(data.class_names)
        raise RunFailure(Outcome.BAD_DATA, f"The recipe weights the class '{unknown[0]}', but the data has {known}.")
    return np.array([wanted.get(name, 1.0) for name in data.class_names])


class _Loop:
    """One training. Split into methods that read in the order in which they happen."""

    def __init__(
        self, engine: Engine, data: DataSet, split: Split, recipe: Recipe, seed: int, report: Report
    ) -> None:
        self.engine, self.data, self.split = engine, data, split
        self.recipe, self.seed, self.report = recipe, seed, report
        self.clock = Clock()
        self.numbers = image_numbers(data.image_ids[split.train])
        self.weights = class_weights(recipe, data, split.train)
        with self.clock("data"):
            self.feed = Feed(engine, data, np.concatenate([split.train, split.validation, split.test]))
        self.steps_per_epoch = len(near_equal_batches(split.train, recipe.batch_size))
        self.val_losses: list[float] = []  # of the epochs that are done, earlier tries' included
        self.speeds: list[float] = []
        self.first_steps: dict[int, float] = {}  # seconds of the first step of each batch size

    def step_inputs(self, epoch: int) -> Iterator[StepInput]:
        """Yield the steps of one epoch (from 1), images on the device."""
        batches = near_equal_batches(epoch_order(self.numbers, self.seed, epoch), self.recipe.batch_size)
        handles = self.feed.batches([self.split.train[batch] for batch in batches])
        for number, batch in enumerate(batches):
            with self.clock("data"):
                images = next(handles)
            if self.recipe.augmentation.active:
                with self.clock("compute"):
                    images = self.engine.augment(images, self.draws(batch, epoch))
            step = (epoch - 1) * self.steps_per_epoch + number
            labels = self.data.labels[self.split.train[batch]]
            weights = self.weights[labels]
            whole = weights.sum() if self.recipe.loss.class_weight_normalization == "weights" else len(labels)
            yield StepInput(
                images=images,
                labels=labels,
                loss_weights=(weights / whole).astype(np.float32),
                learning_rate=self.rate(step),
                step=step + 1,
                seed=step_seed(self.seed, step),
                parts=self.recipe.execution.accumulate,
                average_decay=average_decay(self.recipe.ema, step + 1),
            )

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, from 0."""
        recipe = self.recipe
        return recipe.optimizer.learning_rate * factor(
            recipe.schedule, step, self.steps_per_epoch, recipe.epochs, self.val_losses
        )

    def draws(self, batch: Positions, epoch: int) -> Draws:
        """Return how an epoch varies the training images at these places of ``split.train``."""
        return draw_batch(self.recipe.augmentation, self.numbers[batch], self.seed, epoch, self.data.size)

    def train_epoch(self, epoch: int) -> float:
        """Train one epoch; return the mean loss per image.

        Raises:
            RunFailure: ``diverged`` where the loss is not finite.
        """
        waiting: list[tuple[int, Handle]] = []
        total, seen, window_start = 0.0, 0, time.perf_counter()
        for number, step in enumerate(self.step_inputs(epoch), start=1):
            size = len(step.labels)
            new_size = size not in self.first_steps
            start = time.perf_counter()
            with self.clock("compute"):
                waiting.append((size, self.engine.train_step(step)))
                if new_size:
                    self.engine.synchronize()
            now = time.perf_counter()
            if new_size:
                self.first_steps[size] = now - start
            if now - window_start < _WINDOW_SECONDS and number < self.steps_per_epoch and not new_size:
                continue
            with self.clock("compute"):
                losses = self.engine.fetch([loss for _, loss in waiting])
            now = time.perf_counter()
            images = sum(size for size, _ in waiting)
            for place, loss in enumerate(losses, start=number - len(losses) + 1):
                if not np.isfinite(loss):
                    raise RunFailure(
                        Outcome.DIVERGED,
                        f"The training loss became {float(loss)} in epoch {epoch}, step {place}; "
                        "try a lower learning rate (--learning-rate).",
                    )
            total += sum(size * float(loss) for (size, _), loss in zip(waiting, losses, strict=True))
            seen += images
            speed = images / (now - window_start)
            if step.step > _WARM_UP_STEPS and not new_size:
                self.speeds.append(speed)
            waiting.clear()
            window_start = now
            self.report(
                {"event": "step", "epoch": epoch, "epochs": self.recipe.epochs, "step": number,
                 "steps": self.steps_per_epoch, "loss": total / seen, "images_per_s": speed}
            )  # fmt: skip
        return total / seen

    def predict(self, positions: Positions) -> npt.NDArray[np.float64]:
        """Return probabilities of shape (N, C) for images, in inference mode."""
        batches = near_equal_batches(positions, self.recipe.batch_size)
        logits: list[npt.NDArray[np.float32]] = []
        for images in self.feed.batches(batches):
            logits += self.engine.fetch([self.engine.forward(self.engine.normalize(images))])
        stacked = np.concatenate(logits)
        if stacked.shape != (len(positions), len(self.data.class_names)):
            raise RunFailure(
                Outcome.ERROR,
                f"The backbone gave logits of shape {stacked.shape} for {len(positions)} images of "
                f"{len(self.data.class_names)} classes.",
            )
        return softmax(stacked)

    def validate(self, epoch: int) -> tuple[float, float]:
        """Return mean cross-entropy (unweighted, in nats) and macro-F1 on the validation images."""
        with self.clock("validation"):
            labels = self.data.labels[self.split.validation]
            probabilities = self.predict(self.split.validation)
            if not np.isfinite(probabilities).all():
                raise RunFailure(
                    Outcome.DIVERGED, f"Predictions became NaN after epoch {epoch}; lower the learning rate."
                )
            chosen = probabilities[np.arange(len(labels)), labels]
            loss = float(-np.log(np.maximum(chosen, 1e-12)).mean())
            confusion = confusion_matrix(labels, probabilities.argmax(axis=1), len(self.data.class_names))
            return loss, float(macro_f1(confusion))


def train(
    engine: Engine,
    network: Network,
    data: DataSet,
    split: Split,
    recipe: Recipe,
    seed: int,
    *,
    report: Report,
    checkpoints: Checkpoints | None,
    should_stop: Callable[[], bool],
) -> Training:
    """Train, keep the best epoch, predict the validation and test images once.

    Args:
        engine: built for ``recipe``.
        network: what it built.
        data, split: images and which of them train, choose and judge.
        recipe: resolved.
        seed: of order and of what is random inside the network.
        report: gets progress as small mappings with an ``event``.
        checkpoints: where to keep state after each epoch, and to resume from; ``None`` keeps none.
        should_stop: asked after each epoch; ``True`` saves and ends the run.

    Raises:
        RunFailure: ``diverged`` where loss or predictions are not finite, ``interrupted`` where asked to stop.
    """
    loop = _Loop(engine, data, split, recipe, seed, report)
    clock = loop.clock
    progress, best = _resume(engine, checkpoints)
    resumed_from = len(progress.history)
    loop.val_losses = [line.val_loss for line in progress.history]
    if progress.compile:
        engine.set_compile(progress.compile.startswith("on"))
    else:
        with clock("choices"):
            report({"event": "phase", "phase": "choosing"})
            total = recipe.epochs * loop.steps_per_epoch
            progress.compile = resolve_compile(engine, recipe.execution.compile, total, lambda: loop.step_inputs(1))

    for epoch in range(resumed_from + 1, recipe.epochs + 1):
        if _patience_is_over(recipe, progress):
            break
        start = time.perf_counter()
        with clock("harness"):
            train_loss = loop.train_epoch(epoch)
            engine.assert_frozen()
            val_loss, val_f1 = loop.validate(epoch)
            line = Epoch(
                epoch=epoch,
                learning_rate=loop.rate(epoch * loop.steps_per_epoch - 1),
                train_loss=train_loss,
                val_loss=val_loss,
                val_macro_f1=val_f1,
                seconds=time.perf_counter() - start,
            )
            progress.history.append(line)
            loop.val_losses.append(val_loss)
            improved = val_loss < progress.best_loss
            if improved:
                progress.best_epoch, progress.best_loss = epoch, val_loss
            with clock("checkpoint"):
                if improved and recipe.early_stopping.restore_best:
                    best = engine.state(optimizer=False)
                    if checkpoints:
                        checkpoints.save_best(epoch, best)
                if checkpoints:
                    progress.seconds = dict(clock.seconds)
                    checkpoints.save_last(progress.as_json(), engine.state(optimizer=True))
        report({"event": "epoch", **line.model_dump(), "epochs": recipe.epochs})
        if should_stop() and epoch < recipe.epochs:
            raise RunFailure(
                Outcome.INTERRUPTED, f"Stopped after epoch {epoch}; the same command goes on from there."
            )

    if recipe.early_stopping.restore_best and best is not None and progress.best_epoch != len(progress.history):
        engine.load_state(best)
    report({"event": "phase", "phase": "testing"})
    with clock("evaluation"):
        predictions = _predictions(loop)
    speeds = np.array(loop.speeds)
    quartiles = np.percentile(speeds, [25, 50, 75]) if len(speeds) else None
    return Training(
        history=tuple(progress.history),
        best_epoch=progress.best_epoch,
        timings=_timings(loop),
        predictions=predictions,
        train_images_per_s=float(quartiles[1]) if quartiles is not None else None,
        train_images_per_s_iqr=float(quartiles[2] - quartiles[0]) if quartiles is not None else None,
        resumed_from=resumed_from,
        execution={**network.execution, "compile": progress.compile},
    )


def _resume(engine: Engine, checkpoints: Checkpoints | None) -> tuple[_Progress, State | None]:
    """Return the progress and best weights of an earlier try, its state loaded, or a fresh start."""
    found = checkpoints.load_last() if checkpoints else None
    if checkpoints is None or found is None:
        return _Progress(), None
    progress = _Progress.from_json(found[0])
    engine.load_state(found[1])
    return progress, checkpoints.load_best(progress.best_epoch)


def _patience_is_over(recipe: Recipe, progress: _Progress) -> bool:
    patience = recipe.early_stopping.patience
    return patience is not None and len(progress.history) - progress.best_epoch >= patience


def _predictions(loop: _Loop) -> Predictions:
    """Return probabilities for validation and test images."""
    positions = np.concatenate([loop.split.validation, loop.split.test])
    probabilities = np.concatenate([loop.predict(loop.split.validation), loop.predict(loop.split.test)])
    if not np.isfinite(probabilities).all():
        raise RunFailure(Outcome.DIVERGED, "Predictions on the test images are not finite; lower the learning rate.")
    parts = np.array(["validation"] * len(loop.split.validation) + ["test"] * len(loop.split.test))
    # where patients are unknown, copies of one image at least are not independent
    copies = np.char.add("copy-", loop.data.identical[positions].astype(np.str_))
    groups = loop.data.groups[positions] if loop.data.groups is not None else copies
    return Predictions(
        image_ids=loop.data.image_ids[positions],
        parts=parts,
        labels=loop.data.labels[positions],
        groups=groups,
        probabilities=probabilities.astype(np.float32),
    )


def _timings(loop: _Loop) -> Timings:
    """Return where the time went; the first step of each batch size pays for compilation or tracing."""
    seconds = loop.clock.seconds
    usual = 1 / float(np.median(loop.speeds)) if loop.speeds else 0.0
    first = sum(max(0.0, taken - usual * size) for size, taken in loop.first_steps.items()) if usual else 0.0
    return Timings(
        compile_s=first + seconds["choices"],
        compute_s=seconds["compute"] - first,
        data_s=seconds["data"],
        harness_s=seconds["harness"],
        validation_s=seconds["validation"],
        checkpoint_s=seconds["checkpoint"],
        evaluation_s=seconds["evaluation"],
    )
