"""Images made ready for a network: in their order, those that can't be read named, the pixels those of training."""

from functools import partial
from threading import Semaphore
from typing import Any

import numpy as np
import pytest

from benchmark.data.preparation.index import hash_pixels
from benchmark.data.preparation.pixels import resized
from benchmark.errors import UserError
from benchmark.models.feature_distance import HASH_BYTES
from benchmark.models.images import AskedImage
from benchmark.models.prepared import BATCH, Batches, helpers, prepared


def drawn(number: int) -> Any:
    """Return an image whose kind depends on its number: grey, grey as RGB, coloured, of the size asked."""
    shape = [(20, 24), (20, 24, 3), (33, 17, 3), (16, 16)][number % 4]
    pixels = np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)
    return np.repeat(pixels[..., :1], 3, axis=2) if number % 4 == 1 else pixels


def unreadable() -> Any:
    raise UserError("Image 'x' can't be read.")


@pytest.mark.parametrize("rule", ["squash", "pad"])
@pytest.mark.parametrize("unread", [(), (0, 40, 69), range(70)])
def test_batches_are_in_order_and_name_what_can_not_be_read(rule: Any, unread: Any) -> None:
    images = [AskedImage(str(k), unreadable if k in unread else partial(drawn, k)) for k in range(70)]
    with helpers() as pool:
        found = list(Batches(images, 16, rule, pool))
    assert [len(batch.read) for batch in found] == [BATCH, BATCH, 6]
    read = [k for k in range(70) if k not in unread]
    assert np.flatnonzero(np.concatenate([batch.read for batch in found])).tolist() == read
    assert [text for batch in found for text in batch.problems] == ["Image 'x' can't be read."] * len(unread)
    pixels = np.concatenate([batch.pixels for batch in found])
    assert pixels.shape == (len(read), 16, 16, 3)
    grey, sides = (np.concatenate([getattr(batch, name) for batch in found]) for name in ("grey", "sides"))
    digests = [digest for batch in found for digest in batch.digests]
    assert len(grey) == len(sides) == len(digests) == len(read)
    for place, number in enumerate(read):
        native = drawn(number)
        is_grey = number % 4 != 2
        small = resized(native[..., 0] if is_grey and native.ndim == 3 else native, 16, rule)
        np.testing.assert_array_equal(
            pixels[place], np.broadcast_to(small[..., None], (16, 16, 3)) if is_grey else small
        )
        np.testing.assert_array_equal(pixels[place], prepared(images[number], 16, rule))
        assert grey[place] == is_grey
        assert tuple(sides[place]) == native.shape[:2]
        assert digests[place] == hash_pixels(native)[:HASH_BYTES]


def test_another_batch_is_begun_on_request() -> None:
    begun = Semaphore(0)

    def load() -> Any:
        begun.release()
        return drawn(3)

    with helpers() as pool:
        batches = Batches([AskedImage(str(k), load) for k in range(20 * BATCH)], 16, "squash", pool)
        iterator = iter(batches)
        next(iterator)
        told = [batches.begin() for _ in range(20)]
        assert sum(told) < 20, "those that were ahead had been begun before"
        assert not told[-1]
        assert all(begun.acquire(timeout=30) for _ in range(20 * BATCH)), "all were begun without the iterator"
        assert sum(1 for _ in iterator) == 19
