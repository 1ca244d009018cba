"""What a run gives beside its scores: heat maps, and decisions of spoilt images. None of it may cost the scores."""

import contextlib
import sys
import time
import traceback
from dataclasses import dataclass
from typing import Any

from benchmark.data.dataset import DataSet, Split
from benchmark.engines import Engine, Network
from benchmark.execution.worker.channel import Channel
from benchmark.execution.worker.inputs import feature_store
from benchmark.execution.worker.job import Job
from benchmark.measurement.cam_sanity_check import check
from benchmark.measurement.corruptions import predict_corrupted
from benchmark.measurement.grad_cam import explain
from benchmark.records.corrupted import Corrupted, CorruptionFacts
from benchmark.records.outcomes import Outcome, RunFailure, outcome_of
from benchmark.records.record import CamFacts, Cams, Predictions


@dataclass(frozen=True)
class Trained:
    """A trained network and the images that it was trained and tested on.

    Args:
        engine: with the trained network.
        network: what was built.
        data, split: the images.
        predictions: of validation and test images.
        batch_size: images that the device sees at a time.
    """

    engine: Engine
    network: Network
    data: DataSet
    split: Split
    predictions: Predictions
    batch_size: int


def corrupted_decisions(job: Job, trained: Trained, channel: Channel, facts: dict[str, Any]) -> Corrupted | None:
    """Return what the network decides of spoilt test images, ``None`` where that was not asked for or can't be had.

    Args:
        facts: of the record; gets those of the spoilt images, or the reason why there are none.

    Raises:
        RunFailure: ``interrupted`` where the run must stop.
    """
    if not job.settings.corruptions:
        return None
    try:
        facts["corruption"], corrupted = predict_corrupted(
            trained.engine, trained.data, trained.split, job.settings.corruptions,
            resize=job.run.recipe.resize, flips=job.run.recipe.testing.flips, batch_size=trained.batch_size,
            store=feature_store(job), report=channel.report, should_stop=channel.should_stop,
        )  # fmt: skip
        return corrupted
    except Exception as error:
        if isinstance(error, RunFailure) and error.outcome is Outcome.INTERRUPTED:
            raise
        log_traceback()
        reason = f"The network could not read spoilt images: {outcome_of(error)[1]}"
        facts["corruption"] = CorruptionFacts(names=job.settings.corruptions, reason=reason)
        return None


def explained(
    job: Job, trained: Trained, channel: Channel, facts: dict[str, Any], seconds: dict[str, float]
) -> Cams | None:
    """Return Grad-CAM maps of test images; that there are none never costs the run its scores.

    The check of the maps, where it is asked for, spoils the network: nothing may be measured after it.

    Args:
        facts: of the record; gets those of the maps.
        seconds: of the record; gets how long it took.
    """
    settings, engine, data = job.settings, trained.engine, trained.data
    if settings.cams == 0:
        return None
    start, cams = time.perf_counter(), None
    try:
        cam_facts, cams = explain(
            engine, data, trained.split, trained.predictions,
            most=settings.cams, report=channel.report, method=settings.cam_method,
        )  # fmt: skip
        facts["cam"] = cam_facts
        if settings.cam_check and cams is not None:
            stages, method = trained.network.stages, settings.cam_method
            steps = check(engine, stages, data, cams, report=channel.report, method=method)
            facts["cam"] = cam_facts.model_copy(update={"randomized": steps})
    except Exception as error:
        log_traceback()
        if cams is None:
            facts["cam"] = CamFacts(reason=f"The network could not be explained: {outcome_of(error)[1]}")
    seconds["cam_s"] = time.perf_counter() - start
    return cams


def log_traceback() -> None:
    """Put what was raised into the log, unless the log's disk is full."""
    with contextlib.suppress(OSError):
        traceback.print_exc()
        sys.stderr.flush()
