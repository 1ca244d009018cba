"""The local executor: one worker process at a time on this machine, ended with all that it started."""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO
from uuid import uuid4

from benchmark.execution.executors.base import Control, Ending, OnEvent, Stop
from benchmark.execution.failures import outcome_of_exit
from benchmark.execution.job import Job, worker_environment
from benchmark.execution.processes import adopt_orphans, descendants, end_all
from benchmark.outcomes import Outcome

_POLL_SECONDS = 0.1
_LINGER_SECONDS = 20.0  # what a worker gets to leave after it has stored its record
_LONGEST_EVENT = 1_000_000
# A log that grows beyond its bound loses its middle: its beginning and its end tell what happened.
_LOG_BYTES, _LOG_BEGINNING, _LOG_END = 16 * 2**20, 64 * 2**10, 16 * 2**10


class LocalExecutor:
    """See the module.

    Args:
        timeout: seconds that one run may take, ``None`` for no limit.
    """

    def __init__(self, timeout: float | None = None) -> None:
        self._timeout = timeout

    def execute(self, jobs: Iterable[Job], control: Control, on_event: OnEvent) -> Iterator[tuple[Job, Ending]]:
        """Do the jobs one after another; see :class:`~benchmark.execution.executors.base.Executor`."""
        waiting = iter(jobs)
        while control.stop is Stop.NO:
            job = next(waiting, None)
            if job is None:
                return
            yield job, self._run(job, control, on_event)

    def _run(self, job: Job, control: Control, on_event: OnEvent) -> Ending:
        adopt_orphans()
        attempt, others = uuid4().hex, {process.pid for process in descendants()}
        start, kills_before = time.monotonic(), _oom_kills()
        try:
            process = _start(job, attempt)
        except OSError as error:
            return Ending(attempt, Outcome.ERROR, f"The worker could not be started: {error}.", 0.0)
        watch = _Watch(job, process, on_event)
        verdict: tuple[Outcome, str] | None = None
        asked = Stop.NO
        try:
            while process.poll() is None:
                watch.pass_on(_POLL_SECONDS)
                _bound(job.log)
                if watch.finished_for(_LINGER_SECONDS):
                    break  # its record is stored; something keeps it from leaving
                if self._timeout is not None and time.monotonic() - start > self._timeout and not watch.finished:
                    done = f"; {watch.epochs} epochs are saved and kept" if watch.epochs else ""
                    verdict = Outcome.TIMEOUT, f"It took longer than {self._timeout:g} s (--timeout){done}."
                    break
                if control.stop is Stop.NOW and not watch.finished:
                    verdict = Outcome.INTERRUPTED, "Stopped at once; the same command goes on from the last epoch."
                    break
                if job.key in control.given_up:
                    verdict = Outcome.INTERRUPTED, "Another command took this run over."
                    break
                if control.stop > asked:
                    asked = control.stop
                    _ask_to_stop(process)
                    on_event(job, {"event": "stopping"})
        finally:
            code = _end(process, attempt, others)
            watch.close()
            _bound(job.log)
        if verdict is None:
            verdict = watch.unstored or outcome_of_exit(code, oom_killed=_oom_kills() > kills_before)
        return Ending(attempt, *verdict, time.monotonic() - start)


class _Watch:
    """Reads a worker's events and passes them on; remembers what decides the worker's end."""

    def __init__(self, job: Job, process: "subprocess.Popen[bytes]", on_event: OnEvent) -> None:
        assert process.stdout is not None
        self._job, self._on_event = job, on_event
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        self._reader.start()
        self._finished_at: float | None = None
        self.epochs = 0
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
            while True:
                self._handle(self._lines.get_nowait())

    def close(self) -> None:
        """Pass on what is left. A process that escaped with the pipe in its hands is not waited for."""
        self._reader.join(timeout=2)
        with suppress(queue.Empty):
            while True:
                self._handle(self._lines.get_nowait())

    def _read(self, stream: IO[bytes]) -> None:
        with suppress(OSError, ValueError):
            while line := stream.readline(_LONGEST_EVENT):
                self._lines.put(line)

    def _handle(self, line: bytes) -> None:
        try:
            event = json.loads(line)
        except ValueError:
            return  # not ours: a backbone's code found the descriptor
        if not isinstance(event, dict):
            return
        kind = event.get("event")
        if kind in ("stored", "unstored"):
            self._finished_at = time.monotonic()
        if kind == "unstored":
            with suppress(ValueError):
                self.unstored = Outcome(str(event.get("outcome"))), str(event.get("reason"))
        if kind == "epoch":
            self.epochs += 1
        self._on_event(self._job, event)


def _start(job: Job, attempt: str) -> "subprocess.Popen[bytes]":
    """Start a worker in a session of its own, its prints going to the job's log."""
    job.work.mkdir(parents=True, exist_ok=True)
    job.log.parent.mkdir(parents=True, exist_ok=True)
    job_file = job.work / "job.json"
    job_file.write_text(job.model_dump_json(indent=1), encoding="utf-8")
    job.log.unlink(missing_ok=True)
    with job.log.open("ab") as log:  # appended to, so that it may be cut meanwhile
        return subprocess.Popen(
            [sys.executable, "-m", "benchmark.execution.worker", str(job_file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=worker_environment(job, attempt),
            start_new_session=True,
        )


def _ask_to_stop(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdin is not None
    with suppress(OSError):
        process.stdin.write(b"stop\n")
        process.stdin.flush()


def _bound(log: Path) -> None:
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


def _end(process: "subprocess.Popen[bytes]", attempt: str, others: set[int]) -> int:
    """End a worker and every process that it started, but none of ``others``; return its exit code."""
    found = []
    if process.poll() is None:
        found = descendants(process.pid)
        process.kill()
    code = process.wait()
    end_all(attempt, found, others)
    with suppress(OSError):
        if process.stdin is not None:
            process.stdin.close()
    return code


def _oom_kills() -> int:
    """Return how many processes this machine's kernel has killed for want of memory; 0 where it doesn't say."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
