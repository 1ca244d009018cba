"""One epoch after another: its steps, its images, its validation. The same code for every framework.

Every random draw is a function of (seed, epoch, step, image id), so that nothing has to be kept but a number.
"""

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from benchmark.data.dataset import DataSet, Positions, Split
from benchmark.draws.augmentation import Draws, draw_batch
from benchmark.draws.randomness import epoch_order, image_numbers, step_seed
from benchmark.engines.base import Engine, Handle, Network, StepInput
from benchmark.evaluation.metrics import confusion_matrix, macro_f1
from benchmark.recipe import Recipe
from benchmark.records.outcomes import Outcome, RunFailure
from benchmark.records.record import Timings
from benchmark.training.clock import Clock
from benchmark.training.prefetch import Feed, near_equal_batches
from benchmark.training.schedules import ema_decay, factor
from benchmark.training.views import AXES, averaged, mirrored

Report = Callable[[Mapping[str, Any]], None]
Features = npt.NDArray[Any]
_T = TypeVar("_T")

# The device is waited for about this often, to show progress and to look for NaN; often enough to see both, too
# rarely to cost anything.
_WINDOW_SECONDS = 0.5
_WARM_UP_STEPS = 3


def class_weights(recipe: Recipe, data: DataSet, train: Positions) -> npt.NDArray[np.float64]:
    """Return the loss weight of each class, shape (C,); ``balanced`` is N / (C * count), as scikit-learn's.

    Raises:
        RunFailure: ``bad_data`` where the recipe names a class that the data set does not have.
    """
    weights = recipe.loss.class_weights
    if weights == "none":
        return np.ones(len(data.class_names))
    if weights == "balanced":
        counts = np.bincount(data.labels[train], minlength=len(data.class_names))
        return np.asarray(len(train) / (len(counts) * np.maximum(counts, 1)))
    unknown = sorted(set(weights) - set(data.class_names))
    if unknown:
        names = ", ".join(data.class_names)
        raise RunFailure(Outcome.BAD_DATA, f"The recipe weights the class '{unknown[0]}', but the data has {names}.")
    return np.array([weights.get(name, 1.0) for name in data.class_names])


class Loop:
    """One training: its methods read in the order in which they happen in an epoch.

    Args:
        engine, network, data, split, recipe, seed, report, should_stop: see :func:`benchmark.training.train.train`.
        shrinks: whether batches are cut into more parts where memory is too small.
    """

    def __init__(
        self,
        engine: Engine,
        network: Network,
        data: DataSet,
        split: Split,
        recipe: Recipe,
        seed: int,
        report: Report,
        should_stop: Callable[[], bool] = lambda: False,
        *,
        shrinks: bool = False,
    ) -> None:
        self.engine, self.network, self.data, self.split = engine, network, data, split
        self.recipe, self.seed, self.report = recipe, seed, report
        self.should_stop, self.shrinks = should_stop, shrinks
        self.clock = Clock()
        self.numbers = image_numbers(data.image_ids[split.train])
        self.weights = class_weights(recipe, data, split.train)
        self.features: Features | None = None
        self._feed: Feed | None = None
        self.steps_per_epoch = len(near_equal_batches(split.train, recipe.batch_size))
        self.val_losses: list[float] = []  # of the epochs that are done, earlier tries' included
        self.speeds: list[float] = []
        self.first_steps: dict[int, float] = {}  # seconds of the first step of each batch size
        self.parts = recipe.execution.accumulate

    @property
    def batch_size(self) -> int:
        """How many images the device sees at a time: fewer than asked for, where its memory was too small."""
        reduced = self.parts > self.recipe.execution.accumulate
        return -(-self.recipe.batch_size // self.parts) if reduced else self.recipe.batch_size

    @property
    def batch_in_words(self) -> str:
        """How a batch is computed, for the record."""
        asked, parts = self.recipe.batch_size, self.parts
        return f"{asked}" if parts == 1 else f"{asked}, computed in {parts} parts of at most {-(-asked // parts)}"

    def within_memory(self, action: Callable[[], _T]) -> _T:
        """Return what an action gives; where memory is too small and that is allowed, do it anew in smaller parts.

        The engine is put back to where it was before the action.
        """
        before = self.engine.state(optimizer=True) if self.shrinks else None
        while True:
            try:
                return action()
            except RunFailure as failure:
                if before is None or failure.outcome is not Outcome.OOM or self.parts >= self.recipe.batch_size:
                    raise
            gc.collect()  # what was raised holds on to what the step had allocated
            self.parts = min(2 * self.parts, self.recipe.batch_size)
            self.first_steps.clear()
            self.engine.load_state(before)
            self.note(f"Out of memory: batch {self.batch_in_words} from here on.")

    def note(self, sentence: str) -> None:
        """Tell the user something."""
        self.report({"event": "note", "note": sentence})

    def read_features(self, features: Features | None) -> None:
        """Train and predict from kept outputs of frozen stages, shape (N, ...), or with ``None`` from pixels."""
        self.features, self._feed = features, None

    def feed(self) -> Feed:
        """Return what brings pixels, or features, to the device."""
        if self._feed is None:
            split, source = self.split, self.data.pixels if self.features is None else self.features
            with self.clock("data"):
                every = np.concatenate([split.train, split.validation, split.test])
                self._feed = Feed(self.engine, source, every)
        return self._feed

    def step_inputs(self, epoch: int) -> Iterator[StepInput]:
        """Yield the steps of one epoch (from 1), images on the device."""
        batches = near_equal_batches(epoch_order(self.numbers, self.seed, epoch), self.recipe.batch_size)
        handles = self.feed().batches([self.split.train[batch] for batch in batches])
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
                parts=self.parts,
                ema_decay=ema_decay(self.recipe.ema, step + 1),
                from_features=self.features is not None,
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

    def logits(self, batch: Handle) -> Handle:
        """Return logits of shape (B, C), in inference mode, for images or features that :meth:`feed` brought."""
        if self.features is not None:
            return self.engine.forward_from_features(batch)
        return self.engine.forward_images(batch)

    def predict(self, positions: Positions) -> npt.NDArray[np.float64]:
        """Return probabilities of shape (N, C) for images, in inference mode."""
        batches = near_equal_batches(positions, self.batch_size)
        logits: list[npt.NDArray[np.float32]] = []
        for batch in self.feed().batches(batches):
            logits += self.engine.fetch([self.logits(batch)])
        stacked = np.concatenate(logits)
        if stacked.shape != (len(positions), len(self.data.class_names)):
            raise RunFailure(
                Outcome.ERROR,
                f"The backbone gave logits of shape {stacked.shape} for {len(positions)} images of "
                f"{len(self.data.class_names)} classes.",
            )
        return np.asarray(softmax(stacked.astype(np.float64), axis=1))

    def predict_views(self, positions: Positions) -> npt.NDArray[np.float64]:
        """Return probabilities of shape (N, C), averaged over the views that the recipe tests an image by.

        Kept outputs of frozen stages are of the images as they are: mirror images go through the whole network.
        """
        flips, views = self.recipe.testing.flips, [self.predict(positions)]
        if flips == "none":
            return views[0]
        for number in range(len(AXES[flips]) - 1):
            logits = []
            for batch in near_equal_batches(positions, self.batch_size):
                view = mirrored(np.asarray(self.data.pixels[batch]), flips)[number]
                logits += self.engine.fetch([self.engine.forward_images(self.engine.upload(view))])
            views.append(np.asarray(softmax(np.concatenate(logits).astype(np.float64), axis=1)))
        return averaged(views)

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

    def timings(self) -> Timings:
        """Return where the time went; the first step of each batch size pays for compilation or tracing."""
        seconds = self.clock.seconds
        usual = 1 / float(np.median(self.speeds)) if self.speeds else 0.0
        first = sum(max(0.0, taken - usual * size) for size, taken in self.first_steps.items()) if usual else 0.0
        return Timings(
            prefix_s=seconds["features"],
            compile_s=first + seconds["choices"],
            compute_s=seconds["compute"] - first,
            data_s=seconds["data"],
            harness_s=seconds["harness"],
            validation_s=seconds["validation"],
            checkpoint_s=seconds["checkpoint"],
            evaluation_s=seconds["evaluation"],
        )
