"""A real Slurm of one node does boards, where that is asked for and possible (``slurm_on_one_node.py``)."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

import numpy as np
import psutil
import pytest

from benchmark.records.outcomes import Outcome
from benchmark.records.record import Record
from benchmark.records.store import RecordStore
from tests.execution.commands import EXACT, GOOD, PATIENCE, SLOW, Bench, follow_until, interrupt, make_images
from tests.execution.slurm_on_one_node import CanNotStart, ask, one_node, why_no_tests

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_no_tests()), reason=why_no_tests()),
    pytest.mark.xdist_group("slurm"),  # one Slurm for all of them
]
ROOT = Path(__file__).parents[2]
TRAINING = "training · epoch"  # what a command shows of a run, now and then
CRASHING = (
    GOOD
    + """
@backbone("test/crashing", framework="torch", input_size=16)
def crashing(num_classes):
    os.kill(os.getpid(), signal.SIGKILL)
"""
)


@dataclass(frozen=True)
class SlurmBench(Bench):
    """A bench whose commands find a Slurm."""

    slurm: Mapping[str, str] = field(kw_only=True)

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "SLURM_CONF": self.slurm["SLURM_CONF"], "PYTHONPATH": str(ROOT)}

    def words(self, *more: str, time_limit: str = "10m") -> tuple[str, ...]:
        file = self.out.parent / "cluster.toml"
        file.write_text(f'cpus = 1\ntime_limit = "{time_limit}"\nsave_time = "30s"\npartition = "low"\n')
        return ("--executor", "slurm", "--cluster", str(file), *more)

    def status(self) -> dict[str, object]:
        """Return what ``status --json`` says."""
        done = subprocess.run(
            [sys.executable, "-m", "benchmark", "status", str(self.out), "--json"],
            env=self.environment(), capture_output=True, text=True, check=True,
        )  # fmt: skip
        answer = json.loads(done.stdout)
        assert isinstance(answer, dict)
        return answer

    def queue(self) -> list[str]:
        return ask(self.slurm, "squeue", "-h", "-r", "-o", "%i %T").splitlines()


@pytest.fixture(scope="module")
def slurm() -> Iterator[Mapping[str, str]]:
    with ExitStack() as stack:
        try:
            environment = stack.enter_context(one_node())
        except CanNotStart as error:  # one core, no name of the host: nothing of ours is wrong
            pytest.skip(str(error))
        yield environment


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("slurm") / "images")


@pytest.fixture
def bench(images: Path, tmp_path: Path, slurm: Mapping[str, str]) -> SlurmBench:
    return a_bench(images, tmp_path, slurm, GOOD + SLOW)


def a_bench(images: Path, folder: Path, slurm: Mapping[str, str], plugin: str) -> SlurmBench:
    own = Bench.of(folder, plugin, images)
    return SlurmBench(own.images, own.plugin, own.out, slurm=slurm)


def wait_until(condition: Callable[[], object], seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.5)


@contextmanager
def hurried(bench: SlurmBench) -> Iterator[None]:
    """Let jobs begin that Slurm holds back for two minutes, as it does with each that is put into the queue again."""
    ended = Event()

    def hurry() -> None:
        while not ended.wait(1):
            with suppress(subprocess.TimeoutExpired):  # a busy machine: again in a second
                for line in bench.queue():
                    if "PENDING" in line:
                        ask(bench.slurm, "scontrol", "update", f"jobid={line.split()[0]}", "starttime=now")

    thread = Thread(target=hurry)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def the_record(bench: Bench) -> Record:
    [(record, _)] = RecordStore(bench.out).read_all()
    return record


def test_a_board_whose_failed_run_is_a_row(images: Path, tmp_path: Path, slurm: Mapping[str, str]) -> None:
    bench = a_bench(images, tmp_path, slurm, CRASHING)
    done = bench.run("--backbone", "test/good", "test/crashing", *bench.words("--seed", "0", "1", "--epochs", "2"))
    assert done.returncode == 1, done.stdout + done.stderr
    ends = sorted((record.backbone.name, record.outcome) for record, _ in RecordStore(bench.out).read_all())
    assert ends == [("test/crashing", Outcome.CRASHED)] * 2 + [("test/good", Outcome.OK)] * 2
    assert bench.queue() == []
    counts = bench.status()["counts"]
    assert counts == {"running": 0, "queued": 0, "stopped": 0, "failed": 2, "done": 2}


def test_the_time_limit_saves_and_requeues(bench: SlurmBench) -> None:
    process = bench.start("--backbone", "test/slow", *bench.words("--epochs", "40", *EXACT, time_limit="60s"))
    follow_until(process, TRAINING)
    wait_until(lambda: any("PENDING" in line for line in bench.queue()))
    status = bench.status()
    assert status["counts"]["queued"] == 1, status  # type: ignore[index]
    bench.hurry()
    with hurried(bench):
        rest, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, rest
    record = the_record(bench)
    assert record.provenance["resumed_from_epoch"] >= 1
    assert [epoch.epoch for epoch in record.history] == list(range(1, 41))

    here = Bench(bench.images, bench.plugin, bench.out.with_name("here"))
    assert here.run("--backbone", "test/slow", "--epochs", "40", *EXACT).returncode == 0
    whole = the_record(here)
    assert whole.key == record.key
    expected, found = (RecordStore(out).predictions(record) for out in (here.out, bench.out))
    assert expected is not None
    assert found is not None
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)


def test_preemption_requeues(bench: SlurmBench) -> None:
    process = bench.start("--backbone", "test/slow", *bench.words("--epochs", "25", *EXACT))
    follow_until(process, TRAINING)
    urgent = bench.out.parent / "urgent.sh"
    urgent.write_text("#!/bin/sh\nsleep 2\n")
    ask(bench.slurm, "sbatch", "--partition=high", "--cpus-per-task=2", "--output=/dev/null", str(urgent))
    wait_until(lambda: any("PENDING" in line for line in bench.queue()) and len(bench.queue()) == 1)
    bench.hurry()
    with hurried(bench):
        rest, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, rest
    assert the_record(bench).provenance["resumed_from_epoch"] >= 1


def test_ctrl_c_saves_and_twice_cancels(bench: SlurmBench) -> None:
    words = ("--backbone", "test/slow", *bench.words("--epochs", "200", *EXACT))
    process = bench.start(*words)
    follow_until(process, TRAINING)
    interrupt(process)
    rest, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, rest
    record = the_record(bench)
    assert record.outcome is Outcome.INTERRUPTED
    assert record.reason.startswith("Stopped after epoch")
    assert bench.queue() == []

    process = bench.start(*words)
    follow_until(process, TRAINING)
    for _ in range(2):
        interrupt(process)
        time.sleep(0.5)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    wait_until(lambda: bench.queue() == [])
    assert bench.status()["counts"]["stopped"] == 1  # type: ignore[index]


def test_a_command_leaves_and_the_next_waits_for_its_jobs(bench: SlurmBench) -> None:
    words = ("--backbone", "test/slow", "test/slow_too", *bench.words("--epochs", "20"))
    left = bench.run(*words, "--detach")
    assert left.returncode == 0, left.stdout + left.stderr
    assert "2 of 2 runs are left to the queue" in left.stdout
    assert len(bench.queue()) == 2
    wait_until(lambda: bench.status()["counts"]["running"] == 2)  # type: ignore[index]
    killed = bench.start(*words)
    time.sleep(4)
    killed.kill()
    killed.wait()
    assert len(bench.queue()) == 2
    bench.hurry()
    done = bench.run(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len((bench.plugin.parent / "builds").read_text().split()) == 2, "each run was built once"
    assert (bench.out / "leaderboard.html").is_file()


def is_element(process: psutil.Process, submission: Path) -> bool:
    with suppress(psutil.Error):
        words = process.cmdline()
        return "submitit.core._submit" in words and str(submission) in words and process.name().startswith("python")
    return False


def test_a_job_that_is_killed_is_a_row_and_the_others_go_on(bench: SlurmBench) -> None:
    process = bench.start("--backbone", "test/slow", *bench.words("--seed", "0", "1", "--epochs", "15"))
    follow_until(process, TRAINING)
    log = max((bench.images.parent / "cache/slurm").rglob("*_log.out"), key=lambda path: path.stat().st_mtime)
    assert log.parent.stat().st_mode & 0o777 == 0o700
    [element] = [each for each in psutil.process_iter() if is_element(each, log.parent)]
    element.kill()
    bench.hurry()
    rest, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, rest
    ends = sorted((record.seed, record.outcome) for record, _ in RecordStore(bench.out).read_all())
    assert ends == [(0, Outcome.CRASHED), (1, Outcome.OK)]
    assert "Slurm ended its job" in rest
    assert not any((bench.out / "internal/progress").iterdir())
