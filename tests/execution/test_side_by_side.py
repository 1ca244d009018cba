"""Several workers of one machine: each with its GPU or its share of the cores, and silence while one measures."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import psutil
import pytest

from benchmark.errors import UserError
from benchmark.execution.executors.place import Silence
from benchmark.execution.executors.worker_process import WorkerProcess
from benchmark.execution.planning import side_by_side
from benchmark.execution.planning.side_by_side import largest_first, worker_environments
from benchmark.execution.worker.job import Job, worker_environment
from benchmark.records.outcomes import Outcome
from benchmark.records.record import Predictions, Record
from benchmark.records.store import RecordStore
from tests.execution.commands import GOOD, Bench, make_images
from tests.execution.samples import a_run
from tests.execution.test_job import a_job

PLUGIN = (
    GOOD
    + """
def together(name):
    '''Say that this run has begun, and wait until the other has too.'''
    (HERE / f"{name} begun").touch()
    until = time.monotonic() + 60
    while len(list(HERE.glob("* begun"))) < 2:
        assert time.monotonic() < until, "the other run did not begin"
        time.sleep(0.01)


@backbone("test/left", framework="torch", input_size=16)
def left(num_classes):
    together("left")
    return tiny(num_classes)


@backbone("test/right", framework="torch", input_size=16)
def right(num_classes):
    together("right")
    return tiny(num_classes)
"""
)
BOTH = (
    "--backbone",
    "test/left",
    "test/right",
    "--set",
    "execution.deterministic=true",
    "--set",
    "execution.channels_last=off",
)


def jobs(count: int, kind: str) -> list[Job]:
    return [a_job(Path("out"), seed=seed, device_kind=kind) for seed in range(count)]


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "usable_cpus", lambda: 8)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    there = SimpleNamespace(available=13 * 2**30)
    monkeypatch.setattr(side_by_side.psutil, "virtual_memory", lambda: there)
    monkeypatch.setattr(side_by_side, "_CGROUP", tmp_path)  # without files: there is no limit
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        monkeypatch.delenv(name, raising=False)
    return there


def test_on_a_processor_auto_is_two_workers_and_a_number_shares_the_cores(
    cores: None, memory: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = {"OMP_NUM_THREADS": "4", "TF_NUM_INTRAOP_THREADS": "4"}
    assert worker_environments("auto", jobs(5, "cpu")) == (half, half)
    assert worker_environments("auto", jobs(1, "cpu")) == ({},)
    fixed = {"precision": "float32", "channels_last": "off", "compile": "off", "deterministic": True}
    exact = a_run().recipe.with_values({f"execution.{name}": value for name, value in fixed.items()})
    assert worker_environments("auto", [*jobs(5, "cpu"), a_job(Path("out"), recipe=exact)]) == ({},)
    memory.available = 11 * 2**30
    assert worker_environments("auto", jobs(5, "cpu")) == ({},)
    memory.available = 13 * 2**30
    monkeypatch.setattr(side_by_side, "usable_cpus", lambda: 1)
    assert worker_environments("auto", jobs(5, "cpu")) == ({},)


def test_auto_leaves_threads_that_were_chosen_alone_and_keeps_within_a_containers_memory(
    cores: None, memory: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text(f"{2**30}\n")
    assert len(worker_environments("auto", jobs(5, "cpu"))) == 2
    (tmp_path / "memory.max").write_text(f"{8 * 2**30}\n")
    assert worker_environments("auto", jobs(5, "cpu")) == ({},)
    (tmp_path / "memory.max").write_text(f"{14 * 2**30}\n")
    assert len(worker_environments("auto", jobs(5, "cpu"))) == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert worker_environments("auto", jobs(5, "cpu")) == ({},)


def test_of_networks_that_share_a_worker_the_largest_comes_first() -> None:
    sizes = {"keras/small": 1, "keras/large": 9, "timm/small": 2, "timm/large": 8}
    engines = {"keras": "tensorflow", "timm": "torch"}
    planned = [
        a_job(Path("out"), backbone=name, engine=engines[name.partition("/")[0]])
        for name in ("keras/small", "timm/small", "keras/large", "timm/large")
    ]
    ordered = [job.run.backbone for job in largest_first(planned, sizes)]
    assert ordered == ["keras/large", "keras/small", "timm/large", "timm/small"]
    torch = []
    for name in ("timm/small", "own/middle", "keras_cv/largest", "timm/large"):
        job = a_job(Path("out"), backbone=name, engine="torch")
        facts = job.backbone.model_copy(update={"library": name.partition("/")[0], "origin": "built-in"})
        torch.append(job.model_copy(update={"backbone": facts}))
    of_torch = [job.run.backbone for job in largest_first(torch, {**sizes, "own/middle": 5, "keras_cv/largest": 99})]
    assert of_torch == ["timm/large", "own/middle", "timm/small", "keras_cv/largest"], (
        "its library has its own worker"
    )
    followed = [*planned, a_job(Path("out"), init_from=planned[0].key)]
    assert largest_first(followed, sizes) == tuple(followed)


def test_a_number_of_workers_shares_the_cores(cores: None) -> None:
    assert worker_environments(1, jobs(5, "cpu")) == ({},)
    assert worker_environments(3, jobs(5, "cpu")) == ({"OMP_NUM_THREADS": "2", "TF_NUM_INTRAOP_THREADS": "2"},) * 3
    assert len(worker_environments(8, jobs(2, "cpu"))) == 2  # never more workers than runs


@pytest.mark.parametrize("chosen", [None, "0,1,2", "2, GPU-77,0,-1,1"])
def test_auto_is_a_worker_for_each_gpu(chosen: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if chosen is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr(side_by_side, "nvidia_smi", lambda query: ["GPU-a", "GPU-b", "GPU-c"])
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    found = [each["CUDA_VISIBLE_DEVICES"] for each in worker_environments("auto", jobs(9, "cuda"))]
    assert found == {None: ["GPU-a", "GPU-b", "GPU-c"], "0,1,2": ["0", "1", "2"]}.get(chosen, ["2", "GPU-77", "0"])
    assert worker_environments("auto", [*jobs(2, "cuda"), *jobs(1, "cpu")]) == ({},)
    assert len(worker_environments(2, [*jobs(2, "cuda"), *jobs(1, "cpu")])) == 2


def test_a_worker_gets_its_own_gpu_and_a_run_on_the_processor_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    second = worker_environments(2, jobs(2, "cuda"))[1]
    on_gpu, on_processor = jobs(1, "cuda")[0], jobs(1, "cpu")[0]
    assert worker_environment(on_gpu, "1", second)["CUDA_VISIBLE_DEVICES"] == "1"
    assert worker_environment(on_processor, "1", second)["CUDA_VISIBLE_DEVICES"] == "-1"


def test_more_workers_than_there_is_room_for_are_refused(cores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(UserError, match="--workers 9: each worker needs a core of its own, and there are 8 cores"):
        worker_environments(9, jobs(20, "cpu"))
    with pytest.raises(UserError, match="needs a GPU of its own, and there is 1 GPU"):
        worker_environments(2, jobs(2, "cuda"))


@pytest.fixture
def two_processes() -> Iterator[list["subprocess.Popen[bytes]"]]:
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def test_all_others_are_paused_while_one_measures(two_processes: list["subprocess.Popen[bytes]"]) -> None:
    def become(*paused: bool) -> bool:
        """Wait for signals, which reach another process a little later."""
        until = time.monotonic() + 10
        while time.monotonic() < until:
            states = [psutil.Process(process.pid).status() for process in two_processes]
            if [state == psutil.STATUS_STOPPED for state in states] == list(paused):
                return True
        return False

    silence = Silence()
    for number, process in enumerate(two_processes):
        silence.enter(number, lambda process=process: cast(WorkerProcess, SimpleNamespace(process=process)))
    assert silence.take(0)
    assert become(False, True)
    assert silence.take(0)  # asked twice, it is still its own
    assert not silence.take(1)
    silence.give_back(1)  # what is another's is not given back
    assert become(False, True)
    silence.give_back(0)
    assert become(False, False)
    assert silence.take(1)
    silence.leave(1)  # it ended while it measured
    assert become(False, False)


def result_of(out: Path, name: str) -> tuple[Record, Predictions]:
    store = RecordStore(out)
    record = next(record for record, _ in store.read_all() if record.backbone.name == name)
    predictions = store.predictions(record)
    assert predictions is not None
    return record, predictions


@pytest.mark.slow
def test_two_runs_go_on_at_once_and_give_what_they_give_alone(tmp_path: Path) -> None:
    images = make_images(tmp_path / "images", per_class=6)
    bench = Bench.of(tmp_path, PLUGIN, images)
    done = bench.run(*BOTH, "--workers", "2")  # each waits in its builder until the other has begun
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test/left, seed 0: training" in done.stdout or "test/right, seed 0: training" in done.stdout
    alone = Bench(images, bench.plugin, tmp_path / "alone")
    assert alone.run(*BOTH, "--workers", "1").returncode == 0
    for name in ("test/left", "test/right"):
        record, predictions = result_of(bench.out, name)
        same, expected = result_of(alone.out, name)
        assert record.outcome is Outcome.OK
        assert record.key == same.key
        np.testing.assert_array_equal(predictions.probabilities, expected.probabilities)
        assert record.settings is not None
        assert record.settings.workers == 2
        assert record.throughput.infer_images_per_s
        assert same.settings is not None
        assert same.settings.workers == 1
    assert "Trained beside other runs" in (bench.out / "leaderboard.md").read_text()
    assert "Trained beside other runs" not in (alone.out / "leaderboard.md").read_text()


@pytest.mark.slow
def test_what_continues_another_run_waits_for_it_and_a_failure_is_a_row(tmp_path: Path) -> None:
    bench = Bench.of(tmp_path, GOOD + _FAILS, make_images(tmp_path / "images", per_class=6))
    suite = tmp_path / "suite.toml"
    suite.write_text(_SUITE)
    words = ("--data", str(bench.images), "--plugin", str(bench.plugin), "--out", str(bench.out), "--size", "16")
    done = subprocess.run(
        [sys.executable, "-m", "benchmark", *words, "--suite", str(suite), "--device", "cpu", "--workers", "2"],
        capture_output=True, text=True, timeout=240, env=bench.environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    outcomes = {
        (record.backbone.name, record.recipe_name.partition(" + ")[0]): record.outcome
        for record, _ in RecordStore(bench.out).read_all()
    }
    assert outcomes == {
        ("test/good", "first"): Outcome.OK,
        ("test/good", "then"): Outcome.OK,
        ("test/fails", "first"): Outcome.ERROR,
        ("test/fails", "then"): Outcome.MISSING_WEIGHTS,
    }


_FAILS = """
@backbone("test/fails", framework="torch", input_size=16)
def fails(num_classes):
    raise RuntimeError("no")
"""
_SUITE = """
backbones = ["test/good", "test/fails"]
recipes = ["quick"]
changes = { epochs = 1, batch_size = 8 }

[[entries]]
name = "first"

[[entries]]
name = "then"
init_from = "first"
"""
