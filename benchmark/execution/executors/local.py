"""The local executor: worker processes of this machine, one at a time or several side by side."""

import queue
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from benchmark.execution.executors.base import WAIT_SECONDS, Control, Ending, JobSource, OnEvent, Stop
from benchmark.execution.executors.place import Place, Silence
from benchmark.execution.planning.plan import Plan
from benchmark.execution.planning.request import Request
from benchmark.execution.worker.job import Job


def local_executor(plan: Plan, request: Request) -> "LocalExecutor":
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
        """Do the jobs, each place's followed by a thread of its own; see
        :class:`~benchmark.execution.executors.base.Executor`.
        """
        source, free = JobSource(jobs, control), list(reversed(self._places))
        running: dict[Future[Ending], tuple[Job, Place]] = {}
        happened: queue.SimpleQueue[_Happened] = queue.SimpleQueue()
        threads = ThreadPoolExecutor(len(self._places), thread_name_prefix="place")
        try:
            while True:
                while free and (job := source.take()) is not None:
                    place = free.pop()
                    following = threads.submit(place.run, job, control, lambda *event: happened.put(event))
                    running[following] = job, place
                    following.add_done_callback(lambda _: happened.put(None))  # its end is seen at once
                if not running and source.is_over:
                    return
                if running:
                    _tell(happened, on_event, WAIT_SECONDS)
                else:
                    control.wait(WAIT_SECONDS)
                for following in [each for each in running if each.done()]:
                    job, place = running.pop(following)
                    _tell(happened, on_event, 0)
                    free.append(place)
                    source.ask_again()
                    yield job, following.result()
        finally:
            while running and control.stop is not Stop.NOW:  # something went wrong here: nothing goes on behind it
                control.ask()
            threads.shutdown(wait=True)
            for place in self._places:
                place.end_worker()


_Happened = tuple[Job | None, Mapping[str, Any]] | None  # ``None``: a run has ended


def _tell(happened: "queue.SimpleQueue[_Happened]", on_event: OnEvent, seconds: float) -> None:
    """Tell all that has happened, waiting at most this long for the first."""
    try:
        event = happened.get(timeout=seconds) if seconds else happened.get_nowait()
        while True:
            if event is not None:
                on_event(*event)
            event = happened.get_nowait()
    except queue.Empty:
        return
