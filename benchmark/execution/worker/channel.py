"""The worker's private line to its controller: events one way, requests the other, one JSON object a line each.

A request is ``{"job": JOB, "attempt": ID}``, a run to do, ``{"stop": true}``, which asks to save after the epoch, or
``{"alone": true}``, the answer to the event that asks for silence: no other run goes on until it is given back.
The job itself comes this way and never by a file: it names plug-ins, which run as this user, and a results folder may
be one that others can write to.
The end of the stream means that the controller is gone.
"""

import contextlib
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import psutil

from benchmark.child_process import messages, send, take_standard_streams
from benchmark.execution.executors.process_tree import descendants


class Channel:
    """Sends the events of a worker and takes the controller's requests, in a thread of its own.

    Args:
        requests: gives what the controller asks, one JSON object a line.
        events: gets one JSON object a line.
    """

    def __init__(self, requests: IO[bytes], events: IO[bytes]) -> None:
        self._requests, self._events = requests, events
        self._stop, self._alone = threading.Event(), threading.Event()
        self._runs: queue.SimpleQueue[tuple[dict[str, Any], str]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    @classmethod
    def from_standard_streams(cls) -> "Channel":
        """Take stdout and stdin away from whatever else runs in this process, and send its prints to the log."""
        return cls(*take_standard_streams())

    def report(self, event: Mapping[str, Any]) -> None:
        """Send one event; a controller that no longer listens is not an error."""
        try:
            with self._lock:
                send(self._events, event)
        except (OSError, ValueError):
            return

    @contextlib.contextmanager
    def silence(self) -> Iterator[None]:
        """Wait until no other run of the controller goes on, and keep it so until the end of the block."""
        self._alone.clear()
        self.report({"event": "silence", "wanted": True})
        self._alone.wait()
        try:
            yield
        finally:
            self.report({"event": "silence", "wanted": False})

    def next_run(self) -> tuple[dict[str, Any], str]:
        """Wait for a run to do; return its job, as JSON has it, and the id of the attempt."""
        return self._runs.get()

    def stop(self, *_: object) -> None:
        """Ask the run to save after its epoch; also a signal handler."""
        self._stop.set()

    def should_stop(self) -> bool:
        """Return whether the run should save and end."""
        return self._stop.is_set()

    def _listen(self) -> None:
        for request in messages(self._requests):
            if request.get("stop"):
                self._stop.set()
            elif request.get("alone"):
                self._alone.set()
            else:
                self._runs.put((request["job"], str(request["attempt"])))
        # the controller is gone: leave nothing running, and leave the claim to the next
        for child in descendants():
            with contextlib.suppress(psutil.Error):
                child.kill()
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), signal.SIGKILL)
        os._exit(1)


def print_to(log: Path) -> None:
    """Send what this process prints from here on to another file."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
