"""Images that a model is asked about, made ready for its network in batches, while it computes those before.

A network that reads small images takes less than a millisecond for one, so that what is done for each counts: pieces
of sixteen images are one task of a thread, and are written where the network will read them.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from benchmark.data.preparation.index import hash_grey_or_colour, is_grey
from benchmark.data.preparation.pixels import Resize, resized
from benchmark.data.preparation.threads import usable_cpus
from benchmark.errors import UserError
from benchmark.models.feature_distance import HASH_BYTES
from benchmark.models.images import AskedImage, Pixels

BATCH = 32
_PIECE = 16
_AHEAD = 2  # batches that are made ready while the network computes one


@dataclass(frozen=True)
class Batch:
    """Some images in their order.

    What is told of each stands in arrays: an object for each of many images has Python look through all that is in
    memory, again and again, for what may be thrown away.

    Args:
        pixels: of those that could be read, uint8 of shape (N, S, S, 3).
        grey: bool, shape (N,), whether the three channels of each of these are equal.
        sides: int64, shape (N, 2), height and width before resizing.
        digests: the beginning of the hash of each one's native pixels.
        read: bool, shape (M,), which of the M images could be read.
        problems: a sentence for each that could not.
    """

    pixels: Pixels
    grey: npt.NDArray[np.bool_]
    sides: npt.NDArray[np.int64]
    digests: list[bytes]
    read: npt.NDArray[np.bool_]
    problems: list[str]


def helpers() -> ThreadPoolExecutor:
    """Return threads that work beside the one that computes, to which one processor is left."""
    return ThreadPoolExecutor(_threads(), thread_name_prefix="prepare")


def _threads() -> int:
    return max(1, usable_cpus() - 1)


class Batches:
    """Images in batches of 32, made ready by threads while a network computes those before.

    Args:
        images: in this order.
        size, rule: of the network's input.
        pool: of :func:`helpers`.
    """

    def __init__(self, images: Sequence[AskedImage], size: int, rule: Resize, pool: ThreadPoolExecutor) -> None:
        self._begun: deque[_Begun] = deque()
        self._parts = (
            _Begun(pool, images[start : start + BATCH], size, rule) for start in range(0, len(images), BATCH)
        )
        self._ahead = _AHEAD + _threads() * _PIECE // BATCH  # enough for every thread

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches."""
        while True:
            while len(self._begun) < self._ahead and self.begin():
                pass
            if not self._begun:
                return
            yield self._begun.popleft().finished()

    def begin(self) -> bool:
        """Have the threads begin another batch; return whether there is one.

        To be called once for each batch, when the network is about to compute for long: threads that run Python stand
        in the way of one that begins many short steps.
        """
        part = next(self._parts, None)
        if part is not None:
            self._begun.append(part)
        return part is not None


def prepared(image: AskedImage, size: int, rule: Resize) -> Pixels:
    """Return an image as a network takes it: uint8 of shape (S, S, 3); raises ``UserError``."""
    pixels = np.empty((size, size, 3), dtype=np.uint8)
    _prepare(image, pixels, size, rule)
    return pixels


class _Begun:
    """A batch on which threads are at work."""

    def __init__(self, pool: ThreadPoolExecutor, images: Sequence[AskedImage], size: int, rule: Resize) -> None:
        count = len(images)
        self._images, self._size, self._rule = images, size, rule
        self._pixels = np.empty((count, size, size, 3), dtype=np.uint8)
        self._grey, self._read = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
        self._sides = np.zeros((count, 2), dtype=np.int64)
        pieces = [range(start, min(start + _PIECE, count)) for start in range(0, count, _PIECE)]
        self._futures: list[Future[_Texts]] = [pool.submit(self._prepare, piece) for piece in pieces]

    def _prepare(self, piece: range) -> "_Texts":
        digests, problems = [], []
        for k in piece:
            try:
                self._grey[k], self._sides[k], digest = _prepare(
                    self._images[k], self._pixels[k], self._size, self._rule
                )
            except UserError as error:
                problems.append(str(error))
            else:
                digests.append(digest)
                self._read[k] = True
        return digests, problems

    def finished(self) -> Batch:
        """Wait for the threads; return the batch."""
        texts = [future.result() for future in self._futures]
        digests, problems = (list(chain.from_iterable(each)) for each in zip(*texts, strict=True))
        read = self._read
        chosen = slice(None) if read.all() else read
        return Batch(self._pixels[chosen], self._grey[chosen], self._sides[chosen], digests, read, problems)


_Texts = tuple[list[bytes], list[str]]  # of a piece: the digests of its images, and why others can't be read


def _prepare(image: AskedImage, pixels: Pixels, size: int, rule: Resize) -> tuple[bool, tuple[int, int], bytes]:
    """Write an image into ``pixels``, shape (S, S, 3).

    Returns:
        Whether it is grey, its height and width before, and the beginning of the hash of its native pixels.

    Raises:
        UserError: it can't be read.
    """
    native = image.load()
    grey = is_grey(native)
    if grey and native.ndim == 3:
        native = native[:, :, 0]  # the same image, a third of the work
    small = resized(native, size, rule)
    pixels[...] = small[..., None] if small.ndim == 2 else small
    return grey, (native.shape[0], native.shape[1]), hash_grey_or_colour(native)[:HASH_BYTES]
