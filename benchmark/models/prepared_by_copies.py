"""Images made ready by copies of this process, made before it imports a framework.

A thread that decodes holds the interpreter for a third of its time, and a network of many short steps waits for it
again and again. Copies have interpreters of their own. They write pixels where this process reads them, and tell the
rest through a pipe. They sleep until half of the places for their batches are free: where one begins again after each
batch, the threads of a network of short steps find their processor taken again and again.
"""

import mmap
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import numpy as np

from benchmark.data.preparation.pixels import Resize
from benchmark.data.preparation.process_copy import can_work_beside, end_copy, start_copy
from benchmark.data.preparation.threads import usable_cpus
from benchmark.models.images import AskedImage, Pixels
from benchmark.models.prepared import BATCH, Batch, Batches, Facts, prepare

_AHEAD = 16  # batches that each copy has ready at most
_MOST = 16  # copies
_MOST_BYTES = 2**29  # of all pixels that are ready


@contextmanager
def prepared_beside(images: Sequence[AskedImage], size: int, rule: Resize) -> Iterator[Batches | None]:
    """Have copies of this process make images ready, until the block ends.

    Args:
        images: in this order.
        size, rule: of the network's input.

    Yields:
        Their batches, to be taken once; ``None`` where this process can't be copied, and for slices of volumes, which
        every copy would read anew.
    """
    batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    of_volumes = any("#" in image.image_id for image in images)
    number = min(usable_cpus() - 1, _MOST, len(batches), _MOST_BYTES // (2 * _bytes(size)))
    ahead = min(_AHEAD, _MOST_BYTES // (2 * _bytes(size) * max(1, number)) * 2)  # an even number
    copies: list[_Copy] = []
    with ExitStack() as stack:
        if can_work_beside() and not of_volumes:
            with suppress(OSError):  # no room for more
                copies += (stack.enter_context(_copy(batches[k::number], ahead, size, rule)) for k in range(number))
        complete = copies and len(copies) == number
        yield _PreparedByCopies(batches, copies, size, rule) if complete else None


def _bytes(size: int) -> int:
    """Return the bytes of a batch."""
    return BATCH * size * size * 3


@dataclass(frozen=True)
class _Copy:
    """One copy, as this process sees it.

    Args:
        connection: to it.
        pixels: what it writes, uint8 of shape (A, BATCH, S, S, 3), one batch after the other; A is even.
    """

    connection: Connection
    pixels: Pixels

    @property
    def ahead(self) -> int:
        """How many batches it has ready at most."""
        return len(self.pixels)


@contextmanager
def _copy(batches: Sequence[Sequence[AskedImage]], ahead: int, size: int, rule: Resize) -> Iterator[_Copy]:
    """Start a copy that makes some batches ready, so many ahead; it is ended with the block."""
    shape = (ahead, BATCH, size, size, 3)
    pixels = np.frombuffer(mmap.mmap(-1, ahead * _bytes(size)), dtype=np.uint8).reshape(shape)
    here, there = Pipe()

    def make() -> None:
        here.close()  # so that it ends with this process
        _make(batches, pixels, there, size, rule)

    process = start_copy(make)
    there.close()
    try:
        yield _Copy(here, pixels)
    finally:
        here.close()
        if process is not None:
            end_copy(process)


def _make(
    batches: Sequence[Sequence[AskedImage]], pixels: Pixels, connection: Connection, size: int, rule: Resize
) -> None:
    """In the copy: make batches ready, each where one was that has been read."""
    ahead = len(pixels)
    for number, images in enumerate(batches):
        if number >= ahead and number % (ahead // 2) == 0:
            connection.recv_bytes()
        connection.send(prepare(images, pixels[number % ahead, : len(images)], size, rule))


class _PreparedByCopies:
    """:class:`benchmark.models.prepared.Batches` of copies, which take turns.

    What a copy does not tell, as it failed or was ended, is done here, so that errors are raised here.
    """

    def __init__(
        self, batches: Sequence[Sequence[AskedImage]], copies: Sequence[_Copy], size: int, rule: Resize
    ) -> None:
        self._batches, self._copies, self._size, self._rule = batches, copies, size, rule

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches."""
        for number, images in enumerate(self._batches):
            turn, which = divmod(number, len(self._copies))
            copy = self._copies[which]
            pixels = copy.pixels[turn % copy.ahead, : len(images)]
            try:
                facts: Facts = copy.connection.recv()
            except (EOFError, OSError):
                pixels = np.empty_like(pixels)
                facts = prepare(images, pixels, self._size, self._rule)
            yield Batch.of(pixels, facts)
            if (turn + 1) % (copy.ahead // 2) == 0:
                with suppress(OSError):  # it has ended
                    copy.connection.send_bytes(b"")

    def begin(self) -> None:
        """Do nothing: copies begin by themselves."""
