"""Work that several processes may share: what is made of each item, and how it is handed over."""

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Taken = TypeVar("Taken", contravariant=True)
Made = TypeVar("Made")


class Work(Protocol[Taken, Made]):
    """What is made of each item, here or in a copy of this process."""

    def make(self, item: Taken) -> Made:
        """Return what comes of an item."""

    def size(self, made: Made) -> int:
        """Return about how many bytes it holds."""

    def packed(self, made: Made) -> bytes:
        """Return it as bytes; asked in the copy, in the order of the items that it takes."""

    def unpacked(self, data: bytes) -> Made:
        """Return what was packed; asked here, in the same order."""


class ShareOut(Protocol):
    """Has work done by one process or by two."""

    def __call__(self, work: Work[Item, Made], items: Sequence[Item]) -> Iterator[Made]:
        """Yield what comes of each item, in their order."""


def done_here(work: Work[Item, Made], items: Sequence[Item]) -> Iterator[Made]:
    """Yield what comes of each item, made by this process alone."""
    return map(work.make, items)
