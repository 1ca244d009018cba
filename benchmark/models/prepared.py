"""Images that a model is asked about, made ready for its network in batches, while it computes those before.

A network that reads small images takes about a millisecond for one, so that what is done for each counts: pieces of
eight images are one task of a thread, and are written where the network will read them.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.data.preparation.index import hash_grey_or_colour, is_grey
from benchmark.data.preparation.pixels import Resize, resized
from benchmark.data.preparation.threads import usable_cpus
from benchmark.errors import UserError
from benchmark.models.feature_distance import HASH_BYTES
from benchmark.models.images import AskedImage, Pixels

BATCH = 32
_PIECE = 8
_AHEAD = 2  # batches that are made ready while the network computes one


@dataclass(frozen=True)
class Look:
    """What is told of an image before any network looks at it.

    Args:
        grey: whether its three channels are equal.
        sides: height and width before resizing.
        digest: the beginning of the hash of its native pixels.
    """

    grey: bool
    sides: tuple[int, int]
    digest: bytes


@dataclass(frozen=True)
class Batch:
    """Some images in their order.

    Args:
        pixels: of those that could be read, uint8 of shape (N, S, S, 3).
        looks: what is told of each of these.
        read: bool, shape (M,), which of the M images could be read.
        problems: a sentence for each that could not.
    """

    pixels: Pixels
    looks: list[Look]
    read: npt.NDArray[np.bool_]
    problems: list[str]


def helpers() -> ThreadPoolExecutor:
    """Return threads that work beside the one that computes, to which one processor is left."""
    return ThreadPoolExecutor(_threads(), thread_name_prefix="prepare")


def _threads() -> int:
    return max(1, usable_cpus() - 1)


def batches(images: Sequence[AskedImage], size: int, rule: Resize, pool: ThreadPoolExecutor) -> Iterator[Batch]:
    """Yield images in batches of 32; the next ones are decoded meanwhile by :func:`helpers`."""
    ahead = _AHEAD + _threads() * _PIECE // BATCH  # enough for every thread
    begun: deque[_Begun] = deque()
    for start in range(0, len(images), BATCH):
        begun.append(_Begun(pool, images[start : start + BATCH], size, rule))
        if len(begun) > ahead:
            yield begun.popleft().finished()
    while begun:
        yield begun.popleft().finished()


def prepared(image: AskedImage, size: int, rule: Resize) -> Pixels:
    """Return an image as a network takes it: uint8 of shape (S, S, 3); raises ``UserError``."""
    pixels = np.empty((size, size, 3), dtype=np.uint8)
    _prepare(image, pixels, size, rule)
    return pixels


class _Begun:
    """A batch on which threads are at work."""

    def __init__(self, pool: ThreadPoolExecutor, images: Sequence[AskedImage], size: int, rule: Resize) -> None:
        self._pixels = np.empty((len(images), size, size, 3), dtype=np.uint8)

        def prepare(piece: slice) -> list[Look | str]:
            return [_look_or_problem(*pair, size, rule)
                    for pair in zip(images[piece], self._pixels[piece], strict=True)]  # fmt: skip

        pieces = [slice(start, start + _PIECE) for start in range(0, len(images), _PIECE)]
        self._futures: list[Future[list[Look | str]]] = [pool.submit(prepare, piece) for piece in pieces]

    def finished(self) -> Batch:
        """Wait for the threads; return the batch."""
        found = [each for future in self._futures for each in future.result()]
        read = np.array([not isinstance(each, str) for each in found], dtype=bool)
        return Batch(
            self._pixels if read.all() else self._pixels[read],
            [each for each in found if not isinstance(each, str)],
            read,
            [each for each in found if isinstance(each, str)],
        )


def _look_or_problem(image: AskedImage, pixels: Pixels, size: int, rule: Resize) -> Look | str:
    try:
        return _prepare(image, pixels, size, rule)
    except UserError as error:
        return str(error)


def _prepare(image: AskedImage, pixels: Pixels, size: int, rule: Resize) -> Look:
    """Write an image into ``pixels``, shape (S, S, 3); return what is told of it."""
    native = image.load()
    grey = is_grey(native)
    if grey and native.ndim == 3:
        native = native[:, :, 0]  # the same image, a third of the work
    small = resized(native, size, rule)
    pixels[...] = small[..., None] if small.ndim == 2 else small
    return Look(grey, (native.shape[0], native.shape[1]), hash_grey_or_colour(native)[:HASH_BYTES])
