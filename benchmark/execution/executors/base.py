"""What every executor does: take jobs as it has room for them, pass on their events, say how each ended."""

import math
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

from benchmark.execution.worker.job import Job
from benchmark.records.outcomes import Outcome

WAIT_SECONDS = 0.5  # until a job is asked for again, where none can be done at present
SETTLE_SECONDS = 5.0  # the file systems of clusters are slow to show what another machine wrote
OnEvent = Callable[[Job | None, Mapping[str, Any]], None]  # without a job: a note of the executor itself


class Stop(IntEnum):
    """How urgently the user wants the end."""

    NO = 0
    AFTER_EPOCH = 1  # finish the epoch and save
    NOW = 2


class Control:
    """What the executor must know while jobs go on: the user's wish to stop, as the signal handler sets it, and the
    keys of runs that are given up, because another command took them over.
    """

    def __init__(self) -> None:
        self._changed = threading.Event()
        self.stop = Stop.NO
        self.given_up: set[str] = set()

    def ask(self) -> Stop:
        """Raise the urgency by one step and return it."""
        self.stop = Stop(min(self.stop + 1, Stop.NOW))
        self._changed.set()
        return self.stop

    def finish(self) -> None:
        """Ask for the end after the epoch, where nothing was asked for yet."""
        if self.stop is Stop.NO:
            self.ask()

    def wait(self, seconds: float) -> None:
        """Wait, but no longer than until the user wants the end."""
        self._changed.wait(seconds)


@dataclass(frozen=True)
class Ending:
    """How a worker ended, as seen from outside.

    Args:
        attempt: unique; a stored record that names it was written by this worker.
        outcome, reason: what is recorded where the worker left no record of its own; the reason is empty where it
            says that it left one.
        seconds: the wall time from the start of the run to its end.
    """

    attempt: str
    outcome: Outcome
    reason: str
    seconds: float


class JobSource:
    """The jobs of an executor, taken one by one as there is room for them.

    Args:
        jobs: as :meth:`Executor.execute` is given them.
        control: the user's wish to stop, after which no job is taken.
    """

    def __init__(self, jobs: Iterable[Job | None], control: Control) -> None:
        self._jobs, self._control = iter(jobs), control
        self._more, self._asked_at = True, -math.inf

    def take(self) -> Job | None:
        """Return the next job, ``None`` where there is none at present: one is then asked for again after
        ``WAIT_SECONDS``.
        """
        if self.is_over or time.monotonic() - self._asked_at < WAIT_SECONDS:
            return None
        try:
            job = next(self._jobs)
        except StopIteration:
            self._more = False
            return None
        if job is None:
            self._asked_at = time.monotonic()
        return job

    def ask_again(self) -> None:
        """Ask for a job at once: a run has ended, which may be what others wait for."""
        self._asked_at = -math.inf

    @property
    def is_over(self) -> bool:
        """Whether no job comes any more."""
        return not self._more or self._control.stop is not Stop.NO


class Executor(Protocol):
    """Runs jobs in processes that are not this one."""

    def execute(
        self, jobs: Iterable[Job | None], control: Control, on_event: OnEvent
    ) -> Generator[tuple[Job, Ending], None, None]:
        """Yield each job when its worker has ended and nothing of it is left running.

        A job is taken from ``jobs`` only when there is room for it, because taking it claims it; ``None`` says that
        none can be done at present, and that one may be asked for again a little later. ``on_event`` is called, and
        jobs are taken, in the thread that iterates. After
        ``Stop.AFTER_EPOCH`` no more are taken; after ``Stop.NOW`` workers are ended at once, and so is that of a run
        that is given up.
        """
