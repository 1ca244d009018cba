"""The parts of what is written of a board, as work that two processes may share."""

import os
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """Files that are written one after the other.

    Args:
        what: is done, a few words.
        write: writes them; it needs none of the other parts, and prints nothing.
    """

    what: str
    write: Callable[[], object]


class Parts:
    """Writes parts; nothing is handed over but that they are written.

    Args:
        say: is told what is being done, by the process that made this.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._process = say, os.getpid()

    def make(self, part: Part) -> None:
        """Write a part."""
        if os.getpid() == self._process:
            self._say(part.what)
        part.write()

    @staticmethod
    def size(written: None) -> int:
        """Return 0: it lies on the disk."""
        return 0

    @staticmethod
    def packed(written: None) -> bytes:
        """Return nothing."""
        return b""

    @staticmethod
    def unpacked(data: bytes) -> None:
        """Return nothing."""
