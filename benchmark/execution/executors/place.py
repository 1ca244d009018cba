"""A place where runs are done one after another, each in a worker process that ends with all that it started.

Runs that can share a worker do, which imports its framework once; a run that does not end well takes its process
along. A machine has one place, or several that work side by side and are silent while one of them measures speeds.
"""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import psutil

from benchmark.execution.executors.base import Control, Ending, OnEvent, Stop
from benchmark.execution.executors.process_tree import descendants
from benchmark.execution.executors.worker_process import Watch, WorkerProcess, bound
from benchmark.execution.worker.job import Job
from benchmark.records.outcomes import Outcome, outcome_of_exit

_POLL_SECONDS = 0.1
_LOOK_SECONDS = 1.0  # between two looks at the memory that a worker takes
_LINGER_SECONDS = 20.0  # what a worker gets to leave after it has stored a record that is not ok
# What an earlier run of the same process may have to do with: such a run is done once more, in a process of its own.
_DOUBTFUL = (Outcome.ERROR, Outcome.CRASHED, Outcome.OOM)


class Silence:
    """Lets one place at a time measure speeds while all others are paused: a speed is never measured beside a run."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._workers: dict[int, WorkerProcess] = {}  # those at work, by the number of their place
        self._holder: int | None = None
        self._since = 0.0  # when the holder began to measure
        self._paused: dict[int, float] = {}  # seconds in which each place was paused, before the present silence

    def enter(self, place: int, start: Callable[[], WorkerProcess]) -> WorkerProcess:
        """Start a place's worker, or give it its next run, once nobody measures; return it.

        Raises:
            OSError: it can't be started.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._holder in (None, place))
            self._workers[place] = worker = start()
            return worker

    def take(self, place: int) -> bool:
        """Pause all other places' workers; return whether that was possible: nobody else is measuring."""
        with self._changed:
            if self._holder not in (None, place):
                return False
            if self._holder is None:
                self._holder, self._since = place, time.monotonic()
                for other in self._others_at_work(place):
                    _each(self._workers[other], psutil.Process.suspend)
            return True

    def give_back(self, place: int) -> None:
        """Let the others go on, where this place measured."""
        with self._changed:
            if self._holder == place:
                for other in self._others_at_work(place):
                    self._paused[other] = self.paused(other)
                    _each(self._workers[other], psutil.Process.resume)
                self._holder = None
            self._changed.notify_all()

    def paused(self, place: int) -> float:
        """Return the seconds in which a place was paused so far."""
        with self._changed:
            now = 0.0 if self._holder in (None, place) else time.monotonic() - self._since
            return self._paused.get(place, 0.0) + now

    def _others_at_work(self, place: int) -> list[int]:
        return [other for other in self._workers if other != place]

    def leave(self, place: int) -> None:
        """Forget a place's worker, which has ended."""
        self.give_back(place)
        with self._changed:
            self._workers.pop(place, None)

    def others(self, place: int) -> set[int]:
        """Return the ids of all processes of other places' workers."""
        with self._changed:
            workers = [self._workers[other] for other in self._others_at_work(place)]
        return {
            pid
            for worker in workers
            for pid in (worker.process.pid, *(p.pid for p in descendants(worker.process.pid)))
        }


def _each(worker: WorkerProcess, action: Callable[[psutil.Process], None]) -> None:
    """Pause or resume a worker with all that it started."""
    with suppress(psutil.Error):
        action(psutil.Process(worker.process.pid))  # first, so that it starts no other meanwhile
    for process in descendants(worker.process.pid):
        with suppress(psutil.Error):
            action(process)


class Place:
    """Does one run after another.

    Args:
        number: of the place, from 0.
        environment: what its workers' environment has beside what the job needs: its GPU, its number of threads.
        silence: shared by the places of a machine.
        timeout: the most seconds that one run may take, ``None`` for no limit.
        memory: the most bytes that a worker and all that it started may take, ``None`` for no limit.
    """

    def __init__(
        self,
        number: int,
        environment: Mapping[str, str],
        silence: Silence,
        timeout: float | None,
        memory: int | None = None,
    ) -> None:
        self._number, self._environment, self._silence = number, environment, silence
        self._timeout, self._memory = timeout, memory
        self._worker: WorkerProcess | None = None

    def run(self, job: Job, control: Control, on_event: OnEvent) -> Ending:
        """Do a run, in the worker of the run before where the two can share one."""
        used = self._worker is not None and self._worker.key == job.worker_key and self._worker.is_clean()
        if not used:
            self.end_worker()
        ending = self._try(job, control, on_event)
        if used and ending.outcome in _DOUBTFUL and control.stop is Stop.NO:
            return self._try(job, control, on_event)
        return ending

    def end_worker(self) -> int:
        """End the process that there is; return its exit code."""
        worker, self._worker = self._worker, None
        if worker is None:
            return 0
        try:
            return worker.end()
        finally:
            self._silence.leave(self._number)

    def _try(self, job: Job, control: Control, on_event: OnEvent) -> Ending:
        """Do a run in the process that there is, or in a new one."""
        start, paused, kills_before = time.monotonic(), 0.0, _oom_kills()
        watch: Watch | None = None

        def begin() -> WorkerProcess:
            nonlocal watch, start, paused
            start, paused = time.monotonic(), self._silence.paused(self._number)
            self._worker = worker = self._worker or WorkerProcess(job, self._environment, self._others)
            watch = worker.give(job, on_event)
            return worker

        try:
            worker = self._silence.enter(self._number, begin)
        except OSError as error:
            self.end_worker()
            return Ending(uuid4().hex, Outcome.ERROR, f"The worker could not be started: {error}.", 0.0)
        assert watch is not None
        verdict: tuple[Outcome, str] | None = None
        try:
            # what others' measuring takes is not this run's time
            verdict = self._follow(worker, watch, control, lambda: time.monotonic() - start - self._paused(paused))
        finally:
            self._silence.give_back(self._number)
            if not (verdict is None and watch.stored is Outcome.OK and worker.is_clean()):
                code = self.end_worker()
                watch.pass_on_rest()
            bound(job.log)
        if verdict is None and watch.stored is not None:
            verdict = watch.stored, ""
        if verdict is None:
            verdict = watch.unstored or outcome_of_exit(code, oom_killed=_oom_kills() > kills_before)
        return Ending(watch.attempt, *verdict, time.monotonic() - start - self._paused(paused))

    def _paused(self, before: float) -> float:
        return self._silence.paused(self._number) - before

    def _others(self) -> set[int]:
        return self._silence.others(self._number)

    def _follow(
        self, worker: WorkerProcess, watch: Watch, control: Control, taken: Callable[[], float]
    ) -> tuple[Outcome, str] | None:
        """Pass on a run's events until it has ended, or must; return how it must be recorded where it must."""
        asked, alone, looked_at = Stop.NO, False, 0.0
        while worker.process.poll() is None:
            watch.pass_on(_POLL_SECONDS)
            bound(watch.job.log)
            if watch.stored is Outcome.OK or watch.finished_for(_LINGER_SECONDS):
                return None
            if watch.wants_silence and not alone and self._silence.take(self._number):
                worker.say_alone()
                alone = True
            elif alone and not watch.wants_silence:
                self._silence.give_back(self._number)
                alone = False
            if self._timeout is not None and taken() > self._timeout and not watch.finished:
                done = f"; {watch.epochs} epochs are saved and kept" if watch.epochs else ""
                return Outcome.TIMEOUT, f"It took longer than {self._timeout:g} s (--timeout){done}."
            if self._memory is not None and time.monotonic() - looked_at > _LOOK_SECONDS and not watch.finished:
                looked_at = time.monotonic()
                if _bytes_taken(worker.process.pid) > self._memory:
                    return Outcome.OOM, f"It took more than the {self._memory / 1e9:.3g} GB that a run may take."
            if control.stop is Stop.NOW and not watch.finished:
                return Outcome.INTERRUPTED, "Stopped at once."
            if watch.job.key in control.given_up:
                return Outcome.INTERRUPTED, "Another command took this run over."
            if control.stop > asked:
                asked = control.stop
                worker.ask_to_stop()
                watch.say_stopping()
        return None


def _bytes_taken(pid: int) -> int:
    """Return the bytes that a process and all that it started have for themselves; what is mapped from files and
    shared with others is not counted.
    """
    processes = descendants(pid)
    with suppress(psutil.Error):
        processes.append(psutil.Process(pid))
    taken = 0
    for process in processes:
        with suppress(psutil.Error):
            memory = process.memory_info()
            taken += memory.rss - getattr(memory, "shared", 0)
    return taken


def _oom_kills() -> int:
    """Return how many processes this machine's kernel has killed for want of memory; 0 where it doesn't say."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
