"""What the controller makes of a worker's word."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from benchmark.execution.controller import Controller
from benchmark.execution.executors.base import Control, Ending, OnEvent
from benchmark.execution.planning.plan import make_plan
from benchmark.execution.worker.job import Job
from benchmark.records.outcomes import Outcome
from benchmark.records.store import RecordStore
from tests.execution.commands import GOOD, make_images, request_on
from tests.execution.samples import some_predictions


class Claimant:
    """An executor whose workers say that all went well, and store a result whose speed is ``speed``."""

    def __init__(self, out: Path, speed: float) -> None:
        self.out, self.speed = out, speed

    def execute(self, jobs: Iterable[Job], control: Control, on_event: OnEvent) -> Iterator[tuple[Job, Ending]]:
        for job in jobs:
            record = job.record(Outcome.OK, provenance={"attempt": "a1"})
            speeds = record.throughput.model_copy(update={"infer_images_per_s": self.speed})
            RecordStore(self.out).write(record.model_copy(update={"throughput": speeds}), some_predictions())
            yield job, Ending("a1", Outcome.OK, "", 1.0)


class Silent:
    """A watcher that shows nothing."""

    def __getattr__(self, name: str) -> object:
        return lambda *_: None


@pytest.mark.parametrize(("speed", "outcome"), [(80.0, Outcome.OK), (0.0, Outcome.ERROR)])
def test_a_result_that_cannot_be_used_is_never_recorded_as_ok(tmp_path: Path, speed: float, outcome: Outcome) -> None:
    request = request_on(make_images(tmp_path / "images"), tmp_path, GOOD)
    plan = make_plan(request)
    plan.images.save(plan.out)
    executor = Claimant(plan.out, speed)
    summary = Controller(plan, request, executor, Control(), Silent()).carry_out()  # type: ignore[arg-type]
    (run,) = summary.finished
    assert run.outcome is outcome
    expected = "What its worker stored can't be used: throughput.infer_images_per_s is 0.0."
    assert run.reason == ("" if outcome is Outcome.OK else expected)
