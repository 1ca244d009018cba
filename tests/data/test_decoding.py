"""Decoding by other processes, as it is done for many images."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from benchmark.data.preparation.decoding import Rows, Seen, Task, Workers, choose_workers, decode_all
from benchmark.data.sources import Source, open_source
from benchmark.data.sources.base import Loaded
from benchmark.errors import UserError

HERE, THERE = Workers(threads=2, chunk=12), Workers(threads=0, processes=2, chunk=12)
# A process that goes without an answer to what it was asked.
LOST = "import pickle, sys; pickle.load(sys.stdin.buffer); pickle.load(sys.stdin.buffer)"


@dataclass(frozen=True)
class Noted:
    """A source's images; each process that decodes one leaves its number in a folder."""

    source: Source
    folder: Path

    def load(self, index: int) -> Loaded:
        (self.folder / str(os.getpid())).touch()
        return self.source.load(index)


@dataclass(frozen=True)
class Decoded:
    """What came of a data set: its images, what was seen of each, sentences on the others, who decoded."""

    pixels: npt.NDArray[np.uint8]
    thumbnails: npt.NDArray[np.uint8]
    seen: list[Seen]
    skipped: tuple[str, ...]
    processes: set[int]


def decoded(images: Path, folder: Path, workers: Workers, *, skip_corrupt: bool = False) -> Decoded:
    """Decode all images of a folder or an archive into a folder."""
    (folder / "processes").mkdir(parents=True)
    source = open_source(str(images))
    task = Task(Noted(source, folder / "processes"), str(images), 16, "squash", skip_corrupt)  # type: ignore[arg-type]
    seen, skipped = decode_all(task, Rows(range(len(source.items)), folder, folder), lambda *_: None, workers)
    processes = {int(file.name) for file in (folder / "processes").iterdir()}
    return Decoded(np.load(folder / "pixels.npy"), np.load(folder / "thumbnails.npy"), seen, skipped, processes)


@pytest.fixture
def damaged(kaggle: Path) -> Path:
    """A folder of images of which every twelfth is damaged."""
    for image in sorted(kaggle.glob("*/*/*.png"))[::12]:
        image.write_bytes(b"no image")
    return kaggle


def test_other_processes_decode_the_same(damaged: Path, tmp_path: Path) -> None:
    there = decoded(damaged, tmp_path / "there", THERE, skip_corrupt=True)
    here = decoded(damaged, tmp_path / "here", HERE, skip_corrupt=True)
    assert os.getpid() not in there.processes
    assert here.processes == {os.getpid()}
    assert there.seen == here.seen
    assert len(there.skipped) == 4
    assert there.skipped == here.skipped
    assert np.array_equal(there.pixels, here.pixels)
    assert np.array_equal(there.thumbnails, here.thumbnails)


def test_threads_and_processes_share_the_work(kaggle: Path, tmp_path: Path) -> None:
    shared = decoded(kaggle, tmp_path / "shared", Workers(threads=1, processes=1, chunk=1))
    assert [one.row for one in shared.seen] == list(range(48))
    assert np.array_equal(shared.pixels, decoded(kaggle, tmp_path / "here", HERE).pixels)


def test_another_process_opens_an_archive_by_itself(kaggle, zipped, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, tmp_path])  # a Path, which Python passes over
    there = decoded(zipped(kaggle), tmp_path / "there", THERE)
    assert os.getpid() not in there.processes
    assert np.array_equal(there.pixels, decoded(kaggle, tmp_path / "here", HERE).pixels)


def test_an_image_that_the_process_cannot_read_is_named(damaged: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"png' can't be read .*--skip-corrupt"):
        decoded(damaged, tmp_path / "there", THERE)


@pytest.mark.parametrize("words", [["-c", LOST], ["-c", "pass"], ["no such file"]])
def test_the_process_may_be_lost(kaggle: Path, tmp_path: Path, words: list[str]) -> None:
    def lost() -> "subprocess.Popen[bytes]":
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        return subprocess.Popen([sys.executable, *words], **pipes)  # type: ignore[call-overload,no-any-return]

    found = decoded(kaggle, tmp_path / "there", Workers(threads=0, processes=2, chunk=12, start=lost))
    assert found.processes == {os.getpid()}
    assert (found.pixels.reshape(len(found.pixels), -1).std(axis=1) > 0).all()


def test_the_process_may_not_start(kaggle: Path, tmp_path: Path) -> None:
    def none_left() -> "subprocess.Popen[bytes]":
        raise OSError("no more processes")

    found = decoded(kaggle, tmp_path / "there", Workers(threads=0, processes=1, start=none_left))
    assert found.processes == {os.getpid()}


@pytest.mark.parametrize(("images", "by_processes"), [(1999, False), (2000, True)])
def test_only_many_images_are_worth_a_process(kaggle: Path, tmp_path: Path, images: int, by_processes: bool) -> None:
    rows = Rows([0] * images, tmp_path, None)
    of_folder = choose_workers(Task(open_source(str(kaggle)), "", 16, "squash", False), rows)
    assert (of_folder.processes > 0) is (by_processes and of_folder.threads + of_folder.processes > 1)
    own = Task(Noted(open_source(str(kaggle)), tmp_path), "", 16, "squash", False)  # type: ignore[arg-type]
    assert choose_workers(own, rows).processes == 0  # a user's own source may not be found by another process
