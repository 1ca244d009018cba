"""The story of a run, the same for every framework: from a built engine to predictions of its test images.

:func:`train` lets the outputs of frozen stages be read where they can be kept, fits at the recipe's learning rate or
at each of several, and predicts once. :func:`fit` goes through the epochs until the last, or until patience is over.
What an epoch does is in :mod:`benchmark.training.epoch`. An engine only computes.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from benchmark.data.dataset import DataSet, Split
from benchmark.data.duplicates.groups import same_slice
from benchmark.engines.base import Engine, Network
from benchmark.recipe import EarlyStopping, Recipe
from benchmark.records.outcomes import Outcome, RunFailure
from benchmark.records.record import Epoch, Predictions, Timings, Trial
from benchmark.training.autotune import choose, measure_threads
from benchmark.training.checkpoints import Checkpoints, Fitted, Pace, Progress, State
from benchmark.training.epoch import Loop, Report
from benchmark.training.feature_cache import Caching, cached_features
from benchmark.training.learning_rate_search import search
from benchmark.training.threads import has_slowed
from benchmark.training.views import AXES


@dataclass(frozen=True)
class Training:
    """What a training leaves.

    Args:
        history: a line for each epoch.
        best_epoch: number of the epoch whose weights were judged, from 1: the best by what the recipe monitors, or
            the last, as the recipe says.
        timings: where the time went, in seconds.
        predictions: of the validation and test images.
        train_images_per_s, train_images_per_s_iqr: median and interquartile range over windows of some steps;
            ``None`` where the outputs of frozen stages were read.
        resumed_from: number of epochs that an earlier try had done.
        execution: the resolved choices, for the record.
        batch_size: number of images that the device saw at a time.
        trials: a line for each learning rate that was tried.
        feature_cache: what the record says of kept outputs of frozen stages.
    """

    history: tuple[Epoch, ...]
    best_epoch: int
    timings: Timings
    predictions: Predictions
    train_images_per_s: float | None
    train_images_per_s_iqr: float | None
    resumed_from: int
    execution: Mapping[str, str]
    batch_size: int
    trials: tuple[Trial, ...] = ()
    feature_cache: Mapping[str, Any] = field(default_factory=dict)


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
    oom: str = "fail",
    caching: Caching | None = None,
) -> Training:
    """Train, keep the epoch that the recipe asks for, predict the validation and test images once.

    Args:
        engine: built for ``recipe``.
        network: what it built.
        data, split: images and which of them train, choose and judge.
        recipe: resolved.
        seed: of order and of what is random inside the network.
        report: gets progress as small mappings with an ``event``.
        checkpoints: where to keep state between epochs, and to resume from; ``None`` keeps none.
        should_stop: asked after each epoch; ``True`` saves and ends the run.
        oom: ``fail``, or ``accumulate``: where memory is too small, the epoch is done again with each batch computed
            in twice as many parts.
        caching: where the outputs of frozen stages are kept; ``None`` keeps none. The result is the same.

    Raises:
        RunFailure: ``diverged`` where loss or predictions are not finite, ``interrupted`` where asked to stop,
            ``oom`` where memory is too small.
    """
    loop = Loop(engine, network, data, split, recipe, seed, report, should_stop, shrinks=oom == "accumulate")
    with cached_features(loop, caching) as feature_cache:
        if recipe.tuning.learning_rates:
            fitted, trials = search(loop, partial(fit, loop), checkpoints)
        else:
            fitted, trials = fit(loop, checkpoints), []
        report({"event": "phase", "phase": "testing"})
        with loop.clock("evaluation"):
            predictions = _predictions(loop)
    # steps that skip the frozen stages say nothing of how fast the network trains
    speeds = [] if feature_cache["cached"] else loop.speeds
    quartiles = np.percentile(speeds, [25, 50, 75]) if speeds else None
    progress = fitted.progress
    return Training(
        history=tuple(progress.history),
        best_epoch=fitted.final_epoch,
        timings=loop.timings(),
        predictions=predictions,
        train_images_per_s=None if quartiles is None else float(quartiles[1]),
        train_images_per_s_iqr=None if quartiles is None else float(quartiles[2] - quartiles[0]),
        resumed_from=fitted.resumed_from,
        execution={**network.execution, **progress.choices, "batch": loop.batch_in_words, **_views(recipe)},
        batch_size=loop.batch_size,
        trials=tuple(trials),
        feature_cache=feature_cache,
    )


def fit(loop: Loop, checkpoints: Checkpoints | None, choices: Mapping[str, str] | None = None) -> Fitted:
    """Train from the engine's state, or from where an earlier try has come to, exactly as if that had never stopped.

    Args:
        loop: of the training.
        checkpoints: where to keep state after each epoch, and to resume from; ``None`` keeps none.
        choices: those that are measured, where they are known already.

    Returns:
        How far it came. The engine has the weights of the best epoch where the recipe restores them, else the last's.
    """
    engine, stopping = loop.engine, loop.recipe.early_stopping
    progress, best = _resumed(engine, checkpoints)
    resumed_from = len(progress.history)
    pace = Pace(checkpoints)
    loop.val_losses = [line.val_loss for line in progress.history]
    loop.parts = max(loop.parts, progress.parts)
    progress.choices = progress.choices or dict(choices or {})
    with loop.clock("choices"):
        loop.within_memory(lambda: choose(loop, progress.choices))

    def save() -> None:
        if checkpoints and pace.saved < len(progress.history):
            progress.seconds = dict(loop.clock.seconds)
            with pace:
                checkpoints.save(progress, engine.state(optimizer=True), best)
            pace.saved = len(progress.history)

    for epoch in range(resumed_from + 1, loop.recipe.epochs + 1):
        if _patience_is_over(stopping, progress):
            break
        with loop.clock("harness"):
            line = _epoch(loop, epoch)
            progress.history.append(line)
            progress.parts = loop.parts
            with loop.clock("checkpoint"):
                if _is_better(stopping, line, progress):
                    progress.best_epoch = epoch
                    best = engine.state(optimizer=False) if stopping.restore_best else None
                at_end = epoch == loop.recipe.epochs or _patience_is_over(stopping, progress)
                if pace.is_due(at_end=at_end):
                    save()
        loop.report({"event": "epoch", **line.model_dump(), "epochs": loop.recipe.epochs})
        if has_slowed(progress.history[resumed_from:]) and epoch < loop.recipe.epochs:
            with loop.clock("choices"):
                measure_threads(loop, progress.choices)
        if loop.should_stop() and epoch < loop.recipe.epochs:
            save()
            raise RunFailure(Outcome.INTERRUPTED, f"Stopped after epoch {epoch}.")

    last = len(progress.history)
    if stopping.restore_best and best is not None and progress.best_epoch != last:
        engine.load_state(best)
        return Fitted(progress, progress.best_epoch, resumed_from)
    return Fitted(progress, last, resumed_from)


def _is_better(stopping: EarlyStopping, line: Epoch, progress: Progress) -> bool:
    """Return whether an epoch is better than the best before it, by what the recipe monitors."""
    if progress.best_epoch == 0:
        return True
    best = progress.history[progress.best_epoch - 1]
    if stopping.monitor == "val_macro_f1":
        return (line.val_macro_f1, -line.val_loss) > (best.val_macro_f1, -best.val_loss)
    return line.val_loss < best.val_loss


def _epoch(loop: Loop, epoch: int) -> Epoch:
    """Train and validate one epoch, anew in smaller parts where memory is too small; return its line."""
    start = time.perf_counter()

    def trained_and_validated() -> tuple[float, float, float]:
        train_loss = loop.train_epoch(epoch)
        loop.engine.assert_frozen()
        return train_loss, *loop.validate(epoch)

    train_loss, val_loss, val_f1 = loop.within_memory(trained_and_validated)
    learning_rate = loop.rate(epoch * loop.steps_per_epoch - 1)
    loop.val_losses.append(val_loss)
    return Epoch(
        epoch=epoch,
        learning_rate=learning_rate,
        train_loss=train_loss,
        val_loss=val_loss,
        val_macro_f1=val_f1,
        seconds=time.perf_counter() - start,
    )


def _resumed(engine: Engine, checkpoints: Checkpoints | None) -> tuple[Progress, State | None]:
    """Return the progress and best weights of an earlier try, its state loaded, or a fresh start."""
    last = checkpoints.load_last() if checkpoints else None
    if checkpoints is None or last is None:
        return Progress(), None
    progress, state = last
    if progress.diverged:
        raise RunFailure(Outcome.DIVERGED, progress.diverged)
    engine.load_state(state)
    return progress, checkpoints.load_best(progress.best_epoch)


def _patience_is_over(stopping: EarlyStopping, progress: Progress) -> bool:
    return stopping.patience is not None and len(progress.history) - progress.best_epoch >= stopping.patience


def _views(recipe: Recipe) -> dict[str, str]:
    """Return what the record says of several views of an image; nothing where there is one."""
    views = len(AXES[recipe.testing.flips])
    return {} if views == 1 else {"views": f"{views} (flips: {recipe.testing.flips})"}


def _predictions(loop: Loop) -> Predictions:
    """Return probabilities for validation and test images."""
    validation, test = loop.split.validation, loop.split.test
    positions = np.concatenate([validation, test])
    probabilities = np.concatenate([loop.predict_views(part) for part in (validation, test)])
    if not np.isfinite(probabilities).all():
        raise RunFailure(Outcome.DIVERGED, "Predictions on the test images are not finite; lower the learning rate.")
    if loop.data.groups is not None:
        groups = loop.data.groups[positions]
    else:  # where patients are unknown, images of one slice at least are not independent
        groups = np.char.add("slice-", same_slice(loop.data)[positions].astype(np.str_))
    return Predictions(
        image_ids=loop.data.image_ids[positions],
        parts=np.repeat(["validation", "test"], [len(validation), len(test)]),
        labels=loop.data.labels[positions],
        groups=groups,
        probabilities=probabilities.astype(np.float32),
    )
