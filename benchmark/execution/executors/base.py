"""What every executor does: take jobs as it has room for them, pass on their events, say how each ended."""

import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

from benchmark.execution.worker.job import Job
from benchmark.records.outcomes import Outcome

WAIT_SECONDS = 0.5  # until a job is asked for again, where none can be done at present
OnEvent = Callable[[Job, Mapping[str, Any]], None]


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
        outcome, reason: what is recorded where the worker left no record of its own.
        seconds: the wall time from the start of the run to its end.
    """

    attempt: str
    outcome: Outcome
    reason: str
    seconds: float


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
