"""The child process (``python -m benchmark.tracking.worker``) that one tracker lives in.

What a tracker's library prints, starts, or waits for stays here: a run is not held up, and not ended, by it. Its
argument is a JSON object; messages come by standard input, and each is answered, by ``did`` or by ``failed`` with a
reason.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from benchmark.child_process import messages, send, take_standard_streams
from benchmark.dependencies import how_to_install
from benchmark.tracking.base import BoardFacts, Place, RunFacts, TrackedScore, Tracker
from benchmark.tracking.trackers import BUILT_IN, make_tracker


class Follower:
    """Passes messages on to a tracker, which gets each epoch of a run once.

    Args:
        tracker: is told.
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._runs: dict[str, RunFacts] = {}
        self._last: dict[str, int] = {}  # the epoch that the tracker has, by the run's key

    def take(self, message: dict[str, Any]) -> None:
        """Do what one message says; raises what the tracker raises."""
        getattr(self, f"_{message['do']}")(message)

    def _begin(self, message: dict[str, Any]) -> None:
        run = RunFacts.model_validate(message["run"])
        last = self._tracker.begin(run)
        self._last[run.key] = last if run.fresh else max(last, self._last.get(run.key, 0))
        self._runs[run.key] = run

    def _epoch(self, message: dict[str, Any]) -> None:
        key, number = message["key"], int(message["number"])
        if number > self._last[key]:
            self._tracker.epoch(self._runs[key], number, message["values"])
            self._last[key] = number

    def _scores(self, message: dict[str, Any]) -> None:
        scores = {name: TrackedScore.model_validate(score) for name, score in message["scores"].items()}
        self._tracker.scores(self._runs[message["key"]], scores)

    def _model(self, message: dict[str, Any]) -> None:
        self._tracker.model(self._runs[message["key"]], Path(message["folder"]))

    def _end(self, message: dict[str, Any]) -> None:
        self._tracker.end(self._runs.pop(message["key"]), message["status"])

    def _board(self, message: dict[str, Any]) -> None:
        self._tracker.board(BoardFacts.model_validate(message["board"]))

    def _close(self, _: dict[str, Any]) -> None:
        self._tracker.close()


def main() -> int:
    """Serve one tracker until it is closed, fails, or nobody is there any more; return 0 where it did not fail."""
    requests, answers = take_standard_streams()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command decides when it is over
    asked = json.loads(sys.argv[1])
    name = asked["name"]
    try:
        follower = Follower(make_tracker(name, Place(Path(asked["out"]), asked["where"])))
        send(answers, {"event": "did"})
        for message in messages(requests):
            follower.take(message)
            send(answers, {"event": "did"})
            if message["do"] == "close":
                return 0
        follower.take({"do": "close"})
    except BaseException as error:  # whatever a library raises, SystemExit included
        send(answers, {"event": "failed", "reason": _reason(name, error)})
        return 1
    return 0


def _reason(name: str, error: BaseException) -> str:
    """Return in a clause why a tracker failed, and what to install where that is it."""
    if isinstance(error, ImportError) and name in BUILT_IN:
        return f"it needs {name}: {how_to_install([name])}"
    text = " ".join(str(error).split())[:200].rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # a library's thread that waits for its server must not keep the process
