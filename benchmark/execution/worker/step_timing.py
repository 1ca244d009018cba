"""A few steps of a run, timed, for a dry run: ``python -m benchmark.execution.worker.step_timing``, with the job as
one line of JSON on its standard input.

Nothing is kept. Initial weights are drawn, whatever the run would start from: that does not change how long a step
takes.
"""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.child_process import message, send, take_standard_streams
from benchmark.data.dataset import DataSet, Split
from benchmark.engines import Engine, engine_entry
from benchmark.engines.freezing import NotCacheable
from benchmark.engines.one_framework import shut_out_other_framework
from benchmark.execution.worker.further_results import log_traceback
from benchmark.execution.worker.inputs import build_spec, find_declared, load_images, new_engine
from benchmark.execution.worker.job import Job
from benchmark.measurement.grad_cam import MOST_WITH_MASKS, MOST_WITHOUT_MASKS, cam_maps
from benchmark.measurement.throughput import expected_seconds
from benchmark.records.outcomes import outcome_of
from benchmark.training.epoch import Loop
from benchmark.training.prefetch import near_equal_batches

# Enough steps for a median, and no more than a few seconds of them where they are slow.
_STEPS, _SECONDS = 8, 6.0
_EXPLAINED = 16  # images of a batch of Grad-CAM


@dataclass(frozen=True)
class StepTimes:
    """How fast a network is, in seconds.

    Args:
        start: from the start of the process until the framework is imported.
        build: from there until the first step could begin.
        first_step: the first step of training, which compiles or traces.
        step: the median of the steps that follow.
        inference: the prediction of one image, in batches.
        rest: the prediction of one image, in batches, from cached features of the frozen stages; ``step`` is then a
            step from cached features too. ``None`` where no features are cached.
        speeds: the measurement of the network's speed.
        explaining: the computation of the run's Grad-CAM maps.
    """

    start: float
    build: float
    first_step: float
    step: float
    inference: float
    rest: float | None = None
    speeds: float = 0.0
    explaining: float = 0.0


def measure(job: Job, begun: float) -> StepTimes:
    """Return the pace of a job's network on this machine.

    Args:
        job: the run; its data and split are read, and nothing is written.
        begun: when this process began, in seconds of :func:`time.perf_counter`.

    Raises:
        RunFailure: the network can't be built or run, for the reason for which the run itself would fail.
    """
    run = job.run
    shut_out_other_framework(run.engine)
    backbone = find_declared(job)
    data, split = load_images(job)
    engine = new_engine(job)
    imported = time.perf_counter()
    network = engine.build(build_spec(job, backbone, len(data.class_names)))
    loop = Loop(engine, network, data, split, run.recipe, run.seed, lambda _: None)
    built = time.perf_counter()

    def training() -> Iterator[int]:
        for step in loop.step_inputs(1):
            engine.train_step(step)
            engine.synchronize()
            yield len(step.labels)

    def inference() -> Iterator[int]:
        batches = near_equal_batches(split.test, loop.batch_size)[: _STEPS + 1]
        for images, batch in zip(loop.feed().batches(batches), batches, strict=True):
            engine.fetch([loop.logits(images)])
            yield len(batch)

    def alone() -> Iterator[int]:
        for _ in range(_STEPS):
            engine.fetch([engine.forward_images(engine.upload(np.array(data.pixels[split.test[:1]])))])
            yield 1

    whole, one = _each(inference()), _each(alone())
    rows = _rows(engine, loop, job)
    loop.read_features(rows)
    first, steps = _timed(training())
    return StepTimes(
        start=imported - begun,
        build=built - imported,
        first_step=first[1],
        step=_median([seconds for _, seconds in steps]) if steps else first[1],
        inference=whole,
        rest=None if rows is None else _each(inference()),
        speeds=expected_seconds(loop.batch_size * whole, one),
        explaining=_explaining(engine, data, split, job),
    )


def _rows(engine: Engine, loop: Loop, job: Job) -> npt.NDArray[Any] | None:
    """Return rows in place of those of the frozen stages that would be kept, all alike; ``None`` where none would."""
    if loop.recipe.augmentation.active or job.settings.cache_budget == 0:
        return None
    try:
        engine.feature_spec()
    except NotCacheable:
        return None
    pixels = engine.upload(np.array(loop.data.pixels[:1]))
    row = engine.fetch([engine.compute_features(engine.normalize(pixels))])[0][0]
    return np.broadcast_to(row, (len(loop.data), *row.shape))


def _explaining(engine: Engine, data: DataSet, split: Split, job: Job) -> float:
    """Return how long Grad-CAM takes for the test images that are explained; 0 where the network has no maps."""
    most = job.settings.cams
    if most is None:
        most = MOST_WITHOUT_MASKS if data.masks is None else MOST_WITH_MASKS
    count = min(most, len(split.test))
    if not count:
        return 0.0
    some = split.test[: min(count, _EXPLAINED)]

    def explaining() -> Iterator[int]:
        for _ in range(2):  # the first looks for the stage, and traces
            cam_maps(engine, data, some, np.zeros(len(some), dtype=np.int64))
            yield len(some)

    try:
        first, others = _timed(explaining())
    except Exception:  # no feature map, or whatever a network raises: the run goes on without maps, too
        log_traceback()
        return 0.0
    each = _median([seconds / images for images, seconds in others]) if others else first[1] / first[0]
    return first[1] + (count - len(some)) * each


def _each(work: Iterator[int]) -> float:
    """Return the seconds of one image, by the pieces of work after the first where there are any."""
    once, others = _timed(work)
    per_image = [seconds / images for images, seconds in others]
    return _median(per_image) if per_image else once[1] / once[0]


def _timed(work: Iterator[int]) -> tuple[tuple[int, float], list[tuple[int, float]]]:
    """Return the images and seconds of the first piece of work, and of each of a few more."""
    pieces: list[tuple[int, float]] = []
    before = time.perf_counter()
    for images in islice(work, _STEPS + 1):
        now = time.perf_counter()
        pieces.append((images, now - before))
        if sum(seconds for _, seconds in pieces[1:]) > _SECONDS:
            break
        before = time.perf_counter()
    return pieces[0], pieces[1:]


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def main() -> int:
    """Measure the job that is asked for and say so in one event; return 0 whatever came of it."""
    begun = time.perf_counter()
    requests, events = take_standard_streams()
    job = Job.model_validate(message(requests.readline()) or {})
    try:
        pace = measure(job, begun)
    except BaseException as error:  # SystemExit too: a backbone's code may raise anything
        log_traceback()
        outcome, reason = outcome_of(error, shut_out=engine_entry(job.run.engine).excludes)
        event: dict[str, Any] = {"event": "unmeasured", "outcome": outcome, "reason": reason}
    else:
        event = {"event": "measured", **asdict(pace)}
    send(events, event)
    return 0


if __name__ == "__main__":
    code = main()
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(code)  # a framework may crash while it is torn down
