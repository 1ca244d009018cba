"""What one element of a Slurm job array does: the runs of a file, one after another.

It is a controller of its own with the local executor: it claims each run when it begins it, so that commands and jobs
on one results folder share the work; failures become rows; and nothing has to wait for it, as all that it leaves is
in the results folder. ``submitit`` starts it (:class:`Element` is what it calls), tells it of the time limit and of
preemption, and puts it into the queue again.

Slurm sends its signals to every process of a job. Those for the element (``SIGUSR2``) would end a worker, and are
blocked in all that the element starts.
"""

import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmark.atomic_files import write_atomically
from benchmark.errors import UserError
from benchmark.execution.controller import Controller
from benchmark.execution.executors.base import Control, Stop
from benchmark.execution.executors.local import LocalExecutor
from benchmark.execution.executors.node import Installation, for_this_node, installation, threads_of
from benchmark.execution.planning.request import Request
from benchmark.execution.summary import FinishedRun, Summary
from benchmark.execution.worker.job import Job, Runs
from benchmark.host import this_machine
from benchmark.ownership import other_writers
from benchmark.records.outcomes import Outcome

DONE_BEFORE = "done before"  # in the place of an attempt: the run is only there for those that continue from it
STOP_FILE = "stop"  # in the folder of a submission: its elements save and end; NOW in it, and they end at once
NOW = "now"
_POLL_SECONDS = 0.2
_STOP_SECONDS = 2.0  # between two looks at the stop file
_SIGNALS = {signal.SIGUSR1, signal.SIGUSR2}
_END_SECONDS = 15.0  # of the time before an element is killed: for ending at once, and for the queue
_IDLE_TURNS = 3  # in a row without a new epoch, after which a job is not put into the queue again
_WAIT_FOR_KILL_SECONDS = 3600.0


class ElementJobs(BaseModel):
    """What an element does.

    Args:
        jobs: in the order in which they are done.
        rerun, only_failed, timeout: as of :class:`~benchmark.execution.planning.request.Request`.
        attempts_before: which attempt wrote the latest record of each run, when the element was submitted: what it
            did before it was put into the queue again is not done twice. ``DONE_BEFORE`` for runs that were done then
            and from which others continue.
        save_seconds: how long before its end a job is told of it.
        cpus: cores that were asked for; ``None`` where that was left to Slurm, which then normally gives one.
        installation: what decides results and is installed where the job was submitted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    jobs: tuple[Job, ...]
    rerun: bool
    only_failed: bool
    timeout: float | None
    attempts_before: dict[str, str | None]
    save_seconds: float
    cpus: int | None
    installation: Installation

    @property
    def to_do(self) -> frozenset[str]:
        """The keys of the runs that are to be done."""
        return frozenset(key for key, attempt in self.attempts_before.items() if attempt != DONE_BEFORE)

    def write(self, path: Path) -> None:
        """Write the file that an element reads, for this user alone; raises ``OSError`` where it can't be written."""
        write_atomically(path, self.model_dump_json(), mode=0o600)

    @classmethod
    def read(cls, path: Path) -> "ElementJobs":
        """Return what :meth:`write` wrote.

        Raises:
            UserError: others may write to it: it names files whose code is run as this user. Or it can't be read.
        """
        for place in (path.parent, path):
            others = other_writers(place)
            if others:
                raise UserError(f"'{place}' is not used, because {others}, and what it says is run as you.")
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise UserError(f"The job file '{path}' can't be read: {str(error).splitlines()[0]}") from None


class Element:
    """What ``submitit`` calls in a job. It is stored by its name and the path of its file, and by nothing else.

    Args:
        file: what :meth:`ElementJobs.write` wrote, in the folder of its submission.
        idle_turns: how often in a row the job was ended by Slurm before an epoch was.
    """

    def __init__(self, file: str, idle_turns: int = 0) -> None:
        self.file, self.idle_turns = file, idle_turns

    def __getstate__(self) -> dict[str, str | int]:
        return {"file": self.file, "idle_turns": self.idle_turns}

    def __call__(self) -> None:
        """Do the runs, in a thread that signals don't interrupt.

        Raises:
            UserError: what they need can't be reached from this machine.
        """
        file = Path(self.file)
        self._work, self._stop_file = ElementJobs.read(file), file.with_name(STOP_FILE)
        self._control, self._by_slurm, self._log = Control(), False, _Log()
        self._summary: Summary | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._carry_out, daemon=True, name="runs")
        signal.signal(signal.SIGTERM, lambda *_: self._end_by_slurm())
        self._thread.start()
        self._wait()

    def checkpoint(self) -> Any:
        """Save, as the job's end is near; return what goes on in its next turn, ``None`` where nothing is left."""
        from submitit.helpers import DelayedSubmission

        if not self._save():
            return None
        idle_turns = 0 if self._log.epochs else self.idle_turns + 1
        if idle_turns >= _IDLE_TURNS:
            print(f"{idle_turns} times in a row no epoch came to its end: give a longer time_limit.", flush=True)
            return None
        return DelayedSubmission(Element(self.file, idle_turns))

    def _wait(self) -> None:
        """Return when all is done or the user wanted the end; raises what went wrong.

        After Slurm's own signal for the end it waits until Slurm ends it: a preempted job that ended by itself would
        not be put into the queue again.
        """
        self._follow(float("inf"))
        deadline = time.monotonic() + _WAIT_FOR_KILL_SECONDS
        while self._by_slurm and self._is_left() and not self._user_stops() and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        if self._error is not None:
            raise self._error

    def _end_by_slurm(self) -> None:
        """Save after the epoch: the job was preempted, or cancelled."""
        self._by_slurm = True
        self._control.finish()

    def _save(self) -> bool:
        """Save after the epoch, or end at once where that takes too long; return whether the job must go on later.

        It is called in a signal's handler, beside :meth:`_wait`, and so waits for the thread in its own way.
        """
        self._control.finish()
        self._follow(max(0.0, self._work.save_seconds - _END_SECONDS))
        while self._control.stop is not Stop.NOW and self._thread.is_alive():
            self._control.ask()
        self._follow(_END_SECONDS)
        return self._is_left() and not self._user_stops()

    def _follow(self, seconds: float) -> None:
        """Wait for the thread at most this long, and pass the user's wish on."""
        deadline, look_at = time.monotonic() + seconds, 0.0
        while self._thread.is_alive() and time.monotonic() < deadline:
            if time.monotonic() >= look_at:
                look_at = time.monotonic() + _STOP_SECONDS
                if self._user_stops():
                    self._control.finish()
                if self._user_stops(NOW) and self._control.stop is not Stop.NOW:
                    self._control.ask()
            time.sleep(_POLL_SECONDS)

    def _user_stops(self, word: str = "") -> bool:
        try:
            return word in self._stop_file.read_text(encoding="ascii")
        except (OSError, ValueError):
            return False

    def _is_left(self) -> bool:
        """Return whether a run was not done to its end."""
        if self._summary is None:
            return True
        done = sum(run.outcome is not Outcome.INTERRUPTED for run in self._summary.finished)
        return done < self._summary.planned

    def _carry_out(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # inherited by all that is started here
        try:
            work = self._work
            _require_reachable(work.jobs)
            different = work.installation.different_on(installation())
            if different:
                raise UserError(different)
            jobs = tuple(for_this_node(job, work.cpus) for job in work.jobs)
            request = Request(rerun=work.rerun, only_failed=work.only_failed, timeout=work.timeout)
            self._summary = Controller(
                Runs(jobs[0].out, jobs), request, LocalExecutor(work.timeout, (threads_of(work.cpus),)),
                self._control, self._log, attempts_before=work.attempts_before,
            ).carry_out()  # fmt: skip
            for problem in self._summary.problems:
                print(problem, flush=True)
        except BaseException as error:
            self._error = error


def _require_reachable(jobs: tuple[Job, ...]) -> None:
    """Raise ``UserError`` where this machine does not see what the runs need."""
    for place in dict.fromkeys(path for job in jobs for path in (job.out, job.data_folder, *job.settings.plugins)):
        if not place.exists():
            raise UserError(
                f"The machine {this_machine().partition(' ')[0]} does not see '{place}': the results folder, the "
                "cache (TUMORBOARD_CACHE) and plug-ins must be on a file system that all machines of the cluster "
                "share."
            )


class _Log:
    """Tells what happens in the job's log, and counts the epochs that came to their end."""

    def __init__(self) -> None:
        self.epochs = 0

    def kept(self, run: FinishedRun) -> None:
        _say(run.job, f"{run.record.outcome}, done before or elsewhere")

    def started(self, job: Job, number: int) -> None:
        _say(job, f"run {number} of this job begins")

    def event(self, job: Job, event: Mapping[str, Any]) -> None:
        self.epochs += event.get("event") == "epoch"
        if event.get("event") in ("epoch", "stopping", "note"):
            _say(job, " ".join(f"{name} {value}" for name, value in event.items() if name != "event"))

    def note(self, text: str) -> None:
        print(text, flush=True)

    def ended(self, run: FinishedRun) -> None:
        _say(run.job, f"{run.record.outcome} {run.record.reason}")

    def waiting(self, count: int, holders: str) -> None:
        print(f"{count} runs are being done by {holders}; waiting for it.", flush=True)

    def took_over(self, job: Job, holder: str) -> None:
        _say(job, f"{holder} had begun it and is gone; it is done here")


def _say(job: Job, text: str) -> None:
    print(f"{job.run.backbone}, seed {job.run.seed}: {text}", flush=True)
