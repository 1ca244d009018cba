"""Decoding shared with another process, as it is done for many images."""

import sys
import threading

import numpy as np
import pytest

from benchmark.data import open_dataset
from benchmark.data.preparation import decoding
from benchmark.errors import UserError


@pytest.fixture
def helped(monkeypatch):
    """Decode few images as many are. Gives, for each part that went to the process, whether that answered.

    The other thread waits until the process has a part: it could have done them all by then.
    """
    monkeypatch.setattr(decoding, "_MANY", 1)
    monkeypatch.setattr(decoding, "_CHUNK", 12)
    monkeypatch.setattr(decoding, "usable_cpus", lambda: 2)
    answered = []
    asked = threading.Event()
    decode, decode_here = decoding._Helper.__call__, decoding.Decoder.chunk

    def patient(self, rows):
        assert asked.wait(60)
        return decode_here(self, rows)

    def watched(self, rows):
        asked.set()
        chunk = decode(self, rows)
        answered.append(self._process is not None)
        return chunk

    monkeypatch.setattr(decoding.Decoder, "chunk", patient)
    monkeypatch.setattr(decoding._Helper, "__call__", watched)
    return answered


@pytest.fixture
def damaged(kaggle):
    """A folder of images of which every twelfth is damaged."""
    for image in sorted(kaggle.glob("*/*/*.png"))[::12]:
        image.write_bytes(b"no image")
    return kaggle


def test_another_process_decodes_the_same(damaged, tmp_path, helped, monkeypatch):
    shared = open_dataset(str(damaged), size=16, skip_corrupt=True, cache=tmp_path / "shared")
    assert True in helped
    monkeypatch.setattr(decoding, "_MANY", 1000)
    alone = open_dataset(str(damaged), size=16, skip_corrupt=True, cache=tmp_path / "alone")
    assert shared.fingerprint == alone.fingerprint
    assert len(shared.skipped) == 4
    assert shared.skipped == alone.skipped
    assert np.array_equal(shared.pixels, alone.pixels)
    assert np.array_equal(shared.thumbnails, alone.thumbnails)


def test_another_process_opens_an_archive_by_itself(kaggle, zipped, tmp_path, helped, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, tmp_path])  # a Path, which Python passes over
    data = open_dataset(str(zipped(kaggle)), size=16, cache=tmp_path / "cache")
    assert True in helped
    assert np.array_equal(data.pixels, open_dataset(str(kaggle), size=16, cache=tmp_path / "other").pixels)


def test_an_image_that_the_process_cannot_read_is_named(damaged, tmp_path, helped, monkeypatch):
    own = decoding.Decoder.chunk
    monkeypatch.setattr(decoding.Decoder, "chunk", lambda self, rows: own(self, range(rows.start, rows.start)))
    with pytest.raises(UserError, match=r"png' can't be read .*--skip-corrupt"):
        open_dataset(str(damaged), size=16, cache=tmp_path / "cache")


def test_the_process_may_be_lost(kaggle, tmp_path, helped, monkeypatch):
    say = decoding._Helper._say

    def last_word(self, pickled):
        say(self, pickled)
        self._process.kill()

    monkeypatch.setattr(decoding._Helper, "_say", last_word)
    data = open_dataset(str(kaggle), size=16, cache=tmp_path / "cache")
    assert helped
    assert True not in helped
    assert (data.pixels.reshape(len(data), -1).std(axis=1) > 0).all()
