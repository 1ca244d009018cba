"""The worker's private line to its controller: events one way, words the other, one JSON object a line each.

A word is ``{"job": FILE, "attempt": ID}``, a run to do, or ``{"stop": true}``, which asks to save after the epoch.
The end of the stream means that the controller is gone.
"""

import contextlib
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import psutil

from benchmark.execution.executors.process_tree import descendants


class Channel:
    """See the module.

    Args:
        events: gets one JSON object a line.
        words: gives the controller's words.
    """

    def __init__(self, events: IO[str], words: IO[str]) -> None:
        self._events, self._words = events, words
        self._stop = threading.Event()
        self._runs: queue.SimpleQueue[tuple[Path, str]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    @classmethod
    def from_standard_streams(cls) -> "Channel":
        """Take stdout and stdin away from whatever else runs in this process, and send its prints to the log."""
        events = os.fdopen(os.dup(1), "w", encoding="utf-8")
        words = os.fdopen(os.dup(0), encoding="utf-8")
        os.dup2(2, 1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        return cls(events, words)

    def report(self, event: Mapping[str, Any]) -> None:
        """Send one event; a controller that no longer listens is not an error."""
        try:
            with self._lock:
                self._events.write(json.dumps(dict(event), default=str) + "\n")
                self._events.flush()
        except (OSError, ValueError):
            return

    def next_run(self) -> tuple[Path, str]:
        """Wait for a run to do; return its job file and the id of the attempt."""
        return self._runs.get()

    def stop(self, *_: object) -> None:
        """Ask the run to save after its epoch; also a signal handler."""
        self._stop.set()

    def should_stop(self) -> bool:
        """Return whether the run should save and end."""
        return self._stop.is_set()

    def _listen(self) -> None:
        for line in self._words:
            word = json.loads(line)
            if word.get("stop"):
                self._stop.set()
            else:
                self._runs.put((Path(word["job"]), str(word["attempt"])))
        # the controller is gone: leave nothing running, and leave the claim to the next
        for child in descendants():
            with contextlib.suppress(psutil.Error):
                child.kill()
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), signal.SIGKILL)
        os._exit(1)


def print_to(log: Path) -> None:
    """Send what this process prints from here on to another file."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
