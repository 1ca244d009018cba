"""Work on many items that this process and a copy of it share: whoever is free takes the next ones.

What the copy makes comes back as bytes, in memory that both have. Where there is no copy, or it ends early for
whatever reason, all is made here, so that errors are raised here.
"""

import os
import select
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from benchmark.data.preparation.process_copy import end_copy, start_copy
from benchmark.data.preparation.shared_work import Item, Made, Work

MOST_BYTES = 2**30  # that the copy hands over: the rest is made here
TOGETHER = 16  # items of a part, which is taken at once
_MOST_PARTS = 1024  # their numbers lie in a pipe, which has 4 KiB at least
_AHEAD_BYTES = 64 * 2**20  # of what is made here before what comes before it has arrived
_PART, _ARRIVAL, _LENGTH = struct.Struct("<I"), struct.Struct("<IQ"), struct.Struct("<Q")


def shared_out(work: Work[Item, Made], items: Sequence[Item], together: int = TOGETHER) -> Iterator[Made]:
    """Yield what comes of each item, in their order; a copy of this process makes some of it.

    Only on Linux (:func:`~benchmark.data.preparation.process_copy.can_work_beside`).

    Args:
        work: the copy has it as it is now; what changes in it there is not seen here.
        items: as many as memory holds.
        together: how many are taken at once.
    """
    together = max(together, -(-len(items) // _MOST_PARTS))
    parts = [items[start : start + together] for start in range(0, len(items), together)]
    with ExitStack() as opened:
        try:
            taken, numbers, arrivals, sent, store = _files(opened)
        except (AttributeError, OSError):  # a system without files in memory, or with no room for another
            yield from map(work.make, items)
            return
        numbers.write(b"".join(map(_PART.pack, range(len(parts)))))
        numbers.close()  # behind the last one is the end
        child = start_copy(lambda: _make_there(work, parts, taken, store.fileno(), sent))
        sent.close()
        try:
            yield from _in_order(work, parts, taken, _Arrivals(arrivals, store.fileno()))
        finally:
            if child is not None:
                end_copy(child)


def _files(opened: ExitStack) -> list[Any]:
    """Return the ends of two pipes, of each the one to read first, and a file in memory: all unbuffered.

    Raises:
        AttributeError, OSError: there are none on this system, or no more.
    """
    files = []
    for ends in (os.pipe(), os.pipe()):
        for end, mode in zip(ends, ("rb", "wb"), strict=True):
            files.append(opened.enter_context(os.fdopen(end, mode, buffering=0)))
    return [*files, opened.enter_context(os.fdopen(os.memfd_create("shared_out"), "r+b", buffering=0))]


def _next(taken: Any) -> int | None:
    """Take a part: return its number, ``None`` where all are taken. Both processes read the same pipe."""
    number = taken.read(_PART.size)
    return int(_PART.unpack(number)[0]) if number else None


def _make_there(work: Work[Item, Any], parts: Sequence[Sequence[Item]], taken: Any, store: int, sent: Any) -> None:
    """In the copy: make parts and hand them over until all are taken, or it is too much."""
    start = 0
    while (number := _next(taken)) is not None:
        block = bytearray()
        for item in parts[number]:
            data = work.packed(work.make(item))
            block += _LENGTH.pack(len(data))
            block += data
            if start + len(block) > MOST_BYTES:
                return
        written = 0
        while written < len(block):
            written += os.pwrite(store, memoryview(block)[written:], start + written)
        sent.write(_ARRIVAL.pack(number, len(block)))
        start += len(block)


class _Arrivals:
    """Parts that the copy has handed over.

    Args:
        pipe: says which, and how long they are.
        store: descriptor of the file in memory where they lie one after the other.
    """

    def __init__(self, pipe: Any, store: int) -> None:
        self._pipe, self._store, self._end = pipe, store, 0
        self._poll = select.poll()
        self._poll.register(pipe, select.POLLIN)
        self._places: dict[int, tuple[int, int]] = {}

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for a part to arrive, at most so long; return whether one did: none does once the copy has ended."""
        ready = self._poll.poll(None if seconds is None else 1000 * seconds)
        arrival = self._pipe.read(_ARRIVAL.size) if ready else b""
        if len(arrival) < _ARRIVAL.size:
            return False
        number, length = _ARRIVAL.unpack(arrival)
        self._places[number] = (self._end, length)
        self._end += length
        return True

    def take(self, number: int) -> list[bytes] | None:
        """Return a part item by item, ``None`` where it is not there."""
        if number not in self._places:
            return None
        start, length = self._places.pop(number)
        block, items = os.pread(self._store, length, start), []
        place = 0
        while place < len(block):
            (size,) = _LENGTH.unpack_from(block, place)
            place += _LENGTH.size
            items.append(block[place : place + size])
            place += size
        return items


def _in_order(
    work: Work[Item, Made], parts: Sequence[Sequence[Item]], taken: Any, arrivals: _Arrivals
) -> Iterator[Made]:
    ahead: dict[int, list[Made]] = {}
    held = 0
    for number, part in enumerate(parts):
        while number not in ahead and (arrived := arrivals.take(number)) is None:
            if arrivals.wait(0):
                continue
            mine = _next(taken) if held < _AHEAD_BYTES else None
            if mine is None:
                if arrivals.wait():
                    continue
                mine = number  # the copy took it, and has ended
            made = ahead[mine] = []
            for item in parts[mine] if mine != number else ():  # what is next need not be held
                made.append(work.make(item))
                held += work.size(made[-1])
                if held >= _AHEAD_BYTES:
                    break
        if number in ahead:
            made = ahead.pop(number)
            held -= sum(map(work.size, made))
            yield from made
            yield from map(work.make, part[len(made) :])
        else:
            assert arrived is not None
            yield from map(work.unpacked, arrived)
