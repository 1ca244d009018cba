"""``--seed auto``: seed 0 first, and seeds 1 and 2 of what trained in under a minute, decided by the records."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmark.data.options import DataOptions
from benchmark.execution.planning.further_seeds import QUICK_SECONDS, followers, seeds_follow
from benchmark.execution.planning.request import Request
from benchmark.execution.worker.job import Job
from benchmark.recipe import Recipe
from benchmark.records.record import Record, Timings
from benchmark.records.results_folder import RECORDS
from benchmark.records.store import RecordStore, short
from tests.execution.commands import GOOD, Bench
from tests.execution.test_job import a_job

AUTO = ("--backbone", "test/good", "--epochs", "1", "--cam", "none", "--seed", "auto")


def following(jobs: list[Job], trained: Callable[[Job], float | None]) -> list[tuple[str, str, int]]:
    found = [(job.run.backbone, job.run.split_hash, job.run.seed) for _, job in followers(jobs, trained)]
    assert all(first.run == replace(then.run, seed=0) for first, then in followers(jobs, trained))
    return found


def test_seeds_follow_what_trained_in_under_a_minute_and_nothing_else(tmp_path: Path) -> None:
    seconds = {"quick": QUICK_SECONDS - 0.1, "slow": QUICK_SECONDS, "failed": None}
    jobs = [a_job(tmp_path, backbone=name) for name in seconds]
    assert following(jobs, lambda job: seconds[job.run.backbone]) == [("quick", "33", 1), ("quick", "33", 2)]
    tuned = Recipe(size=16).with_values({"tuning.learning_rates": [1e-3, 1e-4]})
    assert following([a_job(tmp_path, recipe=tuned)], lambda _: 1.0) == [], "a choice of rates is several trainings"


def test_no_fold_lacks_a_seed_that_another_has(tmp_path: Path) -> None:
    jobs = []
    for name in ("even", "odd"):
        for fold in (1, 2):
            job = a_job(tmp_path, backbone=name, split_hash=f"{fold}")
            data = job.data.model_copy(update={"fold": fold, "folds": 2})
            jobs.append(job.model_copy(update={"data": data}))
    found = following(jobs, lambda job: 90.0 if (job.run.backbone, job.run.split_hash) == ("odd", "2") else 9.0)
    assert found == [("even", "1", 1), ("even", "2", 1), ("even", "1", 2), ("even", "2", 2)]


def test_the_phantom_suites_and_seeds_that_were_named_are_left_alone() -> None:
    real = Request(data=DataOptions("my-scans"))
    assert seeds_follow(real)
    assert seeds_follow(replace(real, cross=("my-scans", "others")))
    assert not seeds_follow(replace(real, seeds=(0,)))
    assert not seeds_follow(replace(real, suite="mine"))
    assert not seeds_follow(Request())
    assert not seeds_follow(replace(real, cross=("my-scans", "phantom")))


def with_seconds(out: Path, seconds: float) -> None:
    """Let the record of seed 0 say that its training took so long."""
    store = RecordStore(out)
    ((record, predictions),) = [each for each in store.read_all() if each[0].seed == 0]
    store.write(record.model_copy(update={"timings": Timings(compute_s=seconds)}), predictions)


def test_the_same_command_decides_the_same_and_does_what_is_missing(tmp_path: Path) -> None:
    bench = Bench.of(tmp_path, GOOD)
    planned = bench.run(*AUTO, "--dry-run")
    assert "1 run; about" in planned.stdout
    assert "Seeds 1 and 2 follow where training takes under 60 s: 2 runs more, about " in planned.stdout

    done = bench.run(*AUTO)
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout
    assert "Run 1 of 1: test/good, seed 0" in said
    assert "Trained in under a minute: test/good. Seeds 1 and 2 follow" in said
    assert said.index("test/good, seed 0: ok") < said.index("Seeds 1 and 2 follow") < said.index("Run 1 of 2: ")
    assert seeds_of(bench.out) == [0, 1, 2]
    assert "Seeds are resampled too: macro-F1 varies over them by " in (bench.out / "leaderboard.md").read_text()

    (last,) = [record for record in records(bench.out) if record.seed == 2]
    remove(bench.out, last)
    again = bench.run(*AUTO)
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count(": kept, ") == 2
    assert "Run 2 of 2: test/good, seed 2" in again.stdout
    assert seeds_of(bench.out) == [0, 1, 2]

    remove(bench.out, last)
    for words in ("--only-failed", "--rerun-speeds"):  # what is not there is not begun
        left = bench.run(*AUTO, words)
        assert left.returncode == 0, left.stdout + left.stderr
        assert "test/good, seed 2" not in left.stdout
    assert seeds_of(bench.out) == [0, 1]
    with_seconds(bench.out, QUICK_SECONDS)
    third = bench.run(*AUTO)
    assert third.returncode == 0, third.stdout + third.stderr
    assert "follow" not in third.stdout
    assert "follow" not in bench.run(*AUTO, "--dry-run").stdout
    assert seeds_of(bench.out) == [0, 1]


def records(out: Path) -> list[Record]:
    return [record for record, _ in RecordStore(out).read_all()]


def seeds_of(out: Path) -> list[int]:
    return sorted(record.seed for record in records(out))


def remove(out: Path, record: Record) -> None:
    """Remove a record, as someone may who wants a run to be done again."""
    shutil.rmtree(out.joinpath(*RECORDS, short(record.key)))
