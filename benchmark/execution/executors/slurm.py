"""The Slurm executor: runs are submitted as jobs of its queue, which claim and do them by themselves.

Runs that can share a worker go in one job (:mod:`~benchmark.execution.executors.slurm_element`). The command only
watches: it may leave, be killed, and be given again, and then waits for the jobs that are there already.
"""

import math
import shutil
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmark.data.preparation.cache import cache_root
from benchmark.errors import UserError
from benchmark.execution.controller import attempt_of
from benchmark.execution.executors.base import SETTLE_SECONDS, Control, Ending, JobSource, OnEvent, Stop
from benchmark.execution.executors.node import installation
from benchmark.execution.executors.slurm_element import DONE_BEFORE, ElementJobs
from benchmark.execution.executors.slurm_jobs import (
    QueuedJob,
    ancestors,
    forget,
    new_submission,
    shares,
    submitted_jobs,
    write_list,
)
from benchmark.execution.executors.slurm_queue import GONE, Queue, SlurmQueue, is_over
from benchmark.execution.planning.plan import Plan
from benchmark.execution.planning.request import Request
from benchmark.execution.progress_files import forget_progress, read_progress
from benchmark.execution.worker.job import Job
from benchmark.records.outcomes import Outcome
from benchmark.records.results_folder import FAILED, RECORDS
from benchmark.records.store import RecordStore, short

_LOOK_SECONDS = 1.0  # between two looks at the results folder
_ASK_SECONDS = (2.0, 30.0)  # between two questions to the queue: at first, and after a while
_KILL_SECONDS = 60.0  # for jobs to end that were cancelled
_LOST = {
    "CANCELLED": Outcome.INTERRUPTED,
    "DEADLINE": Outcome.TIMEOUT,
    "OUT_OF_MEMORY": Outcome.OOM,
    "PREEMPTED": Outcome.INTERRUPTED,
    "TIMEOUT": Outcome.TIMEOUT,
}  # how a run is recorded that was under way when Slurm ended its job; else as crashed
_NOTHING_SAVED = (
    "Slurm ended its job several times in a row before an epoch was done, and it was not put into the queue again: "
    "give a longer time_limit, and a save_time in which an epoch fits."
)
_SHARED = (
    "the results folder and the cache (TUMORBOARD_CACHE) must be on a file system that all machines of the cluster "
    "share"
)


def slurm_executor(plan: Plan, request: Request) -> "SlurmExecutor":
    """Return the executor of a plan's runs on the Slurm cluster that this machine belongs to.

    Raises:
        UserError: this machine has no Slurm, or the folders can't be shared.
    """
    missing = [command for command in ("sbatch", "srun", "squeue", "scancel") if shutil.which(command) is None]
    if missing:
        raise UserError(
            f"--executor slurm: the command {missing[0]} is not found here; start from a machine that submits jobs "
            "to Slurm."
        )
    cluster = request.cluster
    limit = cluster.time_limit
    if limit is not None and cluster.save_time >= limit:
        raise UserError(
            f"save_time ({cluster.save_time:g} s) must be less than time_limit ({limit:g} s): give a longer limit."
        )
    queue = SlurmQueue()
    in_memory = [place for place in (plan.out, cache_root()) if _is_in_memory(place)]
    if in_memory and queue.has_other_machines():
        raise UserError(f"'{in_memory[0]}' lies in this machine's memory, and jobs run on others too: {_SHARED}.")
    return SlurmExecutor(plan, request, queue)


def _is_in_memory(place: Path) -> bool:
    """Return whether a path lies on a file system of this machine's memory, which no other machine sees."""
    mounts = {Path(mount.mountpoint): mount.fstype for mount in psutil.disk_partitions(all=True)}
    resolved = place.resolve()
    on = next((folder for folder in (resolved, *resolved.parents) if folder in mounts), None)
    return on is not None and mounts[on] in ("tmpfs", "ramfs", "devtmpfs")


@dataclass
class _Watched:
    """A run that this command waits for.

    Args:
        job: the run.
        queued: what does it.
        seen: of its records in the results folder, so that they are read only when they change.
        last_event: what its worker told last.
    """

    job: Job
    queued: QueuedJob
    seen: tuple[int, ...] = ()
    last_event: Mapping[str, object] = field(default_factory=dict)


class SlurmExecutor:
    """Submits runs, and waits for their records.

    Args:
        plan: of the runs.
        request: what the user asked.
        queue: where jobs are submitted.
        settle_seconds: after a job's end, until what it wrote is seen here.
    """

    def __init__(self, plan: Plan, request: Request, queue: Queue, settle_seconds: float = SETTLE_SECONDS) -> None:
        self._plan, self._request, self._queue, self._settle_s = plan, request, queue, settle_seconds
        self._store = RecordStore(plan.out)
        self._live: dict[str, QueuedJob] = {}  # jobs that have not ended, by their ids
        self._states: Mapping[str, str] = {}
        self._ended_at: dict[str, float] = {}  # when the queue first said so of a job, without saying otherwise since
        self._began, self._asked_at = time.monotonic(), -math.inf
        self._watched: dict[str, _Watched] = {}
        self._passed_on = Stop.NO
        self._stopped_at = math.inf

    def execute(
        self, jobs: Iterable[Job | None], control: Control, on_event: OnEvent
    ) -> Generator[tuple[Job, Ending], None, None]:
        """Do the jobs; see :class:`~benchmark.execution.executors.base.Executor`. All that can be done at present is
        taken at once. With ``--detach`` it returns when that is submitted.

        Raises:
            UserError: Slurm does not take the jobs.
        """
        self._find_earlier()
        source = JobSource(jobs, control)
        while True:
            self._place(list(iter(source.take, None)))
            if self._request.detach and control.stop is Stop.NO:
                return
            if control.stop is not Stop.NO:
                self._pass_on(control.stop, on_event)
                if not self._live or time.monotonic() - self._stopped_at > _KILL_SECONDS:
                    yield from self._endings(on_event)
                    return
            elif source.is_over and not self._watched:
                return
            self._ask()
            yield from self._endings(on_event)
            if control.stop is Stop.NO:
                control.wait(_LOOK_SECONDS)
            else:
                time.sleep(_LOOK_SECONDS / 2)

    # --- into the queue ---

    def _find_earlier(self) -> None:
        """Take note of the jobs that earlier commands submitted for this folder and that have not ended."""
        earlier = submitted_jobs(self._plan.out)
        states = self._queue.states([job.id for job in earlier]) if earlier else {}
        if states is None:
            raise UserError("The queue can't be asked (squeue): mend that, and give the same command again.")
        ended = [job for job in earlier if is_over(states[job.id])]
        forget(earlier, ended)
        self._live = {job.id: job for job in earlier if job not in ended}
        self._states = states

    def _place(self, jobs: Sequence[Job]) -> None:
        """Let each run be done by a job that is in the queue already, else by a new one."""
        new = []
        for job in jobs:
            queued = next((each for each in self._live.values() if self._will_do(each, job)), None)
            if queued is None:
                new.append(job)
            else:
                self._watch(job, queued)
        if new:
            self._submit(new)

    def _will_do(self, queued: QueuedJob, job: Job) -> bool:
        """Return whether a job of the queue has a run before it."""
        if job.key not in queued.work.to_do or queued.is_stopped:
            return False
        last = self._store.last_try(job.key)
        untried = queued.work.attempts_before.get(job.key) == attempt_of(self._store, job.key)
        return untried or (last is not None and last.outcome is Outcome.INTERRUPTED)

    def _submit(self, jobs: Sequence[Job]) -> None:
        cluster, request = self._request.cluster, self._request
        folder = new_submission(self._plan.out)
        files = []
        for number, share in enumerate(shares(jobs, cluster.at_once)):
            before = ancestors(share, self._plan.jobs)
            work = ElementJobs(
                jobs=(*before, *share), rerun=request.rerun,
                only_failed=request.only_failed, timeout=request.timeout,
                attempts_before={job.key: DONE_BEFORE for job in before}
                | {job.key: attempt_of(self._store, job.key) for job in share},
                save_seconds=cluster.save_time, cpus=cluster.cpus, installation=installation(),
            )  # fmt: skip
            work.write(folder / f"{number}.json")
            files.append(folder / f"{number}.json")
        gpus = cluster.gpus
        if gpus is None:
            gpus = int(any(job.run.device_kind == "cuda" for job in jobs))
        try:
            ids = self._queue.submit(folder, files, cluster, gpus)
            write_list(folder, files, ids)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._began = time.monotonic()
        by_key = {job.key: job for job in jobs}
        for file, each in zip(files, ids, strict=True):
            queued = QueuedJob(each, file, ElementJobs.read(file), time.time())
            self._live[each] = queued
            for key in queued.work.to_do:
                self._watch(by_key[key], queued)

    def _watch(self, job: Job, queued: QueuedJob) -> None:
        self._watched[job.key] = _Watched(job, queued)

    def _pass_on(self, stop: Stop, on_event: OnEvent) -> None:
        """Let the jobs end that have a run of this plan: the waiting ones are cancelled; the others save after their
        epoch, or are cancelled too.
        """
        if stop <= self._passed_on:
            return
        self._passed_on, self._stopped_at = stop, time.monotonic() if stop is Stop.NOW else math.inf
        keys = {job.key for job in self._plan.jobs}
        mine = [queued for queued in self._live.values() if keys & queued.jobs.keys()]
        for queued in mine:
            queued.stop(now=stop is Stop.NOW)
        self._queue.cancel([queued.id for queued in mine], waiting_only=stop is not Stop.NOW)
        for watched in self._watched.values():
            if self._states.get(watched.queued.id) == "RUNNING":
                on_event(watched.job, {"event": "stopping"})
        self._live = {queued.id: queued for queued in mine}
        self._asked_at = -math.inf

    # --- out of it ---

    def _ask(self) -> None:
        """Ask the queue for the states of all jobs, more rarely the longer they take."""
        now = time.monotonic()
        least, most = _ASK_SECONDS
        pause = least if self._ended_at.keys() & self._live.keys() else max(least, (now - self._began) / 20)
        if now - self._asked_at < min(most, pause):
            return
        self._asked_at = now
        states = self._queue.states(list(self._live)) if self._live else {}
        if states is None:  # Slurm's controller may be starting again
            return
        self._states = states
        for each in list(self._live):
            if not is_over(states[each]):  # perhaps again: it was put back into the queue
                self._ended_at.pop(each, None)
            elif now - self._ended_at.setdefault(each, now) >= self._settle_s:
                del self._live[each]

    def _endings(self, on_event: OnEvent) -> Iterator[tuple[Job, Ending]]:
        """Yield each run that has ended, and tell how far the others are."""
        for watched in list(self._watched.values()):
            ending = self._ending(watched)
            if ending is not None:
                del self._watched[watched.job.key]
                yield watched.job, ending
            else:
                self._tell(watched, on_event)
        for queued in {watched.queued.id: watched.queued for watched in self._watched.values()}.values():
            if queued.id not in self._live:
                yield from self._lost(queued)

    def _ending(self, watched: _Watched) -> Ending | None:
        """Return how a run ended, ``None`` where it has not, or was interrupted and its job goes on."""
        seen = self._traces(watched.job)
        over = watched.queued.id in self._ended_at
        if seen == watched.seen and not over:
            return None
        watched.seen = seen
        record = self._store.last_try(watched.job.key)
        attempt = attempt_of(self._store, watched.job.key)
        if record is None or attempt == watched.queued.work.attempts_before.get(watched.job.key):
            return None
        if record.outcome is Outcome.INTERRUPTED and not over:
            return None
        if record.outcome is Outcome.INTERRUPTED and self._states.get(watched.queued.id) == "FAILED":
            return Ending(f"job {watched.queued.id}", Outcome.TIMEOUT, _NOTHING_SAVED, record.timings.total_s)
        return Ending(attempt or "", record.outcome, record.reason, record.timings.total_s)

    def _traces(self, job: Job) -> tuple[int, ...]:
        """Return what changes when a record of a run is written."""
        times = []
        for place in (RECORDS, FAILED):
            try:
                times.append(self._plan.out.joinpath(*place, short(job.key)).stat().st_mtime_ns)
            except OSError:
                times.append(0)
        return tuple(times)

    def _tell(self, watched: _Watched, on_event: OnEvent) -> None:
        """Tell what a run's worker told, or that its job waits, where that is new."""
        event: Mapping[str, object] = {"event": "phase", "phase": f"queued as job {watched.queued.id}"}
        if self._states.get(watched.queued.id) == "RUNNING":
            state = read_progress(self._plan.out, watched.job.key)
            event = watched.last_event if state is None else state.event
            if event.get("event") == "stopping":  # it is not the user's wish: that is told where it is passed on
                event = {"event": "phase", "phase": "saving, as the time of its job is over"}
        if event != watched.last_event:
            watched.last_event = event
            on_event(watched.job, event)

    def _lost(self, queued: QueuedJob) -> Iterator[tuple[Job, Ending]]:
        """Yield the runs that a job left without a record, as Slurm's word for its end has it. Those that it had not
        begun are submitted anew, if it got as far as to do any.
        """
        state = self._states.get(queued.id, GONE)
        left = [watched.job for watched in self._watched.values() if watched.queued is queued]
        for job in left:
            del self._watched[job.key]
        if self._passed_on is not Stop.NO:
            return  # they were not reached
        begun = [job for job in left if read_progress(self._plan.out, job.key) is not None]
        for job in begun:  # whoever wrote it is gone
            forget_progress(self._plan.out, job.key)
        got_anywhere = bool(begun) or len(left) < len(queued.work.to_do)
        again = [] if state == "CANCELLED" or not got_anywhere else [job for job in left if job not in begun]
        outcome = _LOST.get(state, Outcome.CRASHED)
        for job in left:
            if job not in again:
                yield job, Ending(f"job {queued.id}", outcome, _why(queued, state), 0.0)
        if again:
            self._submit(again)


def _why(queued: QueuedJob, state: str) -> str:
    tail = queued.last_words()
    if not tail:
        where: Path = queued.log
        return f"Slurm ended its job {queued.id} ({state}) before it wrote a word to '{where}': {_SHARED}."
    return f"Slurm ended its job {queued.id} ({state}), whose last words are: {tail[:200]}"
