"""Images made ready for a network: in their order, those that can't be read named, the pixels those of training."""

import os
import signal
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from threading import Semaphore
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from benchmark.data.preparation.index import hash_pixels
from benchmark.data.preparation.pixels import resized
from benchmark.errors import UserError
from benchmark.models import prepared_by_copies
from benchmark.models.feature_distance import HASH_BYTES
from benchmark.models.images import AskedImage, open_images
from benchmark.models.prepared import BATCH, Batch, PreparedByThreads, helpers, prepare, prepared
from benchmark.models.prepared_by_copies import prepared_beside

COLOURED = (2, 5)  # of numbers modulo 6
by_copies = pytest.mark.skipif("sys.platform != 'linux'")


def drawn(number: int) -> Any:
    """Return an image whose kind depends on its number: grey, grey as RGB, coloured, and those of the size asked."""
    shape = [(20, 24), (20, 24, 3), (33, 17, 3), (16, 16), (16, 16, 3), (16, 16, 3)][number % 6]
    pixels = np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)
    return pixels if number % 6 in COLOURED or pixels.ndim == 2 else np.repeat(pixels[..., :1], 3, axis=2)


def unreadable() -> Any:
    raise UserError("Image 'x' can't be read.")


def kept(batches: Iterator[Batch]) -> list[Batch]:
    """Return batches whose pixels are not written over."""
    return [Batch(batch.pixels.copy(), batch.facts) for batch in batches]


def by_threads(images: list[AskedImage], rule: Any) -> list[Batch]:
    with helpers() as pool:
        return kept(iter(PreparedByThreads(images, 16, rule, pool)))


@contextmanager
def copied(monkeypatch: pytest.MonkeyPatch, number: int, images: list[AskedImage], rule: Any) -> Iterator[Any]:
    """Have a number of copies make images ready; frameworks that other tests have imported do not matter to them."""
    monkeypatch.setattr(prepared_by_copies, "can_work_beside", lambda: True)
    monkeypatch.setattr(prepared_by_copies, "usable_cpus", lambda: number + 1)
    others = children()
    with prepared_beside(images, 16, rule) as batches:
        assert len(children() - others) == min(number, -(-len(images) // BATCH))
        yield batches
    assert children() <= others, "copies end with the block"


def children() -> set[int]:
    """Return the numbers of the processes that this one has started."""
    return {child.pid for child in psutil.Process().children()}


@pytest.mark.parametrize("copies", [0, *(pytest.param(number, marks=by_copies) for number in (1, 2, 5))])
@pytest.mark.parametrize("rule", ["squash", "pad"])
@pytest.mark.parametrize("unread", [(), (0, 40, 69), range(70)])
def test_batches_are_in_order_and_name_what_can_not_be_read(
    monkeypatch: pytest.MonkeyPatch, copies: int, rule: Any, unread: Any
) -> None:
    images = [AskedImage(str(k), unreadable if k in unread else partial(drawn, k)) for k in range(70)]
    if copies:
        with copied(monkeypatch, copies, images, rule) as batches:
            batches_read = kept(batches)
    else:
        batches_read = by_threads(images, rule)
    facts = [batch.facts for batch in batches_read]
    assert [len(each.read) for each in facts] == [BATCH, BATCH, 6]
    read = [k for k in range(70) if k not in unread]
    assert np.flatnonzero(np.concatenate([each.read for each in facts])).tolist() == read
    assert [text for each in facts for text in each.problems] == ["Image 'x' can't be read."] * len(unread)
    pixels = np.concatenate([batch.pixels for batch in batches_read])
    assert pixels.shape == (len(read), 16, 16, 3)
    grey, sides = (np.concatenate([getattr(each, name) for each in facts]) for name in ("grey", "sides"))
    digests = [digest for each in facts for digest in each.digests]
    assert len(grey) == len(sides) == len(digests) == len(read)
    for place, number in enumerate(read):
        native = drawn(number)
        is_grey = number % 6 not in COLOURED
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
        batches = PreparedByThreads([AskedImage(str(k), load) for k in range(20 * BATCH)], 16, "squash", pool)
        iterator = iter(batches)
        next(iterator)
        told = [batches.begin() for _ in range(20)]
        assert sum(told) < 20, "those that were ahead had been begun before"
        assert not told[-1]
        assert all(begun.acquire(timeout=30) for _ in range(20 * BATCH)), "all were begun without the iterator"
        assert sum(1 for _ in iterator) == 19


@by_copies
@pytest.mark.parametrize("ahead", [2, 4])
def test_copies_go_on_where_a_batch_has_been_read_and_not_before(monkeypatch: pytest.MonkeyPatch, ahead: int) -> None:
    """More batches than are made ahead: their pixels are written where those before were."""
    monkeypatch.setattr(prepared_by_copies, "_AHEAD", ahead)
    images = [AskedImage(str(k), partial(drawn, k)) for k in range(24 * BATCH)]
    with copied(monkeypatch, 2, images, "squash") as batches:
        for number, batch in enumerate(batches):
            expected = [prepared(images[number * BATCH + k], 16, "squash") for k in range(BATCH)]
            np.testing.assert_array_equal(batch.pixels, expected)


@by_copies
@pytest.mark.parametrize("read", [0, 3])
def test_what_a_copy_does_not_finish_is_done_here(monkeypatch: pytest.MonkeyPatch, read: int) -> None:
    monkeypatch.setattr(prepared_by_copies, "_AHEAD", 4)  # so that it waits with most of its ten batches to do
    done_here: list[int] = []

    def watched(*arguments: Any) -> Any:
        done_here.append(os.getpid())  # a copy has a list of its own
        return prepare(*arguments)

    monkeypatch.setattr(prepared_by_copies, "prepare", watched)
    images = [AskedImage(str(k), partial(drawn, k)) for k in range(20 * BATCH)]
    others = children()
    with copied(monkeypatch, 2, images, "squash") as batches:
        iterator = iter(batches)
        parts = [next(iterator).pixels.copy() for _ in range(read)]
        os.kill(min(children() - others), signal.SIGKILL)
        parts += [batch.pixels.copy() for batch in iterator]
    assert 4 <= len(done_here) <= 10
    np.testing.assert_array_equal(np.concatenate(parts), [prepared(image, 16, "squash") for image in images])


@by_copies
def test_an_error_in_a_copy_is_raised_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Any:
        raise ZeroDivisionError("a fault of ours")

    images = [AskedImage("0", fail)]
    with (
        copied(monkeypatch, 1, images, "squash") as batches,
        pytest.raises(ZeroDivisionError, match="a fault of ours"),
    ):
        list(batches)


@by_copies
def test_copies_read_one_zip_file_side_by_side(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each with a file of its own: one that they shared would be at another's place when it is read."""
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(8 * BATCH):
            stream = BytesIO()
            Image.fromarray(drawn(number)).save(stream, "png")
            archive.writestr(f"{number:03d}.png", stream.getvalue())
    images = open_images(str(path), ["a", "b"])
    images[0].load()  # the file is open
    with copied(monkeypatch, 4, images, "squash") as batches:
        facts = [batch.facts for batch in batches]
    assert [text for each in facts for text in each.problems] == []
    digests = [digest for each in facts for digest in each.digests]
    assert digests == [hash_pixels(drawn(number))[:HASH_BYTES] for number in range(8 * BATCH)]


@by_copies
def test_where_copies_can_not_be_had_or_would_read_volumes_anew_there_are_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prepared_by_copies, "can_work_beside", lambda: True)
    monkeypatch.setattr(prepared_by_copies, "usable_cpus", lambda: 5)
    images = [AskedImage(str(k), partial(drawn, k)) for k in range(9 * BATCH)]
    slices = [AskedImage(f"volume.nii.gz#{k}", partial(drawn, k)) for k in range(9 * BATCH)]
    before = children()
    with prepared_beside(slices, 16, "squash") as batches:
        assert batches is None
    with prepared_beside(images, 16384, "squash") as batches:
        assert batches is None, "their pixels would take too much memory"
    with prepared_beside(images, 512, "squash") as batches:
        assert batches is not None
        assert len(children() - before) == 4, "that of 96 MiB each is within what is allowed"

    def no_room(*_: object) -> Any:
        pipes.append(None)
        if len(pipes) > 2:
            raise OSError("no room")
        return made()

    pipes: list[None] = []
    made = prepared_by_copies.Pipe
    monkeypatch.setattr(prepared_by_copies, "Pipe", no_room)
    with prepared_beside(images, 16, "squash") as batches:
        assert batches is None
    assert children() <= before
