"""The local executor: worker processes of this machine, one at a time or several side by side."""

import math
import queue
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from benchmark.execution.executors.base import WAIT_SECONDS, Control, Ending, OnEvent, Stop
from benchmark.execution.executors.place import Place, Silence
from benchmark.execution.worker.job import Job

if TYPE_CHECKING:
    from benchmark.execution.planning.plan import Plan
    from benchmark.execution.planning.request import Request


def local_executor(plan: "Plan", request: "Request") -> "LocalExecutor":
    """Return the executor of a plan's runs on this machine."""
    return LocalExecutor(request.timeout, plan.environments)


class LocalExecutor:
    """Runs jobs in worker processes of this machine.

    Args:
        timeout: the most seconds that one run may take, ``None`` for no limit.
        environments: one for each worker that works beside the others, with what is its own: its GPU, its number of
            threads. One after another where there is one.
    """

    def __init__(self, timeout: float | None = None, environments: Sequence[Mapping[str, str]] = ({},)) -> None:
        silence = Silence()
        self._places = [Place(number, own, silence, timeout) for number, own in enumerate(environments)]

    def execute(
        self, jobs: Iterable[Job | None], control: Control, on_event: OnEvent
    ) -> Generator[tuple[Job, Ending], None, None]:
        """Do the jobs; see :class:`~benchmark.execution.executors.base.Executor`."""
        if len(self._places) > 1:
            yield from _side_by_side(self._places, iter(jobs), control, on_event)
            return
        (place,) = self._places
        waiting = iter(jobs)
        try:
            while control.stop is Stop.NO:
                try:
                    job = next(waiting)
                except StopIteration:
                    return
                if job is None:
                    control.wait(WAIT_SECONDS)
                else:
                    yield job, place.run(job, control, on_event)
        finally:
            place.end_worker()


def _side_by_side(
    places: Sequence[Place], jobs: Iterator[Job | None], control: Control, on_event: OnEvent
) -> Generator[tuple[Job, Ending], None, None]:
    """Keep all places busy, each followed by a thread of its own; events are told and jobs taken in this thread."""
    free = list(reversed(places))
    running: dict[Future[Ending], tuple[Job, Place]] = {}
    happened: queue.SimpleQueue[tuple[Job, Mapping[str, Any]]] = queue.SimpleQueue()
    threads = ThreadPoolExecutor(len(places), thread_name_prefix="place")
    more, asked_at = True, -math.inf
    try:
        while True:
            while more and free and control.stop is Stop.NO and time.monotonic() - asked_at >= WAIT_SECONDS:
                try:
                    job = next(jobs)
                except StopIteration:
                    more = False
                    break
                if job is None:
                    asked_at = time.monotonic()
                    break
                place = free.pop()
                following = threads.submit(place.run, job, control, lambda *event: happened.put(event))
                running[following] = job, place
            if not running and (not more or control.stop is not Stop.NO):
                return
            _tell(happened, on_event, WAIT_SECONDS if running else 0)
            if not running:
                control.wait(WAIT_SECONDS)
            for following in [each for each in running if each.done()]:
                job, place = running.pop(following)
                _tell(happened, on_event, 0)
                free.append(place)
                asked_at = -math.inf  # its end may be what others wait for
                yield job, following.result()
    finally:
        while running and control.stop is not Stop.NOW:  # something went wrong here: nothing goes on behind it
            control.ask()
        threads.shutdown(wait=True)
        for place in places:
            place.end_worker()


def _tell(happened: "queue.SimpleQueue[tuple[Job, Mapping[str, Any]]]", on_event: OnEvent, seconds: float) -> None:
    """Tell all that has happened, waiting at most this long for the first."""
    try:
        on_event(*happened.get(timeout=seconds) if seconds else happened.get_nowait())
        while True:
            on_event(*happened.get_nowait())
    except queue.Empty:
        return
