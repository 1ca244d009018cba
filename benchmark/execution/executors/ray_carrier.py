"""The carrier: brings files to Ray's nodes that share no folder with the command, and back what their runs leave.

Blocks go through Ray's object store as arrays of bytes; several nodes that want the same block get the same one.
"""

import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from benchmark.execution.controller import attempt_of
from benchmark.execution.executors.base import SETTLE_SECONDS, Control, Stop
from benchmark.execution.executors.transfer import Arrivals, Inputs, blocks_of, read_block
from benchmark.execution.worker.job import Job
from benchmark.hashing import hash_file
from benchmark.records.outcomes import Outcome
from benchmark.records.store import RecordStore

Steps = Generator[Any, Any, Any]  # yields a reference, or ``None`` to go on a little later
_PUT_SECONDS = 120.0  # for which room in a full object store is waited for
_KEPT_BLOCKS = 4  # that nodes ask for at the same time


class Target(Protocol):
    """A slot to which files are carried: Ray's handle, and Ray's name of its node."""

    actor: Any
    node: str


class Carrier:
    """Carries files to nodes that share no folder with the command, each once, and what runs leave back home.

    Args:
        ray: the module.
    """

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._hashes: dict[tuple[Path, int, int], str] = {}
        self._there: set[tuple[str, str]] = set()  # (node, name) of what a node has
        self._coming: set[tuple[str, str]] = set()
        self._blocks: dict[tuple[Path, int], Any] = {}

    def forget(self, node: str) -> None:
        """Take nothing for granted of a node that was lost."""
        self._there = {each for each in self._there if each[0] != node}
        self._coming = {each for each in self._coming if each[0] != node}

    def carry(self, worker: Target, job: Job, control: Control) -> Steps:
        """Bring a node what a run needs and it has not; return the names that the files have there."""
        inputs = Inputs.of(job)
        names = {what: f"{self._hash(path)}/{path.name}" for what, path in inputs.files.items()}
        images = inputs.images_name
        yield from self._once(worker, images, inputs.of_images(), control, images=True)
        for what, path in inputs.files.items():
            name = names[what]
            yield from self._once(worker, name, {name: path}, control, images=False)
        return {**names, "images": images}

    def _hash(self, path: Path) -> str:
        """Return the SHA-256 of a file, computed once while it does not change."""
        status = path.stat()
        key = path, status.st_size, status.st_mtime_ns
        if key not in self._hashes:
            self._hashes[key] = hash_file(path)
        return self._hashes[key]

    def _once(self, worker: Target, name: str, files: Mapping[str, Path], control: Control, *, images: bool) -> Steps:
        """Bring a node some files, unless it has them or they are coming."""
        key, actor = (worker.node, name), worker.actor
        while key in self._coming:
            yield None
        if key in self._there:
            return
        self._coming.add(key)
        try:
            there = yield (actor.has_images if images else actor.has_file).remote(name)
            if not there:
                parcel = uuid4().hex
                for file, path in files.items():
                    for offset in blocks_of(path.stat().st_size):
                        if control.stop is Stop.NOW:
                            return
                        block = yield from self._put(path, offset)
                        yield actor.receive.remote(parcel, file, block)
                yield (actor.unpack_images if images else actor.unpack_file).remote(parcel, name)
            self._there.add(key)
        finally:
            self._coming.discard(key)

    def _put(self, path: Path, offset: int) -> Steps:
        """Return a reference to a block, which stays in the object store for the nodes that ask for it next."""
        key, until = (path, offset), time.monotonic() + _PUT_SECONDS
        while key not in self._blocks:
            try:
                self._blocks[key] = self._ray.put(read_block(path, offset))
            except self._ray.exceptions.ObjectStoreFullError as error:
                self._blocks.clear()
                if time.monotonic() > until:
                    raise OSError(f"Ray's object store stayed full for {_PUT_SECONDS:g} s") from error
                yield None
        block = self._blocks.pop(key)
        while len(self._blocks) >= _KEPT_BLOCKS:
            del self._blocks[next(iter(self._blocks))]
        self._blocks[key] = block
        return block

    def bring_home(self, worker: Target, job: Job) -> Steps:
        """Store what a run has left on its node; raises ``OSError`` where it can't be."""
        message, actor = job.model_dump(mode="json"), worker.actor
        left = yield actor.left_by.remote(message)
        arrivals = Arrivals(job)
        try:
            for name, size in left.items():
                for offset in blocks_of(size):
                    block = yield actor.read.remote(name, offset)
                    arrivals.add(name, block)
            record = arrivals.store()
        finally:
            arrivals.remove()
        yield actor.forget.remote(message, record is not None and record.outcome is Outcome.OK)


def until_seen(job: Job, attempt: str) -> Steps:
    """Wait until the record is seen here that an attempt has stored on its node, in a folder that both share."""
    store, until = RecordStore(job.out), time.monotonic() + SETTLE_SECONDS
    while attempt_of(store, job.key) != attempt and time.monotonic() < until:
        yield None
