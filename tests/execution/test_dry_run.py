"""``--dry-run``: the plan with how long it may take, and nothing done."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.execution.planning.devices import driver_shows_gpu
from benchmark.execution.planning.dry_run import Before, expected_seconds
from benchmark.execution.planning.plan import make_plan
from benchmark.execution.worker.step_timing import StepTimes
from tests.execution.commands import GOOD, Bench, request_on

PLUGIN = (
    GOOD
    + """
@backbone("test/broken", framework="torch", input_size=16)
def broken(num_classes):
    raise ValueError("no such layer")


@backbone("test/absent", framework="torch", input_size=16, requires=("no_such_module",))
def absent(num_classes):
    return tiny(num_classes)
"""
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench.of(tmp_path_factory.mktemp("dry"), PLUGIN)


def test_a_dry_run_measures_each_network_once_says_what_is_wrong_and_does_nothing(bench: Bench) -> None:
    names = ("test/good", "test/broken", "test/absent")
    done = bench.run("--backbone", *names, "--seed", "0", "1", "--dry-run")
    assert done.returncode == 1, done.stderr
    assert "Dry run: 6 runs" in done.stdout
    assert len(re.findall("Measuring ", done.stdout)) == 2
    assert done.stdout.count("\nRecipe: quick") == 1
    lines = {name: [line for line in done.stdout.splitlines() if line.startswith(f"{name} ")] for name in names}
    assert all(len(of_name) == 2 for of_name in lines.values())
    assert re.search(r" 0:\d\d\b", lines["test/good"][0])
    assert "?" in lines["test/broken"][0]
    assert "\ntest/broken: error: ValueError: no such layer\n" in done.stdout
    assert "\ntest/absent: missing_dependency: Not installed: no_such_module" in done.stdout
    assert not bench.out.exists()


@pytest.mark.skipif(driver_shows_gpu(), reason="a network for a GPU can be measured here")
def test_on_a_cluster_it_says_whose_durations_these_are(bench: Bench) -> None:
    pytest.importorskip("submitit")
    cluster = bench.plugin.with_name("cluster.toml")
    cluster.write_text("gpus = 1\n")
    words = ("--executor", "slurm", "--cluster", str(cluster), "--backbone", "test/good", "--dry-run")
    done = subprocess.run(
        [word for word in bench.command(*words) if word not in ("--device", "cpu")],
        capture_output=True, text=True, env=bench.environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Measuring" not in done.stdout
    assert "\ntest/good: not measured: it is for a GPU, and this machine has none\n" in done.stdout
    assert "The nodes of the cluster were not asked: all durations are those of this machine" in done.stdout


def test_the_estimate_is_steps_and_images_times_their_pace(bench: Bench, tmp_path: Path) -> None:
    [job] = make_plan(request_on(bench.images, tmp_path, PLUGIN, size=16, epochs=5, batch_size=8)).jobs
    steps = -(-job.data.n_train // 8)
    pace = StepTimes(start=7.0, build=3.0, first_step=2.0, step=0.5, inference=0.01, speeds=11.0, explaining=4.0)
    seen = 5 * job.data.n_validation + job.data.n_validation + job.data.n_test
    alone = 3 + 2 + 5 * steps * 0.5 + 4
    before = Before()
    assert expected_seconds(job, pace, before) == pytest.approx(7 + alone + seen * 0.01 + 11)
    assert expected_seconds(job, pace, before) == pytest.approx(alone + seen * 0.01), "the second in its worker"

    frozen, images = replace(pace, rest=0.001), job.data.n_train + job.data.n_validation + job.data.n_test
    before = Before()
    assert expected_seconds(job, frozen, before) == pytest.approx(7 + alone + seen * 0.001 + 11 + images * 0.01)
    assert expected_seconds(job, frozen, before) == pytest.approx(alone + seen * 0.001), "the rows are kept"
