"""A worker's process, as its executor sees it: started, given runs, watched, ended with all that it started."""

import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import IO
from uuid import uuid4

from benchmark.atomic_files import inside
from benchmark.child_process import message, send, start
from benchmark.execution.executors.base import OnEvent
from benchmark.execution.executors.process_tree import adopt_orphans, descendants, end_tree, with_attempt
from benchmark.execution.worker.job import Job, worker_environment
from benchmark.records.outcomes import Outcome
from benchmark.records.results_folder import LOGS, WORK

_LONGEST_EVENT = 1_000_000
# A log that grows beyond its bound loses its middle: its beginning and its end tell what happened.
_LOG_BYTES, _LOG_BEGINNING, _LOG_END = 16 * 2**20, 64 * 2**10, 16 * 2**10


class WorkerProcess:
    """A worker in a session of its own; it does one run after another.

    Args:
        job: the first run; :meth:`give` gives it, and any other.
        environment: what the process has for itself where several go on side by side.
        others: says which processes of this one's belong to other workers, and are not to be ended with this one.

    Raises:
        OSError: it can't be started.
    """

    def __init__(
        self, job: Job, environment: Mapping[str, str] = MappingProxyType({}), others: Callable[[], set[int]] = set
    ) -> None:
        adopt_orphans()
        self.key, self.runs = job.worker_key, 0
        self._before, self._others = {process.pid for process in descendants()}, others
        self._attempt = uuid4().hex
        _make_ready(job)
        with job.log.open("ab") as log:  # appended to, so that it may be cut meanwhile
            self.process = start(
                "benchmark.execution.worker.worker",
                environment=worker_environment(job, self._attempt, environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self.process.stdout is not None
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self._reader.start()

    def give(self, job: Job, on_event: OnEvent) -> "Watch":
        """Let the process do a run; its prints go to the run's log.

        Raises:
            OSError: the process is gone.
        """
        attempt = self._attempt if self.runs == 0 else uuid4().hex
        if self.runs:
            _make_ready(job)
        self.runs, self._attempt = self.runs + 1, attempt
        self._ask({"job": job.model_dump(mode="json"), "attempt": attempt})
        return Watch(job, attempt, self._lines, on_event)

    def ask_to_stop(self) -> None:
        """Ask it to save after the epoch and leave."""
        with suppress(OSError):
            self._ask({"stop": True})

    def say_alone(self) -> None:
        """Tell it that it is alone on the machine, and may measure speeds."""
        with suppress(OSError):
            self._ask({"alone": True})

    def is_clean(self) -> bool:
        """Return whether it is there, and its last run has left nothing running."""
        own = self.process.pid
        left = {process.pid for process in (*descendants(own), *with_attempt(self._attempt))}
        return self.process.poll() is None and not left - {own}

    def end(self) -> int:
        """End it and every process that it started, but none of others; return its exit code."""
        code = end_tree(self.process, self._attempt, lambda: self._not_its_own() | self._others())
        self._reader.join(timeout=2)  # a process that escaped with the pipe in its hands is not waited for
        return code

    def _not_its_own(self) -> set[int]:
        """Return the processes that were there before it, and what those started since, as trackers do."""
        return self._before | {child.pid for pid in self._before for child in descendants(pid)}

    def _ask(self, request: Mapping[str, object]) -> None:
        assert self.process.stdin is not None
        send(self.process.stdin, request)

    def _read(self, stream: IO[bytes]) -> None:
        with suppress(OSError, ValueError):
            while line := stream.readline(_LONGEST_EVENT):
                self._lines.put(line)


class Watch:
    """Passes the events of one run on, and remembers what decides its end.

    Args:
        job, attempt: what is watched.
        lines: what its worker writes.
        on_event: is told of events.
    """

    def __init__(self, job: Job, attempt: str, lines: "queue.SimpleQueue[bytes]", on_event: OnEvent) -> None:
        self.job, self.attempt = job, attempt
        self._lines, self._on_event = lines, on_event
        self._finished_at: float | None = None
        self.epochs = 0
        self.wants_silence = False  # it is about to measure speeds, or does
        self.stored: Outcome | None = None
        self.unstored: tuple[Outcome, str] | None = None

    @property
    def finished(self) -> bool:
        """Whether the worker said that its record is stored, or can't be."""
        return self._finished_at is not None

    def finished_for(self, seconds: float) -> bool:
        """Return whether it said so longer ago than this."""
        return self._finished_at is not None and time.monotonic() - self._finished_at > seconds

    def pass_on(self, seconds: float) -> None:
        """Pass on what has arrived, waiting at most this long for the first."""
        with suppress(queue.Empty):
            self._handle(self._lines.get(timeout=seconds))
        self.pass_on_rest()

    def say_stopping(self) -> None:
        """Tell that the worker was asked to stop."""
        self._on_event(self.job, {"event": "stopping"})

    def pass_on_rest(self) -> None:
        """Pass on what has arrived."""
        with suppress(queue.Empty):
            while True:
                self._handle(self._lines.get_nowait())

    def _handle(self, line: bytes) -> None:
        event = message(line)
        if event is None:
            return
        kind = event.get("event")
        if kind in ("stored", "unstored"):
            self._finished_at = time.monotonic()
            with suppress(ValueError):
                outcome = Outcome(str(event.get("outcome")))
                if kind == "stored":
                    self.stored = outcome
                else:
                    self.unstored = outcome, str(event.get("reason"))
        if kind == "silence":
            self.wants_silence = bool(event.get("wanted"))
            return
        if kind == "epoch":
            self.epochs += 1
        self._on_event(self.job, event)


def bound(log: Path) -> None:
    """Cut the middle out of a log that has grown too long. What is printed in that moment may be lost."""
    with suppress(OSError):
        size = log.stat().st_size
        if size <= _LOG_BYTES:
            return
        with log.open("rb") as stream:
            stream.seek(size - _LOG_END)
            end = stream.read(_LOG_END)
        os.truncate(log, _LOG_BEGINNING)
        with log.open("ab") as stream:
            stream.write(f"\n[{size - _LOG_BEGINNING - _LOG_END} bytes are left out here]\n".encode() + end)


def _make_ready(job: Job) -> None:
    """Make the folders of a run, and begin its log anew."""
    inside(job.out, *WORK, job.work.name).mkdir(exist_ok=True)
    inside(job.out, *LOGS, job.log.name).unlink(missing_ok=True)
