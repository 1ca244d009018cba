"""The controller: does a plan's runs through an executor and sees that each ends as a record.

It imports no framework. What is done is kept, what failed is tried again, and what another command on the same
results folder is doing is left to it.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

from benchmark.execution.claims import Claims
from benchmark.execution.disk_reserve import Reserve
from benchmark.execution.executors.base import Control, Ending, Executor, Stop
from benchmark.execution.planning.plan import Plan
from benchmark.execution.planning.request import Request
from benchmark.execution.worker.job import Job
from benchmark.records.outcomes import Outcome
from benchmark.records.record import Record, Timings
from benchmark.records.results_folder import CLAIMS
from benchmark.records.store import RecordStore

_BEST_WITHIN = 0.05  # of the best macro-F1 so far: models of runs within it are held until the board is written


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


@dataclass(frozen=True)
class Summary:
    """The end of a plan.

    Args:
        finished: the runs that have ended, in the order of the plan.
        planned: how many runs there were.
        problems: what went wrong beside the runs, one sentence each.
        interrupted: whether the user stopped it.
    """

    finished: tuple[FinishedRun, ...]
    planned: int
    problems: tuple[str, ...]
    interrupted: bool

    @property
    def exit_code(self) -> int:
        """0 where all runs are ``ok``, 1 where some is not, 130 where the user stopped it."""
        if self.interrupted:
            return 130
        return int(bool(self.problems) or any(run.record.outcome is not Outcome.OK for run in self.finished))


class Watcher(Protocol):
    """Who is told what happens: the live display, plain lines, a test."""

    def kept(self, run: FinishedRun) -> None:
        """A run needs not be done."""

    def started(self, job: Job, number: int) -> None:
        """The run of this number in the plan (from 1) begins."""

    def event(self, job: Job, event: Mapping[str, Any]) -> None:
        """A worker reports."""

    def ended(self, run: FinishedRun) -> None:
        """A run has ended."""

    def waiting(self, count: int, holders: str) -> None:
        """All that is left is being done by another command; ``holders`` says by whom."""

    def took_over(self, job: Job, holder: str) -> None:
        """The run was being done by a command that is gone, and is done here."""


class Controller:
    """Carries out one plan.

    Args:
        plan: the runs.
        request: what the user asked; its fields ``rerun``, ``rerun_speeds`` and ``only_failed`` are read.
        executor: runs the jobs in processes of their own.
        control: the user's wish to stop.
        watcher: is told what happens.
    """

    def __init__(self, plan: Plan, request: Request, executor: Executor, control: Control, watcher: Watcher) -> None:
        self.plan, self.request, self.executor = plan, request, executor
        self.control, self.watcher = control, watcher
        self.store = RecordStore(plan.out)
        self.claims = Claims(plan.out, on_lost=control.given_up.add)
        self.reserve = Reserve(plan.out.joinpath(*CLAIMS))
        self.finished: dict[str, FinishedRun] = {}
        self.problems: list[str] = []
        self.undecided = {job.key for job in plan.jobs}
        self.running: dict[str, tuple[int, Job]] = {}  # what the executor has, with its number in the plan
        self.again: list[tuple[int, Job]] = []  # what another command took over meanwhile
        self.attempts_before = {job.key: self._attempt(job) for job in plan.jobs}

    def carry_out(self) -> Summary:
        """Do what is to be done; return how it ended. Failures become rows and never raise."""
        try:
            # closed whatever is raised here: no worker goes on without its claim
            with closing(self.executor.execute(self._jobs(), self.control, self.watcher.event)) as endings:
                for job, ending in endings:
                    try:
                        if job.key not in self.control.given_up:
                            self._settle(job, ending)
                    finally:
                        self.claims.release(job.key)
                        numbered = self.running.pop(job.key)
                        if job.key in self.control.given_up:
                            self.again.append(numbered)
        finally:
            self.claims.close()
            self.reserve.give_back()
        finished = tuple(self.finished[job.key] for job in self.plan.jobs if job.key in self.finished)
        return Summary(finished, len(self.plan.jobs), tuple(self.problems), self.control.stop is not Stop.NO)

    def _jobs(self) -> Iterator[Job | None]:
        """Yield jobs to do, claimed. Those that another command is doing come last, if they still need doing; with
        them what continues from a run of which it is not known yet how it ends. ``None`` where there is nothing but
        these.
        """
        numbered = list(enumerate(self.plan.jobs, start=1))
        announced = False
        while numbered or self.running:
            with_others: list[tuple[int, Job]] = []
            for number, job in numbered:
                if self.control.stop is not Stop.NO:
                    return
                if self._keep(job):
                    continue
                if job.run.init_from in self.undecided or not self.claims.take(job.key):
                    with_others.append((number, job))
                    continue
                self.control.given_up.discard(job.key)
                self.store.tidy(job.key)
                if self._keep(job) or self._settle_without_worker(job):  # it may have been done before the claim
                    self.claims.release(job.key)
                    continue
                gone = self.claims.taken_from(job.key)
                if gone is not None:
                    self.watcher.took_over(job, str(gone))
                self._prepare(job)
                self.watcher.started(job, number)
                self.running[job.key] = number, job
                speeds_only = self.request.rerun_speeds and self.store.done(job.key)
                update = {"keep_model_from": self._least_of_a_best(job), "speeds_only": speeds_only}
                yield job.model_copy(update=update)
            with_others += self.again
            self.again = []
            if len(with_others) >= len(numbered):
                held = [job for _, job in with_others if job.run.init_from not in self.undecided]
                if held and not announced:
                    holders = dict.fromkeys(str(self.claims.holder(job.key) or "unknown") for job in held)
                    self.watcher.waiting(len(with_others), ", ".join(holders))
                    announced = True
                yield None
            numbered = with_others

    def _least_of_a_best(self, job: Job) -> float:
        """Return the macro-F1 below which a run's model is not worth holding: the mean of the best row whose seeds
        are all done, as rows are ranked by their means, less a margin; 0 before there is one.
        """
        rows: dict[tuple[str, str], list[float | None]] = {}
        for each in self.plan.jobs:
            if each.run.split_hash == job.run.split_hash:
                done = self.finished.get(each.key)
                row = rows.setdefault((each.run.backbone, each.recipe_name), [])
                row.append(None if done is None else done.macro_f1)
        means = [sum(row) / len(row) for row in rows.values() if all(row)]  # type: ignore[arg-type]
        return max(means, default=_BEST_WITHIN) - _BEST_WITHIN

    def _keep(self, job: Job) -> bool:
        """Return whether a run needs not be done, and keep its row where it has one."""
        needed, record = self._looked_up(job)
        if needed or self._gives_lost_weights(job):
            return False
        self.undecided.discard(job.key)
        if record is not None:
            run = self._finished(job, record, kept=True)
            self.finished[job.key] = run
            self.watcher.kept(run)
            self._drop_weights_of_parent(job)
        return True

    def _gives_lost_weights(self, job: Job) -> bool:
        """Return whether a run that is done must be done again, for one that continues from its weights."""
        if not job.keep_final or job.final_weights.is_file():
            return False
        return any(self._looked_up(child)[0] for child in self.plan.followers(job.key))

    def _looked_up(self, job: Job) -> tuple[bool, Record | None]:
        """Return whether a run needs to be done, and the record that stands where it need not."""
        record, last = self.store.read(job.key), self.store.last_try(job.key)
        if record is None or last is None:
            return not self.request.only_failed, None
        tried_by_others = self._attempt(job, last) != self.attempts_before[job.key]
        if tried_by_others:
            record, keep = last, last.outcome is not Outcome.INTERRUPTED
        elif record.outcome is Outcome.OK:
            # what ran without the weights that were asked for is done only for someone who allows that
            again = (
                self.request.rerun
                or self.request.rerun_speeds
                or (record.weights.fell_back and not job.settings.allow_scratch)
            )
            keep = not again and (last.outcome is Outcome.OK or not self.request.only_failed)
        else:
            keep = False
        return not keep, record if keep else None

    def _settle_without_worker(self, job: Job) -> bool:
        verdict = job.verdict or self._verdict_of_parent(job)
        if verdict is None:
            return False
        self._finish(job, job.record(*verdict))
        return True

    def _verdict_of_parent(self, job: Job) -> tuple[Outcome, str] | None:
        """Return how a run must end that continues from one which is not ok."""
        if job.run.init_from is None:
            return None
        parent = self.finished.get(job.run.init_from)
        if parent is not None and parent.record.outcome is Outcome.OK:
            return None
        how = "was not done" if parent is None else f"ended as {parent.record.outcome}"
        name = next(each.recipe_name for each in self.plan.jobs if each.key == job.run.init_from)
        return Outcome.MISSING_WEIGHTS, f"It continues from the weights of '{name}', which {how}."

    def _drop_weights_of_parent(self, job: Job) -> None:
        """Remove weights that all runs which continue from them have had."""
        for parent in self.plan.jobs:
            if parent.key != job.run.init_from or parent.key in self.undecided:
                continue
            finished = [self.finished.get(child.key) for child in self.plan.followers(parent.key)]
            if all(run is not None and run.record.outcome is Outcome.OK for run in finished):
                shutil.rmtree(parent.work, ignore_errors=True)

    def _prepare(self, job: Job) -> None:
        """Make room for a worker; forget the checkpoints of a run that is done, so that it starts anew. One whose
        latest try failed goes on from its last epoch.
        """
        self.reserve.keep()
        last = self.store.last_try(job.key)
        if last is not None and last.outcome is Outcome.OK:
            shutil.rmtree(job.work / "checkpoints", ignore_errors=True)

    def _settle(self, job: Job, ending: Ending) -> None:
        """Take the worker's record, or write the one that it left unwritten."""
        record = self.store.last_try(job.key)
        if record is not None and record.provenance.get("attempt") == ending.attempt:
            if record.outcome is Outcome.OK:
                self._tidy(job)
            self._end(self._finished(job, record, kept=False))
            return
        provenance = {"command": job.command, "attempt": ending.attempt, "log_tail": job.log_tail()}
        timings = Timings(total_s=ending.seconds)
        outcome, reason = ending.outcome, ending.reason
        if outcome is Outcome.OK:  # it says that it stored a result, and there is none that can be used
            outcome = Outcome.ERROR
            why = self.store.problem(job.key) or "it is of another attempt"
            reason = f"What its worker stored can't be used: {why}."
        self._finish(job, job.record(outcome, reason, provenance=provenance, timings=timings))

    def _tidy(self, job: Job) -> None:
        """Remove what a run needed until it was done, but weights from which others continue."""
        if job.keep_final:
            shutil.rmtree(job.work / "checkpoints", ignore_errors=True)
        else:
            shutil.rmtree(job.work, ignore_errors=True)

    def _finish(self, job: Job, record: Record) -> None:
        try:
            try:
                self.store.write(record)
            except OSError:
                self.reserve.give_back()
                self.store.write(record)
        except OSError as error:
            self.problems.append(
                f"The row of {job.run.backbone} can't be stored ({error.strerror or error}); it is only shown here."
            )
        self._end(self._finished(job, record, kept=False))

    def _end(self, run: FinishedRun) -> None:
        self.finished[run.job.key] = run
        self.undecided.discard(run.job.key)
        self.watcher.ended(run)
        if run.record.outcome is Outcome.OK:
            self._drop_weights_of_parent(run.job)

    def _finished(self, job: Job, record: Record, *, kept: bool) -> FinishedRun:
        """Return a run's row; of its scores only the macro-F1 that is shown: the board computes all of them."""
        from benchmark.evaluation.metrics import confusion_matrix, decide, macro_f1

        if record.outcome is not Outcome.OK:
            return FinishedRun(job, record, None, kept, stands=self.store.done(job.key))
        predictions = self.store.predictions(record)
        if predictions is None:
            return FinishedRun(job, record, None, kept)
        test = predictions.part("test")
        confusion = confusion_matrix(test.labels, decide(test.probabilities), len(record.data.class_names))
        return FinishedRun(job, record, float(macro_f1(confusion)), kept)

    def _attempt(self, job: Job, record: Record | None = None) -> str | None:
        """Return which attempt wrote a record, by default the latest of the run."""
        record = record or self.store.last_try(job.key)
        return None if record is None else str(record.provenance.get("attempt", ""))
