"""The crew: the slots of a Ray cluster that work for one command, and what each is doing.

The command asks each slot for news, one question at a time, all in one thread: what is to be done for a run, from
carrying its files to bringing its record home, is a generator that yields Ray's references and is given what they
refer to.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from benchmark.errors import UserError
from benchmark.execution.executors.base import WAIT_SECONDS, Control, Ending, JobSource, OnEvent, Stop
from benchmark.execution.executors.node import Installation
from benchmark.execution.executors.ray_carrier import Carrier, Steps, until_seen
from benchmark.execution.executors.ray_nodes import AGAIN_SECONDS, Nodes, Share, in_a_line
from benchmark.execution.worker.job import Job
from benchmark.records.outcomes import Outcome

_MOST_LOSSES = 3  # of its node, after which a run is not placed anew
_MOST_FAILED_STARTS = 3  # of slots one after another, after which no more are asked for
_CLOSE_SECONDS = 60.0


@dataclass
class _Worker:
    """A slot, as the command sees it.

    Args:
        actor: Ray's handle.
        avoids: the nodes on which it must not begin, as they were left out before it was asked for.
        steps: what is being done with it, ``None`` where it is free.
        job: its run.
        key: what the last run had in common with those that can share its process.
        host, node: the name of its machine, and Ray's for it.
        shared: whether it sees the results folder.
        stop: how urgently it was told to stop.
    """

    actor: Any
    avoids: frozenset[str]
    steps: Steps | None = None
    job: Job | None = None
    key: tuple[object, ...] | None = None
    host: str = ""
    node: str = ""
    shared: bool = False
    stop: Stop = Stop.NO
    ready: bool = False


@dataclass
class Crew:
    """The slots of one command, and what each is doing.

    Args:
        nodes: of the cluster.
        share: what each slot asks for.
        start: asks for a slot.
        count: the most slots.
        control: the user's wish to stop.
        on_event: is told of events.
        waits: whether runs wait for nodes that come, where none that is there is fit.
    """

    nodes: Nodes
    share: Share
    start: Callable[[], Any]
    count: int
    control: Control
    on_event: OnEvent
    waits: bool = False
    workers: list[_Worker] = field(default_factory=list)
    waiting: deque[Job] = field(default_factory=deque)  # without a slot
    losses: dict[str, int] = field(default_factory=dict)  # of nodes, by the keys of their runs

    def __post_init__(self) -> None:
        self.ray = self.nodes.ray
        self._refs: dict[Any, _Worker] = {}
        self._later: list[_Worker] = []
        self._failed_starts, self._ask_from = 0, 0.0
        self._carrier = Carrier(self.ray)

    def work(self, source: JobSource) -> Generator[tuple[Job, Ending], None, None]:
        """Do jobs as slots are free; events are told and jobs taken in this thread.

        Raises:
            UserError: no node is left that is fit, or no worker can be started.
        """
        while True:
            self._look_at_nodes()
            while self._has_room() and (job := source.take()) is not None:
                self.waiting.append(job)
                self._hand_out()
            self._pass_on_wishes()
            yield from self._stopped_before_they_began()
            self._hand_out()
            if not self.waiting and not self._busy() and source.is_over:
                return
            if not self._refs and not self._later:
                self.control.wait(WAIT_SECONDS)
            for job, ending in self._go_on():
                source.ask_again()
                yield job, ending

    def _look_at_nodes(self) -> None:
        """Look at nodes that came while the runs go on, and tell which are left out."""
        self.nodes.look()
        for sentence in self.nodes.news():
            if self.nodes.room(self.share):
                self._note(sentence)
            elif self.waits:
                self._note(f"{sentence} The runs wait for one that is fit, as at_once says that nodes may come.")
            else:
                raise UserError(sentence)

    def _note(self, sentence: str) -> None:
        self.on_event(None, {"event": "note", "note": sentence})

    def _busy(self) -> list[_Worker]:
        return [worker for worker in self.workers if worker.job is not None]

    def _free(self) -> list[_Worker]:
        return [worker for worker in self.workers if worker.ready and worker.job is None]

    def _has_room(self) -> bool:
        """Return whether a job may be taken: for a free slot, or for one that is then asked for."""
        return not self.waiting and (len(self.workers) < self.count or bool(self._free()))

    def _hand_out(self) -> None:
        """Give waiting jobs to free slots, those that can share a worker to the slot that has it; ask for slots."""
        asks = self.waiting and time.monotonic() >= self._ask_from
        for _ in range(self.count - len(self.workers) if asks else 0):
            worker = _Worker(self.start(), frozenset(self.nodes.left_out))
            self.workers.append(worker)
            self._proceed(worker, self._begin(worker))
        free = self._free()
        while self.waiting and free:
            job = self.waiting.popleft()
            key = job.worker_key
            worker = min(free, key=lambda each: (each.key != key, each.key is not None))
            free.remove(worker)
            worker.job, worker.key = job, key
            self._proceed(worker, self._run(worker, job))

    def _pass_on_wishes(self) -> None:
        for worker in self._busy():
            assert worker.job is not None
            if self.control.stop > worker.stop:
                worker.stop = self.control.stop
                worker.actor.ask.remote(int(self.control.stop))
            if worker.job.key in self.control.given_up:
                worker.actor.ask.remote(int(worker.stop), worker.job.key)

    def _stopped_before_they_began(self) -> Iterator[tuple[Job, Ending]]:
        while self.waiting and self.control.stop is not Stop.NO:
            yield self.waiting.popleft(), ending_of(Outcome.INTERRUPTED, "Stopped before it began.")

    # --- one question after another ---

    def _go_on(self) -> Iterator[tuple[Job, Ending]]:
        """Go on with whatever was answered, and yield what has ended."""
        later, self._later = self._later, []
        answered: list[Any] = []
        if self._refs:
            self.ray.wait(list(self._refs), timeout=WAIT_SECONDS)
            answered, _ = self.ray.wait(list(self._refs), num_returns=len(self._refs), timeout=0)
        elif later:
            self.control.wait(WAIT_SECONDS)
        for worker in later:
            yield from self._answer(worker, None)
        for ref in answered:
            yield from self._answer(self._refs.pop(ref), ref)

    def _answer(self, worker: _Worker, ref: Any) -> Iterator[tuple[Job, Ending]]:
        """Give a worker's steps what a reference refers to; yield the ending of its run, where they are over."""
        assert worker.steps is not None
        job, exceptions = worker.job, self.ray.exceptions
        try:
            try:
                value = None if ref is None else self.ray.get(ref)
            except exceptions.RayError as error:
                step = worker.steps.throw(error)
            else:
                step = worker.steps.send(value)
        except StopIteration as end:
            worker.steps, worker.job = None, None
            if job is not None:
                yield job, end.value
        except exceptions.RayError as error:
            self._drop(worker)
            if job is not None and isinstance(error, exceptions.OutOfMemoryError):
                yield job, ending_of(Outcome.OOM, "Ray ended it, because the memory of its node was full.")
            else:
                yield from self._lost(worker, job, error)
        else:
            self._await(worker, step)

    def _proceed(self, worker: _Worker, steps: Steps) -> None:
        """Begin steps."""
        worker.steps = steps
        self._await(worker, next(steps))

    def _await(self, worker: _Worker, step: Any) -> None:
        if step is None:
            self._later.append(worker)
        else:
            self._refs[step] = worker

    def _drop(self, worker: _Worker) -> None:
        self.workers.remove(worker)
        worker.steps, worker.job = None, None
        self._carrier.forget(worker.node)
        with suppress(Exception):
            self.ray.kill(worker.actor)

    def _lost(self, worker: _Worker, job: Job | None, error: Exception) -> Iterator[tuple[Job, Ending]]:
        """Place a run anew whose slot is gone; yield its ending where that was too often."""
        if job is None:
            self._start_failed(in_a_line(error))
            return
        losses = self.losses[job.key] = self.losses.get(job.key, 0) + 1
        if losses < _MOST_LOSSES and self.control.stop is Stop.NO:
            self.on_event(job, {"event": "note", "note": f"The node {worker.host} was lost; the run is placed anew."})
            self.waiting.append(job)
        else:
            outcome = Outcome.CRASHED if self.control.stop is Stop.NO else Outcome.INTERRUPTED
            yield job, ending_of(outcome, f"Its node was lost ({worker.host}), {losses} time{'s' * (losses != 1)}.")

    def _start_failed(self, why: str) -> None:
        """Ask for another slot where one did not begin, but not for ever, and not before all nodes were looked at."""
        if time.monotonic() < self._ask_from:  # it was asked for with one that failed already
            return
        self._ask_from = time.monotonic() + 2 * AGAIN_SECONDS
        self._failed_starts += 1
        if self._failed_starts < _MOST_FAILED_STARTS:
            return
        if not any(worker.ready for worker in self.workers):
            raise UserError(f"Workers can't be started on the Ray cluster: {why}.")
        self.count, self._failed_starts = len(self.workers), 0
        self._note(f"No more workers can be started on the Ray cluster: {why}. Those that there are do the runs.")

    # --- the steps ---

    def _begin(self, worker: _Worker) -> Steps:
        """Wait until a slot has begun, and look at what is installed there."""
        facts = yield worker.actor.describe.remote()
        there, node = Installation(**facts["installation"]), facts["node"]
        if facts["problem"]:
            self.nodes.leave_out(node, f"The node {there.host} can't be used: {facts['problem']}")
        if facts["problem"] or not self.nodes.is_fit(node, there):
            yield worker.actor.close.remote()
            self._drop(worker)
            if node in worker.avoids:
                self._start_failed(self.nodes.left_out[node].rstrip("."))
            return
        worker.host, worker.node, worker.shared = there.host, node, facts["shared"]
        worker.ready, self._failed_starts = True, 0

    def _run(self, worker: _Worker, job: Job) -> Steps:
        """Do a run; return its ending."""
        began, names = time.monotonic(), {}
        actor = worker.actor
        try:
            if not worker.shared:
                names = yield from self._carrier.carry(worker, job, self.control)
            if self.control.stop is Stop.NOW:
                return ending_of(Outcome.INTERRUPTED, "Stopped at once.", time.monotonic() - began)
            yield actor.begin.remote(job.model_dump(mode="json"), names)
            ending: Mapping[str, Any] | None = None
            while ending is None:
                news = yield actor.news.remote()
                for event in news["events"]:
                    self.on_event(job, event)
                ending = news["ending"]
            if not worker.shared:
                yield from self._carrier.bring_home(worker, job)
            elif not ending["reason"]:
                yield from until_seen(job, ending["attempt"])
        except (OSError, ValueError, self.ray.exceptions.RayTaskError) as error:
            reason = f"What it needs or leaves could not be carried: {in_a_line(error)}."
            return ending_of(Outcome.ERROR, reason, time.monotonic() - began)
        return Ending(str(ending["attempt"]), Outcome(ending["outcome"]), ending["reason"], ending["seconds"])

    def close(self) -> None:
        """End all slots, with whatever runs there; those that wait for room too."""
        closing = [worker.actor.close.remote() for worker in self.workers if worker.ready]
        with suppress(Exception):
            if closing:
                self.ray.wait(closing, num_returns=len(closing), timeout=_CLOSE_SECONDS)
        for worker in self.workers:
            with suppress(Exception):
                self.ray.kill(worker.actor)


def ending_of(outcome: Outcome, reason: str, seconds: float = 0.0) -> Ending:
    """Return the ending of a run of which no worker tells."""
    return Ending(uuid4().hex, outcome, reason, seconds)
