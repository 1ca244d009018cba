"""A few steps of a run, timed (``python -m benchmark.execution.measure JOBFILE``): what a dry run asks of a worker.

Nothing is kept. Initial weights are drawn, whatever the run would start from: that does not change how long a step
takes.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from benchmark.execution.failures import outcome_of
from benchmark.execution.frameworks import OTHER_FRAMEWORK, shut_out_other_framework
from benchmark.execution.given import find_declared, load_images
from benchmark.execution.job import Job
from benchmark.execution.worker import log_traceback

# Enough steps for a median, and no more than a few seconds of them where they are slow.
_STEPS, _SECONDS = 8, 6.0


@dataclass(frozen=True)
class Pace:
    """How fast a network is, in seconds.

    Args:
        start: until the first step could begin: imports, building.
        first_step: the first step of training, which compiles or traces.
        step: one of those that follow, a median.
        inference: one image, in batches.
    """

    start: float
    first_step: float
    step: float
    inference: float


def measure(job: Job, begun: float) -> Pace:
    """Return the pace of a job's network on this machine.

    Args:
        job: its data and split are read, nothing is written.
        begun: when this process began, as :func:`time.perf_counter` tells it.

    Raises:
        RunFailure: as the run itself would.
    """
    from benchmark.training.engines import Assignment, create
    from benchmark.training.epochs import Loop
    from benchmark.training.feed import near_equal_batches

    run, execution = job.run, job.run.recipe.execution
    shut_out_other_framework(run.engine)
    backbone = find_declared(job)
    data, split = load_images(job)
    engine = create(run.engine, run.device_kind, tf32=execution.tf32, deterministic=execution.deterministic)
    engine.build(
        Assignment(
            backbone=backbone,
            recipe=run.recipe,
            num_classes=len(data.class_names),
            size=run.recipe.size,
            weights=None,
            seed=run.seed,
        )
    )
    loop = Loop(engine, data, split, run.recipe, run.seed, lambda _: None)
    start = time.perf_counter() - begun

    def training() -> Iterator[int]:
        for step in loop.step_inputs(1):
            engine.train_step(step)
            engine.synchronize()
            yield len(step.labels)

    def inference() -> Iterator[int]:
        batches = near_equal_batches(split.test, loop.batch_size)[: _STEPS + 1]
        for images, batch in zip(loop.feed().batches(batches), batches, strict=True):
            engine.fetch([engine.forward(engine.normalize(images))])
            yield len(batch)

    first, steps = _timed(training())
    once, batches = _timed(inference())
    per_image = [seconds / images for images, seconds in batches]
    return Pace(
        start=start,
        first_step=first[1],
        step=_median([seconds for _, seconds in steps]) if steps else first[1],
        inference=_median(per_image) if per_image else once[1] / once[0],
    )


def _timed(work: Iterator[int]) -> tuple[tuple[int, float], list[tuple[int, float]]]:
    """Return the images and seconds of the first piece of work, and of each of a few more."""
    found: list[tuple[int, float]] = []
    before = time.perf_counter()
    for images in islice(work, _STEPS + 1):
        now = time.perf_counter()
        found.append((images, now - before))
        if sum(seconds for _, seconds in found[1:]) > _SECONDS:
            break
        before = time.perf_counter()
    return found[0], found[1:]


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def main(arguments: list[str]) -> int:
    """Measure the job in a file and say so in one event; return 0 whatever came of it."""
    begun = time.perf_counter()
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a backbone prints goes to the log
    job = Job.model_validate_json(Path(arguments[0]).read_bytes())
    try:
        pace = measure(job, begun)
    except BaseException as error:  # SystemExit too: a backbone's code may raise anything
        log_traceback()
        outcome, reason = outcome_of(error, shut_out=OTHER_FRAMEWORK[job.run.engine])
        found: dict[str, Any] = {"event": "unmeasured", "outcome": outcome, "reason": reason}
    else:
        found = {"event": "measured", **asdict(pace)}
    print(json.dumps(found), file=events, flush=True)
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(code)  # a framework may crash while it is torn down
