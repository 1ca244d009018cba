"""The speeds of a run that is done, measured anew on a machine that is quiet now."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from backbones import Backbone
from benchmark.data.dataset import DataSet, Split
from benchmark.engines import Engine, Network
from benchmark.execution.worker.job import Job
from benchmark.measurement.throughput import measure
from benchmark.records.outcomes import Outcome, RunFailure
from benchmark.records.record import Record
from benchmark.records.run import Run
from benchmark.training.autotune import choose
from benchmark.training.epoch import Loop, Report

_TRAIN_SECONDS, _FEWEST_BATCHES = 3.0, 8  # of steps, for the training speed


def speed_of(
    backbone: Backbone, run: Run, num_classes: int, batch_size: int, execution: Mapping[str, str]
) -> tuple[object, ...]:
    """Return all of a run that decides how fast its network predicts; of choices, what was chosen and not why."""
    chosen = tuple((name, value.partition(" ")[0]) for name, value in sorted(execution.items()) if name != "batch")
    recipe = run.recipe
    network = backbone.name, backbone.source_hash, recipe.head.kind, recipe.head.pooling, recipe.preprocessing
    return *network, run.engine, run.device_kind, recipe.size, num_classes, batch_size, chosen


def measured_again(
    job: Job, earlier: Record, engine: Engine, network: Network, data: DataSet, split: Split, report: Report
) -> Record:
    """Return a run's record with speeds that are measured now; all else stays what the run left.

    Args:
        job: of the run.
        earlier: its record.
        engine, network: built for it. Its weights are of no account: a speed does not depend on their values.
        data, split: its images.
        report: is told what happens.

    Raises:
        RunFailure: the run was done on another device, whose speeds these are not; or the network does not run.
    """
    if earlier.device != job.device:
        raise RunFailure(
            Outcome.UNSUPPORTED,
            f"The run was done on {earlier.device}: its speeds can't be measured on {job.device}. Do the run here "
            "(--rerun), or measure there.",
        )
    before, facts = earlier.throughput, earlier.network
    if facts is None:  # of an ok run it is known
        raise RunFailure(Outcome.ERROR, "The run's record does not say how its network was run.")
    enough = max(_FEWEST_BATCHES * before.batch_size, int(_TRAIN_SECONDS * (before.train_images_per_s or 0.0)))
    some = split.train[np.unique(np.linspace(0, len(split.train) - 1, min(enough, len(split.train)), dtype=int))]
    loop = Loop(engine, network, data, replace(split, train=some), job.run.recipe, job.run.seed, report)
    chosen = {name: value.partition(" ")[0] for name, value in facts.execution.items()}
    choices = {name: chosen[name] for name in ("channels_last", "compile") if chosen.get(name) in ("on", "off")}
    choices = choices if "compile" in choices else {}
    choose(loop, choices)
    speeds: dict[str, float | None] = {"peak_memory_mb": before.peak_memory_mb}  # of the training: that was then
    if before.train_images_per_s is not None:
        loop.train_epoch(1)
        loop.speeds.clear()  # of the first steps, which trace
        loop.train_epoch(1)
        low, middle, high = np.percentile(loop.speeds or [np.nan], [25, 50, 75])
        if loop.speeds:
            speeds |= {"train_images_per_s": float(middle), "train_images_per_s_iqr": float(high - low)}
    again = measure(engine, data, split.test, before.batch_size, job.run.recipe.testing.flips, report=report)
    settings = earlier.settings and earlier.settings.model_copy(update={"workers": job.settings.workers})
    return earlier.model_copy(
        update={
            "settings": settings,  # says how much of the machine the speeds are of
            "throughput": again.model_copy(update=speeds),
            "network": facts.model_copy(update={"execution": {**facts.execution, **choices}}),
        }
    )
