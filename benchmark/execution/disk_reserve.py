"""A little disk space set aside, so that a run that fills the disk still becomes a row."""

import os
from contextlib import suppress
from pathlib import Path

import psutil

from benchmark.hashing import hash_bytes
from benchmark.host import this_machine

_BYTES = 2 * 2**20


class Reserve:
    """Space in a results folder that can be given back when the disk is full.

    Args:
        folder: where the space is kept while a command runs.
    """

    def __init__(self, folder: Path) -> None:
        self._name = f"reserve-{hash_bytes(this_machine().encode())[:8]}-"
        self._path = folder / f"{self._name}{os.getpid()}"

    def keep(self) -> None:
        """Set the space aside, if it isn't already and there is as much."""
        if self._path.exists():
            return
        for other in self._path.parent.glob(f"{self._name}*"):  # of commands that were killed
            pid = other.name.removeprefix(self._name)
            if pid.isdecimal() and not psutil.pid_exists(int(pid)):
                other.unlink(missing_ok=True)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_bytes(os.urandom(_BYTES))  # random: some file systems store no zeros
        except OSError:
            self.give_back()

    def give_back(self) -> None:
        """Free the space."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
