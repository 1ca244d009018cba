"""The common loop: the same code for every framework, from a built engine to predictions.

Epochs, order of images, schedule, early stopping, checkpoints, timing and the guard against NaN live once, here and
in the modules that this one tells the story of; an engine only computes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from benchmark.data.dataset import DataSet, Split
from benchmark.data.duplicates.groups import same_slice
from benchmark.engines.base import Engine, Network
from benchmark.recipe import Recipe
from benchmark.records.outcomes import Outcome, RunFailure
from benchmark.records.record import Epoch, Predictions, Timings, Trial
from benchmark.training.checkpoints import Checkpoints
from benchmark.training.epoch import Loop, Report
from benchmark.training.feature_cache import Caching, use_cached_features
from benchmark.training.fit import batch_in_words, end_with_best, fit
from benchmark.training.learning_rate_search import tune


@dataclass(frozen=True)
class Training:
    """What the loop leaves. ``train_images_per_s`` is the median over windows, with its interquartile range; ``None``
    where the outputs of frozen stages were read, of which ``feature_cache`` tells.
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
        oom: ``fail``, or ``accumulate``: where memory is too small, the epoch is done again with each batch computed
            in twice as many parts.
        caching: where the outputs of frozen stages are kept; ``None`` keeps none. The result is the same.

    Raises:
        RunFailure: ``diverged`` where loss or predictions are not finite, ``interrupted`` where asked to stop,
            ``oom`` where memory is too small.
    """
    loop = Loop(engine, data, split, recipe, seed, report)
    shrink = oom == "accumulate"
    train_it = partial(fit, loop, network, should_stop, shrink)
    trials: list[Trial] = []
    with use_cached_features(loop, network, caching, should_stop, shrink) as feature_cache:
        if recipe.tuning.learning_rates:
            fitted, trials = tune(loop, train_it, checkpoints)
        else:
            fitted = train_it(checkpoints, {})
            end_with_best(loop, fitted)
        report({"event": "phase", "phase": "testing"})
        with loop.clock("evaluation"):
            predictions = _predictions(loop)
    progress = fitted.progress
    # steps that skip the frozen stages say nothing of how fast the network trains
    speeds = np.array([] if feature_cache["cached"] else loop.speeds)
    quartiles = np.percentile(speeds, [25, 50, 75]) if len(speeds) else None
    return Training(
        history=tuple(progress.history),
        best_epoch=progress.best_epoch,
        timings=_timings(loop),
        predictions=predictions,
        train_images_per_s=float(quartiles[1]) if quartiles is not None else None,
        train_images_per_s_iqr=float(quartiles[2] - quartiles[0]) if quartiles is not None else None,
        resumed_from=fitted.resumed_from,
        execution={**network.execution, **progress.choices, "batch": batch_in_words(loop)},
        batch_size=loop.batch_size,
        trials=tuple(trials),
        feature_cache=feature_cache,
    )


def _predictions(loop: Loop) -> Predictions:
    """Return probabilities for validation and test images."""
    positions = np.concatenate([loop.split.validation, loop.split.test])
    probabilities = np.concatenate([loop.predict(loop.split.validation), loop.predict(loop.split.test)])
    if not np.isfinite(probabilities).all():
        raise RunFailure(Outcome.DIVERGED, "Predictions on the test images are not finite; lower the learning rate.")
    parts = np.array(["validation"] * len(loop.split.validation) + ["test"] * len(loop.split.test))
    if loop.data.groups is not None:
        groups = loop.data.groups[positions]
    else:  # where patients are unknown, images of one slice at least are not independent
        groups = np.char.add("slice-", same_slice(loop.data)[positions].astype(np.str_))
    return Predictions(
        image_ids=loop.data.image_ids[positions],
        parts=parts,
        labels=loop.data.labels[positions],
        groups=groups,
        probabilities=probabilities.astype(np.float32),
    )


def _timings(loop: Loop) -> Timings:
    """Return where the time went; the first step of each batch size pays for compilation or tracing."""
    seconds = loop.clock.seconds
    usual = 1 / float(np.median(loop.speeds)) if loop.speeds else 0.0
    first = sum(max(0.0, taken - usual * size) for size, taken in loop.first_steps.items()) if usual else 0.0
    return Timings(
        prefix_s=seconds["prefix"],
        compile_s=first + seconds["choices"],
        compute_s=seconds["compute"] - first,
        data_s=seconds["data"],
        harness_s=seconds["harness"],
        validation_s=seconds["validation"],
        checkpoint_s=seconds["checkpoint"],
        evaluation_s=seconds["evaluation"],
    )
