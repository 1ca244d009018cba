"""A job reaches its worker by the pipe between them, and the worker takes no other split than the one planned."""

import io
import json
import queue
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.child_process import send
from benchmark.data.dataset import Split
from benchmark.data.preparation.prepare import open_dataset
from benchmark.data.splits.files import save_split, split_table
from benchmark.data.splits.splits import SplitOptions, make_splits
from benchmark.execution.planning.weights import Weights
from benchmark.execution.worker.channel import Channel
from benchmark.execution.worker.inputs import load_images
from benchmark.execution.worker.job import Job
from benchmark.hashing import hash_bytes
from benchmark.records.outcomes import RunFailure
from benchmark.records.settings import Settings
from tests.execution.samples import a_record, a_run


def a_job(out: Path, **run: Any) -> Job:
    record = a_record()
    return Job(
        run=a_run(**run), recipe_name="quick", backbone=record.backbone, data=record.data,
        weights=Weights(policy="none", requested="none", used="none"),
        settings=Settings(plugins=(out / "mine.py",), note="ä"), device="a processor",
        data_folder=out, split_file=out / "split.npz", out=out,
    )  # fmt: skip


def test_a_worker_gets_the_job_that_was_sent_and_not_one_that_lies_in_a_folder(tmp_path: Path) -> None:
    job = a_job(tmp_path)
    job.work.mkdir(parents=True)
    swapped = job.model_copy(update={"settings": Settings(plugins=(tmp_path / "theirs.py",))})
    (job.work / "job.json").write_text(swapped.model_dump_json())
    pipe = io.BytesIO()
    send(pipe, {"job": job.model_dump(mode="json"), "attempt": "1"})
    pipe.seek(0)
    channel = object.__new__(Channel)
    channel._stop, channel._alone, channel._runs = threading.Event(), threading.Event(), queue.SimpleQueue()
    channel._requests = _OneLine(pipe)  # type: ignore[assignment]
    with pytest.raises(_End):
        channel._listen()
    values, attempt = channel.next_run()
    assert attempt == "1"
    assert Job.model_validate(values) == job


class _End(Exception):
    pass


class _OneLine:
    """A pipe that stays open after its line: the end of a pipe ends the worker."""

    def __init__(self, stream: io.BytesIO) -> None:
        self._stream = stream

    def __iter__(self) -> Any:
        yield self._stream.readline()
        raise _End


def test_a_split_that_was_swapped_is_not_trained_on(tmp_path: Path) -> None:
    data = open_dataset("phantom", size=16, cache=tmp_path / "cache")
    split = make_splits(data, SplitOptions(seed=0, validation_fraction=0.2))[0]
    table = hash_bytes(split_table(data, (split,)))
    job = a_job(tmp_path, data_fingerprint=data.fingerprint, split_hash=table)
    job = job.model_copy(update={"data_folder": data.folder})
    save_split(split, job.split_file)
    found, read = load_images(job)
    assert found.fingerprint == data.fingerprint
    assert isinstance(read, Split)
    np.testing.assert_array_equal(read.test, split.test)
    leaking = Split(**{**vars(split), "train": split.test, "test": split.train})
    save_split(leaking, job.split_file)
    with pytest.raises(RunFailure) as refused:
        load_images(job)
    assert str(refused.value) == (
        f"The prepared images or the split in {job.split_file} changed meanwhile; try again."
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"train": np.array([0, 1]), "test": np.array([1])}, "an image is in two of its parts, or none"),
        ({"train": np.array([-1])}, "an image is in two of its parts, or none"),
        ({"train": np.array(["a"])}, "its array 'train' is <U1 with 1 axes, not whole numbers with 1"),
        ({"facts": np.array("{}")}, "its facts are not those of a split"),
        ({"facts": np.array(json.dumps({"name": [1]}))}, "its facts are not those of a split"),
    ],
)
def test_a_split_file_that_is_none_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    from benchmark.data.splits.files import load_split
    from benchmark.errors import UserError

    split = Split("holdout", np.array([0]), np.array([2]), np.array([3]), "00")
    path = tmp_path / "split.npz"
    save_split(split, path)
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, **{**arrays, **change})
    with pytest.raises(UserError) as refused:
        load_split(path)
    assert str(refused.value) == f"Split file '{path}' can't be read ({said})."
