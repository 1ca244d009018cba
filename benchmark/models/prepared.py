"""Images that a model is asked about, made ready for its network in batches, while it computes those before.

A network that reads small images takes less than a millisecond for one, so that what is done for each counts: pieces
of sixteen images are one task of a thread, and are written where the network will read them.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import numpy as np
import numpy.typing as npt

from benchmark.data.preparation.index import hash_grey_or_colour, is_grey
from benchmark.data.preparation.pixels import Resize, resized, write_rgb
from benchmark.data.preparation.threads import usable_cpus
from benchmark.errors import UserError
from benchmark.models.feature_distance import HASH_BYTES
from benchmark.models.images import AskedImage, Pixels

BATCH = 32
_PIECE = 16
_AHEAD = 2  # batches that are made ready while the network computes one


@dataclass(frozen=True)
class Facts:
    """What is told of some images in their order, beside their pixels.

    It stands in arrays: an object for each of many images has Python look through all that is in memory, again and
    again, for what may be thrown away.

    Args:
        grey: bool, shape (N,), whether the three channels of each image that could be read are equal.
        sides: int64, shape (N, 2), height and width of these before resizing.
        digests: the beginning of the hash of each one's native pixels.
        read: bool, shape (M,), which of the M images could be read.
        problems: a sentence for each that could not.
    """

    grey: npt.NDArray[np.bool_]
    sides: npt.NDArray[np.int64]
    digests: list[bytes]
    read: npt.NDArray[np.bool_]
    problems: list[str]

    @classmethod
    def together(cls, parts: "Sequence[Facts]") -> "Facts":
        """Return what is told of one part after the other."""
        return cls(
            np.concatenate([part.grey for part in parts]),
            np.concatenate([part.sides for part in parts]),
            list(chain.from_iterable(part.digests for part in parts)),
            np.concatenate([part.read for part in parts]),
            list(chain.from_iterable(part.problems for part in parts)),
        )


OF_NONE = Facts(np.zeros(0, dtype=bool), np.zeros((0, 2), dtype=np.int64), [], np.zeros(0, dtype=bool), [])


@dataclass(frozen=True)
class Batch:
    """Some images in their order.

    Args:
        pixels: of the N that could be read, uint8 of shape (N, S, S, 3). They may be written over once the next batch
            is asked for.
        facts: what else is told of them.
    """

    pixels: Pixels
    facts: Facts

    @classmethod
    def of(cls, pixels: Pixels, facts: Facts) -> "Batch":
        """Return the batch of all M images' pixels, of which those that could not be read are left out."""
        return cls(pixels if facts.read.all() else pixels[facts.read], facts)


class Batches(Protocol):
    """Images made ready for a network in batches of 32, while it computes those before."""

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches."""

    def begin(self) -> object:
        """Begin another batch.

        To be called once for each batch, when the network is about to compute for long: threads that run Python stand
        in the way of one that begins many short steps.
        """


def helpers() -> ThreadPoolExecutor:
    """Return threads that work beside the one that computes, to which one processor is left."""
    return ThreadPoolExecutor(_threads(), thread_name_prefix="prepare")


def _threads() -> int:
    return max(1, usable_cpus() - 1)


class PreparedByThreads:
    """:class:`Batches` that threads of this process make ready.

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
        """Have the threads begin another batch; return whether there is one."""
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
        self._pixels = np.empty((len(images), size, size, 3), dtype=np.uint8)
        self._facts: list[Future[Facts]] = [
            pool.submit(prepare, images[start : start + _PIECE], self._pixels[start : start + _PIECE], size, rule)
            for start in range(0, len(images), _PIECE)
        ]

    def finished(self) -> Batch:
        """Wait for the threads; return the batch."""
        return Batch.of(self._pixels, Facts.together([future.result() for future in self._facts]))


def prepare(images: Sequence[AskedImage], pixels: Pixels, size: int, rule: Resize) -> Facts:
    """Write images into ``pixels``, shape (M, S, S, 3); rows of those that can't be read are left as they are."""
    grey, sides, digests, problems = [], [], [], []
    read = np.zeros(len(images), dtype=bool)
    for number, image in enumerate(images):
        try:
            is_grey, before, digest = _prepare(image, pixels[number], size, rule)
        except UserError as error:
            problems.append(str(error))
        else:
            grey.append(is_grey)
            sides.append(before)
            digests.append(digest)
            read[number] = True
    of_all = np.array(sides, dtype=np.int64).reshape(-1, 2)
    return Facts(np.array(grey, dtype=bool), of_all, digests, read, problems)


def _prepare(image: AskedImage, pixels: Pixels, size: int, rule: Resize) -> tuple[bool, tuple[int, int], bytes]:
    """Write an image into ``pixels``, shape (S, S, 3).

    Returns:
        Whether it is grey, its height and width before, and the beginning of the hash of its native pixels.

    Raises:
        UserError: it can't be read.
    """
    native = image.load()
    grey = is_grey(native)
    plain = native[:, :, 0] if grey and native.ndim == 3 else native  # the same image, a third of the work
    write_rgb(pixels, native if native.shape == pixels.shape else resized(plain, size, rule))
    return grey, (native.shape[0], native.shape[1]), hash_grey_or_colour(plain)[:HASH_BYTES]
