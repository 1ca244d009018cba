"""The controller: does a plan's runs through an executor and sees that each ends as a record.

It imports no framework. What is done is kept, what failed is tried again, and what another command on the same
results folder is doing is left to it.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from benchmark.evaluation.metrics import confusion_matrix, decide, macro_f1
from benchmark.execution.claims import Claims
from benchmark.execution.disk_reserve import Reserve
from benchmark.execution.executors.base import Control, Ending, Executor, Stop
from benchmark.execution.planning.request import Request
from benchmark.execution.progress_files import ProgressFiles, forget_progress
from benchmark.execution.summary import EndedRun, FinishedRun, Summary, Watcher
from benchmark.execution.worker.job import Job, Runs
from benchmark.records.outcomes import Outcome
from benchmark.records.record import Record, Timings
from benchmark.records.results_folder import CLAIMS
from benchmark.records.store import RecordStore, short

_LOOKED_AT_ONCE = 256  # runs that others are doing, before the executor may see to what else there is
_BEST_WITHIN = 0.05  # of the best macro-F1 so far: models of runs within it are held until the board is written


class Controller:
    """Carries out one plan.

    Args:
        plan: the runs.
        request: what the user asked; its fields ``rerun``, ``rerun_speeds`` and ``only_failed`` are read.
        executor: runs the jobs in processes of their own.
        control: the user's wish to stop.
        watcher: is told what happens.
        workers_claim: whether the executor's own processes claim each run before they do it, on whatever machine
            they are and however long it takes until they begin. A run's claim is then given back before the executor
            gets the run, and one that continues from another may be given with it.
        attempts_before: which attempt wrote the latest record of each run before any of them was begun, by key; by
            default what the store says now.
    """

    def __init__(
        self,
        plan: Runs,
        request: Request,
        executor: Executor,
        control: Control,
        watcher: Watcher,
        *,
        workers_claim: bool = False,
        attempts_before: Mapping[str, str | None] | None = None,
    ) -> None:
        self.plan, self.request, self.executor = plan, request, executor
        self.control, self.watcher, self.workers_claim = control, watcher, workers_claim
        self.store = RecordStore(plan.out)
        self.claims = Claims(plan.out, on_lost=control.given_up.add)
        self.reserve = Reserve(plan.out.joinpath(*CLAIMS))
        self.progress = ProgressFiles(plan.out)
        self.unfinished = self.store.unfinished()
        self.finished: dict[str, EndedRun] = {}
        self.problems: list[str] = []
        self.undecided = {job.key for job in plan.jobs}
        self.running: dict[str, tuple[int, Job]] = {}  # what the executor has, with its number in the plan
        self.again: list[tuple[int, Job]] = []  # what another command took over meanwhile
        self.attempts_before = attempts_before or {job.key: attempt_of(self.store, job.key) for job in plan.jobs}
        self.best = _BestRows(plan.jobs)
        self.jobs = {job.key: job for job in plan.jobs}

    def carry_out(self) -> Summary:
        """Do what is to be done; return how it ended. Failures become rows and never raise."""
        try:
            # closed whatever is raised here: no worker goes on without its claim
            with closing(self.executor.execute(self._jobs(), self.control, self._event)) as endings:
                for job, ending in endings:
                    try:
                        if job.key not in self.control.given_up:
                            self._settle(job, ending)
                    finally:
                        self.progress.ended(job)
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
        announced = again = False
        while numbered or self.running:
            with_others: list[tuple[int, Job]] = []
            looked_at = 0
            for number, job in numbered:
                if self.control.stop is not Stop.NO:
                    return
                waits = self._waits_for_parent(job)
                if not (waits and again) and self._keep(job):
                    continue
                if waits or not self.claims.take(job.key):
                    with_others.append((number, job))
                    looked_at += not waits
                    if looked_at == _LOOKED_AT_ONCE:
                        looked_at = 0
                        yield None
                    continue
                self.control.given_up.discard(job.key)
                gone = self.claims.taken_from(job.key)
                self._tidy_record(job, taken_over=gone is not None)
                if self._keep(job) or self._settle_without_worker(job):  # it may have been done before the claim
                    self.claims.release(job.key)
                    continue
                if gone is not None:
                    self.watcher.took_over(job, str(gone))
                if self.workers_claim:
                    forget_progress(self.plan.out, job.key)
                    self.claims.release(job.key)
                else:
                    self._prepare(job)
                    self.progress.started(job)
                self.watcher.started(job, number)
                self.running[job.key] = number, job
                speeds_only = self.request.rerun_speeds and self.store.done(job.key)
                update = {"keep_model_from": self.best.least(job), "speeds_only": speeds_only}
                yield job.model_copy(update=update)
            with_others += self.again
            self.again = []
            if len(with_others) >= len(numbered):
                held = [job for _, job in with_others if not self._waits_for_parent(job)]
                if held and not announced:
                    holders = dict.fromkeys(str(self.claims.holder(job.key) or "unknown") for job in held)
                    self.watcher.waiting(len(with_others), ", ".join(holders))
                    announced = True
                yield None
            numbered, again = with_others, True

    def _tidy_record(self, job: Job, *, taken_over: bool) -> None:
        """Remove what was left of writing a run's record. To look for it lists all records, so it is looked for only
        where it may be: it was there at the beginning, or someone has tried this run before.
        """
        if taken_over or short(job.key) in self.unfinished or self.store.last_try(job.key) is not None:
            self.store.tidy(job.key)

    def _waits_for_parent(self, job: Job) -> bool:
        """Return whether it is not known yet how a run ended from which this one continues."""
        parent = job.run.init_from
        return parent in self.undecided and not (self.workers_claim and parent in self.running)

    def _event(self, job: Job | None, event: Mapping[str, Any]) -> None:
        if job is None:
            self.watcher.note(str(event.get("note", "")))
            return
        self.progress.event(job, event)
        self.watcher.event(job, event)

    def _keep(self, job: Job) -> bool:
        """Return whether a run needs not be done, and keep its row where it has one."""
        needed, record = self._looked_up(job)
        if needed or self._gives_lost_weights(job):
            return False
        self.undecided.discard(job.key)
        if record is not None:
            run = self._finished(job, record, kept=True)
            self._note(run)
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
        tried_by_others = _attempt_in(last) != self.attempts_before[job.key]
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
        if job.run.init_from is None or job.run.init_from in self.running:
            return None
        parent = self.finished.get(job.run.init_from)
        if parent is not None and parent.outcome is Outcome.OK:
            return None
        how = "was not done" if parent is None else f"ended as {parent.outcome}"
        name = self.jobs[job.run.init_from].recipe_name
        return Outcome.MISSING_WEIGHTS, f"It continues from the weights of '{name}', which {how}."

    def _drop_weights_of_parent(self, job: Job) -> None:
        """Remove weights that all runs which continue from them have had."""
        parent = self.jobs.get(job.run.init_from or "")
        if parent is None or parent.key in self.undecided:
            return
        finished = [self.finished.get(child.key) for child in self.plan.followers(parent.key)]
        if all(run is not None and run.outcome is Outcome.OK for run in finished):
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

    def _note(self, run: FinishedRun) -> None:
        """Hold how a run ended; of what the plan has, its own."""
        job = self.jobs[run.job.key]
        self.finished[job.key] = EndedRun.of(replace(run, job=job))
        self.best.take(job, run.macro_f1)

    def _end(self, run: FinishedRun) -> None:
        self._note(run)
        self.undecided.discard(run.job.key)
        self.watcher.ended(run)
        if run.record.outcome is Outcome.OK:
            self._drop_weights_of_parent(run.job)

    def _finished(self, job: Job, record: Record, *, kept: bool) -> FinishedRun:
        """Return a run's row; of its scores only the macro-F1 that is shown: the board computes all of them."""
        if record.outcome is not Outcome.OK:
            return FinishedRun(job, record, None, kept, stands=self.store.done(job.key))
        predictions = self.store.predictions(record)
        if predictions is None:
            return FinishedRun(job, record, None, kept)
        test = predictions.part("test")
        confusion = confusion_matrix(test.labels, decide(test.probabilities), len(record.data.class_names))
        return FinishedRun(job, record, float(macro_f1(confusion)), kept)


class _BestRows:
    """The mean macro-F1 of the best row of each split, of those whose seeds are all done, as runs end.

    Args:
        jobs: of the plan; a row is a backbone with a recipe.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._rows: dict[tuple[str, str, str], dict[str, float | None]] = {}
        self._best: dict[str, float] = {}
        for job in jobs:
            self._rows.setdefault(self._row(job), {})[job.key] = None

    @staticmethod
    def _row(job: Job) -> tuple[str, str, str]:
        return job.run.split_hash, job.run.backbone, job.recipe_name

    def take(self, job: Job, macro_f1: float | None) -> None:
        """Take note of how a run ended."""
        row = self._rows[self._row(job)]
        row[job.key] = macro_f1
        scores = [value for value in row.values() if value]
        if len(scores) == len(row):
            split, mean = job.run.split_hash, sum(scores) / len(scores)
            self._best[split] = max(mean, self._best.get(split, mean))

    def least(self, job: Job) -> float:
        """Return the macro-F1 below which a run's model is not worth holding: the best mean on its split, less a
        margin, as rows are ranked by their means; 0 where no row is all done.
        """
        return self._best.get(job.run.split_hash, _BEST_WITHIN) - _BEST_WITHIN


def attempt_of(store: RecordStore, key: str) -> str | None:
    """Return which attempt wrote the latest record of a run, ``None`` where there is no record."""
    record = store.last_try(key)
    return None if record is None else _attempt_in(record)


def _attempt_in(record: Record) -> str:
    return str(record.provenance.get("attempt", ""))
