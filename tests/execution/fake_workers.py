"""An executor whose workers compute nothing: what a controller does for each run can be seen and timed by itself."""

import random
import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from benchmark.execution.executors.base import WAIT_SECONDS, Control, Ending, OnEvent, Stop
from benchmark.execution.planning.plan import Plan
from benchmark.execution.worker.job import Job
from benchmark.records.outcomes import Outcome
from benchmark.records.record import Epoch, Predictions
from benchmark.records.store import RecordStore
from tests.execution.samples import some_predictions
from tests.execution.test_job import a_job

_EVENTS = ({"event": "phase", "phase": "building"}, {"event": "epoch", "epoch": 1, "epochs": 1, "train_loss": 1.0})


@dataclass
class FakeWorkers:
    """Takes as many jobs as it has slots, and ends them in any order.

    Args:
        slots: how many runs go on at a time.
        epochs: of each record's history.
        predictions: of each record.
        fails: says of a job whether its worker dies without a record.
        on_job, on_ended: are told of each job that is taken, and how many runs have ended.
    """

    slots: int
    epochs: int = 1
    predictions: Predictions = field(default_factory=some_predictions)
    fails: Any = lambda job: False
    on_job: Any = lambda job: None
    most: int = 0  # runs that went on at a time
    controller_s: float = 0.0  # in which jobs were asked for and endings taken, by the clock
    controller_cpu_s: float = 0.0  # and of a processor
    ended: int = 0
    on_ended: Any = lambda ended: None

    def execute(
        self, jobs: Iterable[Job | None], control: Control, on_event: OnEvent
    ) -> Generator[tuple[Job, Ending], None, None]:
        """Do the jobs; see :class:`~benchmark.execution.executors.base.Executor`."""
        self.controller_s = self.controller_cpu_s = 0.0
        order, waiting, running = random.Random(0), iter(jobs), cast(list[Job], [])
        more = True
        while True:
            while more and len(running) < self.slots and control.stop is Stop.NO:
                began = self._clock()
                job = next(waiting, ...)
                self._took(began)
                if job is ...:
                    more = False
                elif job is None:
                    break
                else:
                    running.append(cast(Job, job))
                    self.on_job(job)
            self.most = max(self.most, len(running))
            if not running:
                if not more or control.stop is not Stop.NO:
                    return
                control.wait(WAIT_SECONDS)
                continue
            job = running.pop(order.randrange(len(running)))
            ending = self._ended(job)
            began = self._clock()
            for event in _EVENTS:
                on_event(job, event)
            yield job, ending
            self._took(began)
            self.ended += 1
            self.on_ended(self.ended)

    @staticmethod
    def _clock() -> tuple[float, float]:
        return time.perf_counter(), time.thread_time()

    def _took(self, began: tuple[float, float]) -> None:
        """Count what the controller took since then."""
        self.controller_s += time.perf_counter() - began[0]
        self.controller_cpu_s += time.thread_time() - began[1]

    def _ended(self, job: Job) -> Ending:
        attempt = f"a{job.run.seed}"
        if self.fails(job):
            return Ending(attempt, Outcome.CRASHED, "It was killed.", 1.0)
        epoch = Epoch(epoch=1, learning_rate=0.1, train_loss=1.0, val_loss=1.0, val_macro_f1=0.5, seconds=1.0)
        history = tuple(epoch.model_copy(update={"epoch": number + 1}) for number in range(self.epochs))
        record = job.record(Outcome.OK, provenance={"attempt": attempt}, history=history)
        RecordStore(job.out).write(record, self.predictions)
        return Ending(attempt, Outcome.OK, "", 1.0)


class Silent:
    """A watcher that shows nothing."""

    def __getattr__(self, name: str) -> object:
        return lambda *_: None


def a_plan(out: Path, count: int) -> Plan:
    """Return a plan of runs that differ by their seeds, five to a row."""
    rows = range((count + 4) // 5)
    jobs = [
        a_job(out, seed=seed, backbone=f"torch/tiny{row}") for row in rows for seed in range(5 * row, 5 * row + 5)
    ]
    return Plan(out, tuple(jobs[:count]), cast(Any, SimpleNamespace()))
