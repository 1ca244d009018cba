"""How far the runs of a results folder are, as its files tell, and this user's jobs in the queue of a cluster.

Nothing is changed, and no command has to be running: records say what is done and failed, claims what is being done,
progress files how far it is.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from benchmark.errors import UserError
from benchmark.execution.claims import Standing, standing_claims
from benchmark.execution.executors.slurm_jobs import QueuedJob, submitted_jobs
from benchmark.execution.executors.slurm_queue import Queue, SlurmQueue, is_over
from benchmark.execution.progress_files import RunState, all_progress
from benchmark.execution.worker.job import Job
from benchmark.records.outcomes import Outcome
from benchmark.records.record import Record
from benchmark.records.store import RecordStore, short


class State(StrEnum):
    """Where a run is."""

    RUNNING = "running"
    QUEUED = "queued"
    STOPPED = "stopped"  # begun, and whoever did it is gone; or it was interrupted
    FAILED = "failed"
    DONE = "done"


_ENDED = {Outcome.OK: State.DONE, Outcome.INTERRUPTED: State.STOPPED}  # else it failed
_EPOCHS = ("epoch", "epochs")  # of an event


@dataclass(frozen=True)
class RunStatus:
    """One run.

    Args:
        key: of the run, in its short form.
        state: where it is.
        backbone: its name, empty where only a claim tells of it.
        seed, fold: of the run, ``None`` where they are not known, or there are no folds.
        epoch, epochs: the epoch that it is in, and how many there are at most; ``None`` before training.
        phase: what is being done before and after training.
        where: the machine and process that do it, or did.
        job: id of its job in the queue, with the queue's word for its state.
        outcome: of its latest record, ``None`` without one.
        reason: why it failed.
        seconds: since it began, or since it was submitted; what it took where it has ended.
    """

    key: str
    state: State
    backbone: str = ""
    seed: int | None = None
    fold: int | None = None
    epoch: int | None = None
    epochs: int | None = None
    phase: str = ""
    where: str = ""
    job: str = ""
    outcome: Outcome | None = None
    reason: str = ""
    seconds: float | None = None


def status_of(out: Path, queue: Queue | None = None) -> tuple[RunStatus, ...]:
    """Return all runs of which a results folder knows, those that go on first.

    Args:
        out: the results folder.
        queue: is asked for this user's jobs, where there are any; by default Slurm's.

    Raises:
        UserError: there is no such folder.
    """
    if not out.is_dir():
        raise UserError(f"'{out}' is no folder: name the results folder of a command.")
    store, claims, progress = RecordStore(out), standing_claims(out), all_progress(out)
    queued = _queued(out, queue or SlurmQueue())
    keys = dict.fromkeys((*claims, *queued, *progress, *store.keys()))
    runs = [_run(key, store, claims.get(key), progress.get(key), queued.get(key)) for key in keys]
    order = list(State)
    return tuple(
        sorted((run for run in runs if run is not None), key=lambda run: (order.index(run.state), run.backbone))
    )


@dataclass(frozen=True)
class _InQueue:
    """A run that is to be done by a job of the queue, and the queue's word for the job's state."""

    run: Job
    job: QueuedJob
    state: str


def _queued(out: Path, queue: Queue) -> Mapping[str, _InQueue]:
    """Return the jobs that have not ended, by the short forms of the keys of their runs."""
    jobs = submitted_jobs(out)
    states = queue.states([job.id for job in jobs]) if jobs else {}
    by_key: dict[str, _InQueue] = {}
    for job in jobs:
        state = "state unknown" if states is None else states[job.id]
        if not is_over(state):
            by_key |= {short(key): _InQueue(run, job, state) for key, run in job.jobs.items()}
    return by_key


def _run(
    key: str, store: RecordStore, claim: Standing | None, progress: RunState | None, queued: _InQueue | None
) -> RunStatus | None:
    """Return where a run is, ``None`` where nothing usable tells of it."""
    record, now = store.last_try(key), time.time()
    run = _named(key, record, progress, queued)
    if claim is not None and claim.alive:
        seconds = None if progress is None else max(0.0, now - progress.began)
        return replace(run, state=State.RUNNING, where=str(claim.holder), seconds=seconds)
    if queued is not None and _is_to_do(record, queued):
        return replace(run, state=State.QUEUED, seconds=max(0.0, now - queued.job.at), epoch=None, phase="")
    if record is not None:
        state = _ENDED.get(record.outcome, State.FAILED)
        ended = _named(key, record, None, None)
        return replace(
            ended, state=state, outcome=record.outcome, reason=record.reason, seconds=record.timings.total_s
        )
    return run if progress is not None or claim is not None else None


def _is_to_do(record: Record | None, queued: _InQueue) -> bool:
    """Return whether a run's job has not done it yet."""
    before = queued.job.work.attempts_before.get(queued.run.key)
    attempt = None if record is None else str(record.provenance.get("attempt", ""))
    return attempt == before or (record is not None and record.outcome is Outcome.INTERRUPTED)


def _named(key: str, record: Record | None, progress: RunState | None, queued: _InQueue | None) -> RunStatus:
    """Return a run with its name and how far it is; as stopped, unless something tells more of it."""
    run = RunStatus(key, State.STOPPED)
    if queued is not None:
        run = replace(run, backbone=queued.run.run.backbone, seed=queued.run.run.seed, fold=queued.run.data.fold)
        run = replace(run, job=f"{queued.job.id} {queued.state}")
    if record is not None:
        run = replace(run, backbone=record.backbone.name, seed=record.seed, fold=record.data.fold)
    if progress is not None:
        epoch, epochs = (number if isinstance(number, int) else None for number in map(progress.event.get, _EPOCHS))
        run = replace(run, backbone=progress.backbone, seed=progress.seed, fold=progress.fold)
        run = replace(run, epoch=epoch, epochs=epochs, phase=str(progress.event.get("phase", "")))
        run = replace(run, where=progress.machine)
    return run
