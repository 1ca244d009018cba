"""``--rerun-speeds``: speeds of runs that are done, measured anew; nothing else of them changes."""

from pathlib import Path

import numpy as np
import pytest

from benchmark.records.outcomes import Outcome
from benchmark.records.record import Record
from benchmark.records.store import RecordStore
from tests.execution.commands import GOOD, Bench

pytestmark = pytest.mark.slow
PLUGIN = (
    GOOD
    + """
@backbone("test/keras", framework="keras", input_size=16)
def of_keras(num_classes):
    import keras
    return keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(4, 3, strides=4), keras.layers.Flatten(),
                             keras.layers.Dense(num_classes)])
"""
)
# what is not the speed's
LEFT = {"throughput", "provenance", "network"}


def records(out: Path) -> dict[str, Record]:
    return {record.backbone.name: record for record, _ in RecordStore(out).read_all()}


def test_speeds_are_measured_anew_and_scores_stay(tmp_path: Path) -> None:
    bench = Bench.of(tmp_path, PLUGIN)
    words = (
        *("--backbone", "test/good", "test/keras", "--epochs", "2", "--cam", "4", "--keep-models", "none"),
        *("--set", "testing.flips=horizontal"),
    )
    assert bench.run(*words).returncode == 0
    store, before = RecordStore(bench.out), records(bench.out)
    arrays = {name: store.predictions(record) for name, record in before.items()}
    # as if another program had kept the processor busy
    for name, record in before.items():
        busy = record.throughput.model_copy(update={"infer_images_per_s": 0.5, "cores_taken_by_others": 1.5})
        store.write(record.model_copy(update={"throughput": busy}), arrays[name], store.cams(record))
    done = bench.run(*words, "--rerun-speeds")
    assert done.returncode == 0, done.stdout + done.stderr
    for name, record in records(bench.out).items():
        speeds, old = record.throughput, before[name].throughput
        assert speeds.infer_images_per_s is not None
        assert speeds.infer_images_per_s > 100
        assert speeds.cores_taken_by_others != 1.5
        assert (speeds.batch_size, speeds.peak_memory_mb) == (old.batch_size, old.peak_memory_mb)
        assert record.provenance["speeds_measured_again"]["at"] >= before[name].provenance["at"]
        assert record.provenance["at"] == before[name].provenance["at"]
        assert record.model_dump(exclude=LEFT) == before[name].model_dump(exclude=LEFT)
        predictions, first = store.predictions(record), arrays[name]
        assert predictions is not None
        assert first is not None
        np.testing.assert_array_equal(predictions.probabilities, first.probabilities)
    assert "kept, ok" in bench.run(*words).stdout  # and it is done


def test_what_was_not_done_is_done_and_another_device_is_refused(tmp_path: Path) -> None:
    bench = Bench.of(tmp_path, GOOD)
    words = ("--backbone", "test/good", "--epochs", "1", "--rerun-speeds")
    assert "ok, macro-F1" in bench.run(*words).stdout
    store = RecordStore(bench.out)
    [(record, predictions)] = store.read_all()
    store.write(record.model_copy(update={"device": "Another Processor"}), predictions)
    done = bench.run(*words)
    assert done.returncode == 1
    assert "The run was done on Another Processor" in " ".join(done.stdout.split())
    [(kept, _)] = store.read_all()
    assert kept.outcome is Outcome.OK
    assert kept.throughput == record.throughput
