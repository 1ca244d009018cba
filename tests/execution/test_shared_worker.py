"""Runs that can share a worker do, and none of them can tell."""

import platform
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmark.records.record import Predictions, Record
from benchmark.records.store import RecordStore
from tests.execution.commands import GOOD, Bench, make_images

PLUGIN = (
    GOOD
    + '''
def noted(name):
    """Note which process builds; return how many runs of this backbone it has begun, this one included."""
    with (HERE / name).open("a") as stream:
        stream.write(f"{os.getpid()}\\n")
    return (HERE / name).read_text().split().count(str(os.getpid()))


def convolutions(num_classes):
    from torch import nn
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(6 * 7 * 7, num_classes)),
    )


@backbone("test/sociable", framework="torch", input_size=16)
def sociable(num_classes):
    noted("sociable")
    return convolutions(num_classes)


@backbone("test/another", framework="torch", input_size=16)
def another(num_classes):
    noted("another")
    return convolutions(num_classes)


@backbone("test/spoils", framework="torch", input_size=16)
def spoils(num_classes):
    """The first run in a process ends well, and what it leaves behind ends the process in the second."""
    if noted("spoils") > 1:
        os._exit(5)
    return convolutions(num_classes)


@backbone("test/leaves", framework="torch", input_size=16)
def leaves(num_classes):
    noted("leaves")
    subprocess.Popen(["sleep", "600"])
    return convolutions(num_classes)


@backbone("test/large", framework="torch", input_size=16)
def large(num_classes):
    """Note how much memory the process has before it builds, and how much it keeps of 256 MiB that are freed."""
    import numpy as np
    from torch import nn

    def resident():
        return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    before = resident()
    np.ones(2**28, dtype=np.uint8)
    with (HERE / "large").open("a") as stream:
        stream.write(f"{before}\\n")
    with (HERE / "kept").open("a") as stream:
        stream.write(f"{resident() - before}\\n")
    return nn.Sequential(nn.Flatten(), nn.Linear(768, 2**13), nn.ReLU(), nn.Linear(2**13, num_classes))


@backbone("test/keras", framework="keras", input_size=16)
def in_keras(num_classes):
    from keras import Sequential, layers
    noted("keras")
    return Sequential([
        layers.Conv2D(6, 3), layers.BatchNormalization(), layers.ReLU(), layers.Flatten(), layers.Dropout(0.3),
        layers.Dense(num_classes),
    ])
'''
)
EXACT = ("--set", "execution.channels_last=off", "--set", "execution.compile=off", "--epochs", "2")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("shared") / "images")


@pytest.fixture
def bench(images: Path, tmp_path: Path) -> Bench:
    return Bench.of(tmp_path, PLUGIN, images)


def pids(bench: Bench, name: str) -> list[str]:
    return (bench.plugin.parent / name).read_text().split()


def records(bench: Bench) -> dict[str, tuple[Record, Predictions]]:
    found = {}
    for record, predictions in RecordStore(bench.out).read_all():
        assert predictions is not None
        found[record.key] = record, predictions
    return found


def told(record: Record) -> dict[str, object]:
    """Return what a record says, but for times, speeds and provenance."""
    values = record.model_dump(exclude={"timings", "throughput", "provenance"})
    for line in values["history"]:
        del line["seconds"]
    return values


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("test/sociable", ()),
        ("test/sociable", ("--set", "trainable_from=head", "--set", "head.kind=linear")),
        ("test/keras", ("--set", "ema.decay=0.5")),
        ("test/keras", ("--keras-backend", "torch")),
    ],
    ids=["torch", "frozen", "tensorflow", "keras-on-torch"],
)
def test_a_used_worker_is_as_good_as_a_new_one(
    bench: Bench, tmp_path: Path, name: str, words: tuple[str, ...]
) -> None:
    together = bench.run("--backbone", name, "--seed", "3", "4", *EXACT, *words)
    assert together.returncode == 0, together.stdout
    assert len(set(pids(bench, name.partition("/")[2]))) == 1
    shared = records(bench)
    assert sorted(record.provenance["runs_before_in_process"] for record, _ in shared.values()) == [0, 1]

    alone = Bench(bench.images, bench.plugin, tmp_path / "alone")
    assert alone.run("--backbone", name, "--seed", "4", *EXACT, *words).returncode == 0
    [(key, (record, predictions))] = records(alone).items()
    assert record.provenance["runs_before_in_process"] == 0
    assert shared[key][0].provenance["runs_before_in_process"] == 1
    assert told(shared[key][0]) == told(record)
    np.testing.assert_array_equal(shared[key][1].probabilities, predictions.probabilities)


@pytest.mark.slow
def test_one_plugin_s_backbones_do_not_share_and_each_run_has_its_log(bench: Bench) -> None:
    done = bench.run("--backbone", "test/sociable", "test/another", "--seed", "0", "1", *EXACT)
    assert done.returncode == 0, done.stdout
    first, second = set(pids(bench, "sociable")), set(pids(bench, "another"))
    assert len(first) == len(second) == 1
    assert first != second
    assert len(list((bench.out / "internal/logs").glob("*.log"))) == 4


@pytest.mark.slow
def test_a_run_that_a_used_worker_spoils_is_done_again_in_a_new_one(bench: Bench) -> None:
    done = bench.run("--backbone", "test/spoils", "--seed", "0", "1", "2", *EXACT)
    assert done.returncode == 0, done.stdout
    assert len(records(bench)) == 3
    assert len(set(pids(bench, "spoils"))) == 3
    assert not list((bench.out / "internal/failed").glob("*")), "what was spoilt must leave no failure behind"


@pytest.mark.slow
def test_a_worker_whose_run_left_something_running_is_not_used_again(bench: Bench) -> None:
    done = bench.run("--backbone", "test/leaves", "--seed", "0", "1", *EXACT)
    assert done.returncode == 0, done.stdout
    assert len(set(pids(bench, "leaves"))) == 2


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_run_gives_its_memory_back_before_the_next_builds(bench: Bench) -> None:
    done = bench.run("--backbone", "test/large", "--seed", "0", "1", "2", "3", *EXACT)
    assert done.returncode == 0, done.stdout
    resident = [int(line) / 2**20 for line in (bench.plugin.parent / "large").read_text().split()]
    assert len(resident) == 4
    # weights, gradients and the optimiser's slots of one run: 4 x 24 MiB
    assert max(resident[2:]) - resident[1] < 48, resident
    if platform.libc_ver()[0] == "glibc":
        kept = [int(line) / 2**20 for line in (bench.plugin.parent / "kept").read_text().split()]
        assert min(kept) > 200, kept
