"""The trackers of one command: each in a process of its own, told what happens, and given up when it fails."""

import json
import queue
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from benchmark.child_process import end, messages, send, start
from benchmark.errors import UserError
from benchmark.execution.summary import FinishedRun, Watcher
from benchmark.execution.worker.job import Job
from benchmark.models.description import Model
from benchmark.models.keep import kept_models
from benchmark.records.outcomes import Outcome
from benchmark.reporting.leaderboard import WrittenBoard
from benchmark.text import plain
from benchmark.tracking.base import RunFacts
from benchmark.tracking.facts import board_facts, curves, facts_of_job, facts_of_record, scores_of
from benchmark.tracking.trackers import Tracked

PATIENCE = 60.0  # seconds without an answer after which a tracker is given up, once the runs are done


class TrackerProcess:
    """One tracker's process. It is told by a thread of its own: whoever has something to tell never waits.

    Args:
        tracked: which tracker.
        out: the results folder.
    """

    def __init__(self, tracked: Tracked, out: Path) -> None:
        self.name, self._failure = tracked.name, ""
        self._waiting: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        self._answered = time.monotonic()
        self._process: subprocess.Popen[bytes] | None = None
        asked = {"name": tracked.name, "where": tracked.where, "out": str(out.resolve())}
        try:
            self._process = start(
                "benchmark.tracking.worker", json.dumps(asked),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        except OSError as error:
            self._failure = str(error.strerror or error)
            return
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._write, self._read)]
        for thread in self._threads:
            thread.start()

    def tell(self, message: Mapping[str, Any]) -> None:
        """Tell the tracker, as soon as it can be told; one that has failed is told nothing."""
        if not self._failure:
            self._waiting.put(message)

    def close(self, patience: float) -> str:
        """Wait until the tracker has kept everything, and end its process; return why it failed, or nothing.

        Args:
            patience: seconds without any answer after which it is given up.
        """
        if self._process is None:
            return self._failure
        self._waiting.put({"do": "close"})
        self._waiting.put(None)
        self._answered = time.monotonic()
        try:
            while self._process.poll() is None and not self._failure:
                if time.monotonic() - self._answered > patience:
                    self._failure = f"it gave no answer for {patience:.0f} s"
                self._threads[1].join(timeout=0.05)
        finally:
            with suppress(psutil.Error):
                for child in psutil.Process(self._process.pid).children(recursive=True):
                    child.kill()  # some libraries have a process of their own
            self._threads[1].join(timeout=1)
            code = end(self._process)
        if code and not self._failure:
            self._failure = f"its process ended by itself (code {code})"
        return self._failure

    def _write(self) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(OSError, ValueError):  # it is gone, which is seen elsewhere
            while (message := self._waiting.get()) is not None:
                send(self._process.stdin, message)

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        with suppress(OSError, ValueError):
            for message in messages(self._process.stdout):
                self._answered = time.monotonic()
                if message.get("event") == "failed":
                    self._failure = str(message.get("reason"))


class Tracking:
    """Tells all trackers of a command what happens in its runs, and of its board.

    Args:
        trackers: which.
        out: the results folder.
    """

    def __init__(self, trackers: Sequence[Tracked], out: Path) -> None:
        self._processes = [TrackerProcess(tracked, out) for tracked in trackers]
        self._out = out
        self._begun: set[str] = set()

    def close(self, *, wait: bool = True) -> tuple[str, ...]:
        """End all trackers, once they have kept what they were told; return a sentence for each that failed.

        Args:
            wait: whether they are waited for, as long as they answer.
        """
        failed = {process.name: process.close(PATIENCE if wait else 0) for process in self._processes}
        again = f"python -m benchmark leaderboard {self._out} --track"
        return tuple(
            plain(f"Not everything was tracked by {name}: {why.rstrip('.')}. The runs are not touched by it. "
                  f"To track them afterwards: {again} {name}")
            for name, why in failed.items() if why
        )  # fmt: skip

    # --- while runs go on

    def event(self, job: Job, event: Mapping[str, Any]) -> None:
        """Tell an epoch of a run; those of a search for its learning rate are not told."""
        if event.get("event") != "epoch" or job.run.recipe.tuning.learning_rates:
            return
        number = int(event.get("epoch", 0))
        if number == 1 or job.key not in self._begun:
            self._begin(facts_of_job(job, fresh=number == 1))
        self._tell({"do": "epoch", "key": job.key, "number": number, "values": curves(event)})

    def ended(self, run: FinishedRun) -> None:
        """Tell how a run ended that has no scores; the others are told of with the board."""
        if run.record.outcome is not Outcome.OK and run.job.key in self._begun:
            self._begin(facts_of_record(run.record, self._out.resolve().name))
            self._end(run.job.key, run.record.outcome)

    # --- when the board is written

    def board(self, written: WrittenBoard) -> None:
        """Tell all runs of a board, from their records, their kept models, and the board."""
        board, name = written.board, self._out.resolve().name
        models = dict(_models(self._out))
        for row in (*board.rows, *board.hidden):
            for result in row.results:
                record = result.record
                if record.backbone.origin == "ensemble":
                    continue
                self._begin(facts_of_record(record, name))
                for epoch in record.history:
                    message = {"do": "epoch", "key": record.key, "number": epoch.epoch, "values": curves(epoch)}
                    self._tell(message)
                if result.scores is not None:
                    scores = {name: score.model_dump() for name, score in scores_of(result, row).items()}
                    self._tell({"do": "scores", "key": record.key, "scores": scores})
                if record.key in models:
                    self._tell({"do": "model", "key": record.key, "folder": str(models[record.key])})
                self._end(record.key, result.status)
        facts = board_facts(board, written.page.parent, written.answers)
        self._tell({"do": "board", "board": facts.model_dump(mode="json")})

    def _begin(self, run: RunFacts) -> None:
        self._begun.add(run.key)
        self._tell({"do": "begin", "run": run.model_dump(mode="json")})

    def _end(self, key: str, status: str) -> None:
        self._begun.discard(key)
        self._tell({"do": "end", "key": key, "status": str(status)})

    def _tell(self, message: Mapping[str, Any]) -> None:
        for process in self._processes:
            process.tell(message)


class Watchers:
    """Several who are told what happens in the runs, as one.

    Args:
        shown: is told everything.
        tracking: is told of epochs and ends.
    """

    def __init__(self, shown: Watcher, tracking: Tracking) -> None:
        self._shown, self._tracking = shown, tracking

    def kept(self, run: FinishedRun) -> None:
        self._shown.kept(run)

    def started(self, job: Job, number: int) -> None:
        self._shown.started(job, number)

    def event(self, job: Job, event: Mapping[str, Any]) -> None:
        self._shown.event(job, event)
        self._tracking.event(job, event)

    def note(self, text: str) -> None:
        self._shown.note(text)

    def ended(self, run: FinishedRun) -> None:
        self._shown.ended(run)
        self._tracking.ended(run)

    def waiting(self, count: int, holders: str) -> None:
        self._shown.waiting(count, holders)

    def took_over(self, job: Job, holder: str) -> None:
        self._shown.took_over(job, holder)


def _models(out: Path) -> Iterable[tuple[str, Path]]:
    """Yield the kept models of a results folder by the keys of their runs; those that can't be read are left out."""
    for folder in kept_models(out):
        with suppress(UserError):
            yield Model.read(folder).key, folder.resolve()
