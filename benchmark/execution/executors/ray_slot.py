"""A slot: the Ray actor that does one run after another on a node, each in a worker process as the local executor's.

All that goes to and from it is plain values, JSON and blocks of bytes. Ray imports this module on the node by its
name: no code travels. The actor ends with its node, with the command, or when it is killed; its worker process sees
that by the end of its pipe, and ends with all that it started.
"""

import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmark.errors import UserError
from benchmark.execution.executors.base import SETTLE_SECONDS, Control, Ending, Stop
from benchmark.execution.executors.node import for_this_node, gpu_environment, installation, threads_of
from benchmark.execution.executors.node_files import NodeFiles
from benchmark.execution.executors.place import Place, Silence
from benchmark.execution.executors.transfer import Block
from benchmark.execution.worker.job import Job
from benchmark.records.outcomes import Outcome

_NEWS_SECONDS = 20.0  # for which a question for news waits, where there is none
_LOOK_SECONDS = 0.25  # between two looks for the folders of the command
_GATHER_SECONDS = 0.25  # in which further news is gathered, so that a busy run asks for few answers


class Slot:
    """Does runs on a node.

    Args:
        cpus: cores of the worker, and threads of its arithmetic.
        memory: bytes that a run may take, ``None`` for no limit.
        timeout: seconds that a run may take, ``None`` for no limit.
        scratch: a folder of the node; with it the node reads and writes nothing of the command's folders.
        out: the results folder of the command, with ``mark`` in it, a file that holds ``token``.
        needs: what must be seen as well for runs to be done in that folder: images, plug-ins, weights.
        command: a name of that folder that no other has.
    """

    def __init__(
        self,
        *,
        cpus: int,
        memory: int | None,
        timeout: float | None,
        scratch: str | None,
        out: str,
        mark: str,
        needs: list[str],
        token: str,
        command: str,
    ) -> None:
        environment = {**threads_of(cpus), **gpu_environment()}
        self._cpus, self._control = cpus, Control()
        self._place = Place(0, environment, Silence(), timeout, memory)
        self._out = Path(out)
        self._files: NodeFiles | None = None
        self._problem = ""  # why nothing can be done here, in a sentence
        if scratch is not None or not shares_folders(Path(mark), token, needs):
            try:
                self._files = NodeFiles(None if scratch is None else Path(scratch), command)
            except (UserError, OSError) as error:
                self._problem = str(error)
        self._changed = threading.Condition()
        self._events: list[Mapping[str, Any]] = []
        self._ending: Ending | None = None
        self._thread: threading.Thread | None = None

    def describe(self) -> dict[str, Any]:
        """Return what is installed here, whether the command's results folder is seen, and why runs can't be done."""
        import ray

        node = ray.get_runtime_context().get_node_id()
        shared, problem = self._files is None, self._problem
        return {"installation": asdict(installation()), "shared": shared, "problem": problem, "node": node}

    # --- a run ---

    def begin(self, message: Mapping[str, Any], names: Mapping[str, str]) -> None:
        """Begin a run.

        Args:
            message: the job, as JSON has it.
            names: of its files here, where no folder is shared.
        """
        job = for_this_node(Job.model_validate(message), self._cpus)
        if self._files is not None:
            self._files.forget(job, done=False)
            job = self._files.localized(job, names)
        with self._changed:
            self._events, self._ending = [], None
        self._thread = threading.Thread(target=self._run, args=(job,), daemon=True, name="run")
        self._thread.start()

    def _run(self, job: Job) -> None:
        began = time.monotonic()
        try:
            ending = self._place.run(job, self._control, self._heard)
        except Exception as error:  # a fault of ours, or of the node: the run becomes a row
            reason = f"The node could not do it: {type(error).__name__}: {error}"
            ending = Ending(uuid4().hex, Outcome.ERROR, reason, time.monotonic() - began)
        with self._changed:
            self._ending = ending
            self._changed.notify_all()

    def _heard(self, _: Job | None, event: Mapping[str, Any]) -> None:
        with self._changed:
            if event.get("event") == "step" and self._events and self._events[-1].get("event") == "step":
                self._events.pop()  # the last step says how far it is
            self._events.append(dict(event))
            self._changed.notify_all()

    def news(self) -> dict[str, Any]:
        """Return what has happened since the last question, once something has, and the ending, once there is one."""
        with self._changed:
            self._changed.wait_for(lambda: self._events or self._ending, _NEWS_SECONDS)
            self._changed.wait_for(lambda: self._ending, _GATHER_SECONDS)
            events, self._events = self._events, []
            ending = None if self._ending is None else dict(vars(self._ending))
        return {"events": events, "ending": ending}

    def ask(self, stop: int, given_up: str = "") -> None:
        """Pass on that the user wants the end, or that a run was taken over by another command."""
        if given_up:
            self._control.given_up.add(given_up)
        while self._control.stop < Stop(stop):
            self._control.ask()

    def close(self) -> None:
        """End the run at once, and the worker with all that it started; remove what was brought here for it."""
        self.ask(Stop.NOW)
        if self._thread is not None:
            self._thread.join()
        with suppress(Exception):
            self._place.end_worker()
        if self._files is not None:
            self._files.leave()

    # --- files, where no folder is shared ---

    def has_images(self, name: str) -> bool:
        """Return whether prepared images are here; see :meth:`NodeFiles.has_images`."""
        return self._own().has_images(name)

    def has_file(self, name: str) -> bool:
        """Return whether a file came here before; see :meth:`NodeFiles.has_file`."""
        return self._own().has_file(name)

    def receive(self, parcel: str, name: str, block: Block) -> None:
        """Add a block to a file that is coming; see :meth:`NodeFiles.receive`."""
        self._own().receive(parcel, name, block)

    def unpack_images(self, parcel: str, name: str) -> None:
        """Put images that came in their place; see :meth:`NodeFiles.unpack_images`."""
        self._own().unpack_images(parcel, name)

    def unpack_file(self, parcel: str, name: str) -> None:
        """Put a file that came in its place; see :meth:`NodeFiles.unpack_file`."""
        self._own().unpack_file(parcel, name)

    def read(self, name: str, offset: int) -> Block:
        """Return a block of a file that a run has left; see :meth:`NodeFiles.read`."""
        return self._own().read(name, offset)

    def left_by(self, message: Mapping[str, Any]) -> dict[str, int]:
        """Return what a run has left here; see :meth:`NodeFiles.left_by`."""
        return self._own().left_by(Job.model_validate(message))

    def forget(self, message: Mapping[str, Any], done: bool) -> None:
        """Remove what a run has left here; see :meth:`NodeFiles.forget`."""
        self._own().forget(Job.model_validate(message), done=done)

    def _own(self) -> NodeFiles:
        assert self._files is not None, "files are carried only where none are shared"
        return self._files


def shares_folders(mark: Path, token: str, needs: Sequence[str]) -> bool:
    """Return whether this node sees the command's results folder and all that its runs read. Some of it may have been
    written just now: what is not seen is looked for again for as long as a file system may need to show it.
    """
    until = time.monotonic() + SETTLE_SECONDS
    while not (_sees(mark, token) and all(Path(path).exists() for path in needs)):
        if time.monotonic() >= until:
            return False
        time.sleep(_LOOK_SECONDS)
    return True


def _sees(mark: Path, token: str) -> bool:
    """Return whether this node sees the command's results folder, and may write there."""
    try:
        return mark.read_text(encoding="ascii") == token and os.access(mark.parent, os.W_OK | os.X_OK)
    except (OSError, ValueError):
        return False
