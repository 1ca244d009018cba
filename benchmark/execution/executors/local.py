"""The local executor: one worker process at a time on this machine, ended with all that it started.

Runs that can share a worker do, which imports its framework once; a run that does not end well takes its process
along.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from benchmark.execution.executors.base import Control, Ending, OnEvent, Stop
from benchmark.execution.executors.worker_process import Watch, WorkerProcess, bound, worker_key
from benchmark.execution.worker.job import Job
from benchmark.records.failures import outcome_of_exit
from benchmark.records.outcomes import Outcome

_POLL_SECONDS = 0.1
_LINGER_SECONDS = 20.0  # what a worker gets to leave after it has stored a record that is not ok
# What an earlier run of the same process may have to do with: such a run is done once more, in a process of its own.
_DOUBTFUL = (Outcome.ERROR, Outcome.CRASHED, Outcome.OOM)


class LocalExecutor:
    """Runs jobs one after another in worker processes of this machine.

    Args:
        timeout: the most seconds that one run may take, ``None`` for no limit.
    """

    def __init__(self, timeout: float | None = None) -> None:
        self._timeout = timeout
        self._worker: WorkerProcess | None = None

    def execute(self, jobs: Iterable[Job], control: Control, on_event: OnEvent) -> Iterator[tuple[Job, Ending]]:
        """Do the jobs one after another; see :class:`~benchmark.execution.executors.base.Executor`."""
        waiting = iter(jobs)
        try:
            while control.stop is Stop.NO:
                job = next(waiting, None)
                if job is None:
                    return
                yield job, self._run(job, control, on_event)
        finally:
            self._end_worker()

    def _run(self, job: Job, control: Control, on_event: OnEvent) -> Ending:
        """Do a run, in the worker of the run before where the two can share one."""
        used = self._worker is not None and self._worker.key == worker_key(job) and self._worker.is_clean()
        if not used:
            self._end_worker()
        ending = self._try(job, control, on_event)
        if used and ending.outcome in _DOUBTFUL and control.stop is Stop.NO:
            return self._try(job, control, on_event)
        return ending

    def _try(self, job: Job, control: Control, on_event: OnEvent) -> Ending:
        """Do a run in the process that there is, or in a new one."""
        start, kills_before = time.monotonic(), _oom_kills()
        try:
            worker = self._worker = self._worker or WorkerProcess(job)
            watch = worker.give(job, on_event)
        except OSError as error:
            self._end_worker()
            return Ending(uuid4().hex, Outcome.ERROR, f"The worker could not be started: {error}.", 0.0)
        verdict: tuple[Outcome, str] | None = None
        try:
            verdict = self._follow(worker, watch, control, start)
        finally:
            if not (verdict is None and watch.stored is Outcome.OK and worker.is_clean()):
                code = self._end_worker()
                watch.pass_on_rest()
            bound(job.log)
        if verdict is None and watch.stored is not None:
            verdict = watch.stored, ""
        if verdict is None:
            verdict = watch.unstored or outcome_of_exit(code, oom_killed=_oom_kills() > kills_before)
        return Ending(watch.attempt, *verdict, time.monotonic() - start)

    def _follow(
        self, worker: WorkerProcess, watch: Watch, control: Control, start: float
    ) -> tuple[Outcome, str] | None:
        """Pass on a run's events until it has ended, or must; return how it must be recorded where it must."""
        asked = Stop.NO
        while worker.process.poll() is None:
            watch.pass_on(_POLL_SECONDS)
            bound(watch.job.log)
            if watch.stored is Outcome.OK or watch.finished_for(_LINGER_SECONDS):
                return None
            if self._timeout is not None and time.monotonic() - start > self._timeout and not watch.finished:
                done = f"; {watch.epochs} epochs are saved and kept" if watch.epochs else ""
                return Outcome.TIMEOUT, f"It took longer than {self._timeout:g} s (--timeout){done}."
            if control.stop is Stop.NOW and not watch.finished:
                return Outcome.INTERRUPTED, "Stopped at once."
            if watch.job.key in control.given_up:
                return Outcome.INTERRUPTED, "Another command took this run over."
            if control.stop > asked:
                asked = control.stop
                worker.ask_to_stop()
                watch.say_stopping()
        return None

    def _end_worker(self) -> int:
        """End the process that there is; return its exit code."""
        worker, self._worker = self._worker, None
        return 0 if worker is None else worker.end()


def _oom_kills() -> int:
    """Return how many processes this machine's kernel has killed for want of memory; 0 where it doesn't say."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
