"""Images, or features, on their way to the device: resident there when they fit, else fetched one batch ahead."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from benchmark.data.dataset import Positions
from benchmark.engines.base import Engine, Handle

# Share of the free device memory that resident images may take; the rest is the network's.
RESIDENT_SHARE = 0.25
_AHEAD = 2


def near_equal_batches(positions: Positions, batch_size: int) -> list[Positions]:
    """Cut ``positions`` into ceil(N / batch_size) batches whose sizes differ by at most one.

    A remainder of one or two images would spoil BatchNorm's statistics, and dropping it would hide images. A batch of
    one image has no statistics at all: unless that is asked for, an odd number in batches of two ends in a batch of
    three.
    """
    count = -(-len(positions) // batch_size)
    if batch_size > 1:
        count = min(count, len(positions) // 2)
    return np.array_split(positions, max(1, count))


class RowSource(Protocol):
    """An array, or what gives the rows at some positions when it is asked for them."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def __getitem__(self, positions: Any, /) -> Any:
        """Return the rows at ``positions``, int64 of shape (B,)."""


class Feed:
    """Turns batches of positions into handles on the device.

    Args:
        engine: where to.
        source: from where: shape (N, ...), an image or its features for each position.
        positions: those that will be asked for again and again; only these are made resident, none of ``None``.
    """

    def __init__(self, engine: Engine, source: RowSource, positions: Positions | None) -> None:
        self._engine = engine
        self._source = source
        self._resident: Handle | None = None
        self._index: npt.NDArray[np.int64] | None = None
        self._pool: ThreadPoolExecutor | None = None
        needed = 0 if positions is None else len(positions) * source[0].nbytes
        if positions is not None and 0 < needed < RESIDENT_SHARE * engine.free_bytes():
            self._resident = engine.upload(np.ascontiguousarray(source[np.sort(positions)]))
            self._index = np.full(len(source), -1, dtype=np.int64)
            self._index[np.sort(positions)] = np.arange(len(positions))

    def batches(self, batches: Sequence[Positions]) -> Iterator[Handle]:
        """Yield a handle for each batch, in order."""
        if self._resident is not None and self._index is not None:
            for batch in batches:
                yield self._engine.gather(self._resident, self._index[batch])
            return
        if self._pool is None:  # kept: an epoch from features is so short that starting a thread shows
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="feed")
        coming: deque[Future[npt.NDArray[Any]]] = deque()
        for number in range(len(batches) + _AHEAD):
            if number < len(batches):
                coming.append(self._pool.submit(self._source.__getitem__, batches[number]))
            if number >= _AHEAD:
                yield self._engine.upload(coming.popleft().result())
