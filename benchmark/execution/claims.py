"""Claims: who is doing a run, so that several commands on one results folder share the work.

A claim is an operating-system lock on a file. It vanishes with the process that holds it, however that ends, so
that no claim is ever stale. Between hosts this holds where the shared file system passes locks on (NFS does).
"""

from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from benchmark.execution.store import short


class Claims:
    """The claims that this process holds in a results folder."""

    def __init__(self, out: Path) -> None:
        self._folder = out / "claims"
        self._held: dict[str, FileLock] = {}

    def take(self, key: str) -> bool:
        """Claim a run; return ``False`` where another process has it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._folder / f"{short(key)}.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return False
        self._held[key] = lock
        return True

    def release(self, key: str) -> None:
        """Give a claim back, if it is held."""
        lock = self._held.pop(key, None)
        if lock is not None:
            with suppress(OSError):
                lock.release()
