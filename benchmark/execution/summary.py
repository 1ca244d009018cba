"""How runs ended: as it is told at once, and as it is held until all of a plan have."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from benchmark.execution.worker.job import Job
from benchmark.records.outcomes import Outcome
from benchmark.records.record import Record
from benchmark.text import last_lines

_LOG_LINES = 3  # of a failed run's log, in the summary


@dataclass(frozen=True)
class FinishedRun:
    """A run of the plan, at its end.

    Args:
        job: what was asked.
        record: how it ended.
        macro_f1: on the test images, ``None`` where it is not ``ok``.
        kept: whether it was done before, or by another command.
        stands: whether the run has an earlier result, which this failure leaves in place.
    """

    job: Job
    record: Record
    macro_f1: float | None
    kept: bool
    stands: bool = False


@dataclass(frozen=True, slots=True)
class EndedRun:
    """What is held of a run that has ended until all have: little, as a plan may have thousands of runs.

    Args:
        job: of the plan.
        outcome, reason: how it ended.
        seconds: what it took.
        macro_f1, kept, stands: as of :class:`FinishedRun`.
        fell_back: whether it began without the weights that were asked for.
        log_tail: the last lines of its log, made fit to be shown; none where all went well.
    """

    job: Job
    outcome: Outcome
    reason: str
    seconds: float
    macro_f1: float | None
    kept: bool
    stands: bool
    fell_back: bool
    log_tail: tuple[str, ...]

    @classmethod
    def of(cls, run: FinishedRun) -> "EndedRun":
        """Return what is held of a run."""
        record = run.record
        return cls(
            run.job, record.outcome, record.reason, record.timings.total_s, run.macro_f1, run.kept, run.stands,
            record.weights.fell_back, tuple(last_lines(record.provenance, _LOG_LINES)),
        )  # fmt: skip


@dataclass(frozen=True)
class Summary:
    """The end of a plan.

    Args:
        finished: the runs that have ended, in the order of the plan.
        planned: how many runs there were.
        problems: what went wrong beside the runs, one sentence each.
        interrupted: whether the user stopped it.
    """

    finished: tuple[EndedRun, ...]
    planned: int
    problems: tuple[str, ...]
    interrupted: bool

    @property
    def exit_code(self) -> int:
        """0 where all runs are ``ok``, 1 where some is not, 130 where the user stopped it."""
        if self.interrupted:
            return 130
        return int(bool(self.problems) or any(run.outcome is not Outcome.OK for run in self.finished))


class Watcher(Protocol):
    """Who is told what happens: the live display, plain lines, a test."""

    def kept(self, run: FinishedRun) -> None:
        """A run needs not be done."""

    def started(self, job: Job, number: int) -> None:
        """The run of this number in the plan (from 1) begins."""

    def event(self, job: Job, event: Mapping[str, Any]) -> None:
        """A worker reports."""

    def note(self, text: str) -> None:
        """The executor says something that is not of one run."""

    def ended(self, run: FinishedRun) -> None:
        """A run has ended."""

    def waiting(self, count: int, holders: str) -> None:
        """All that is left is being done by another command; ``holders`` says by whom."""

    def took_over(self, job: Job, holder: str) -> None:
        """The run was being done by a command that is gone, and is done here."""
