"""Commands that are stopped, killed, or given twice at once: nothing is lost and nothing is done twice."""

import json
import os
import re
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest

from benchmark.records.record import Record
from benchmark.records.store import RecordStore
from tests.execution.commands import (
    EXACT,
    GOOD,
    PATIENCE,
    SLOW,
    Bench,
    as_an_earlier_version_left_it,
    follow_until,
    gone,
    interrupt,
    make_images,
)

PLUGIN = GOOD + SLOW
EPOCHS = ("--epochs", "8", *EXACT)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("stopping") / "images")


@pytest.fixture
def bench(images: Path, tmp_path: Path) -> Bench:
    return Bench.of(tmp_path, PLUGIN, images)


def the_record(bench: Bench) -> tuple[Record, np.ndarray]:  # type: ignore[type-arg]
    [(record, predictions)] = RecordStore(bench.out).read_all()
    assert predictions is not None
    return record, predictions.probabilities


def workers_of(process: "subprocess.Popen[str]") -> list[int]:
    return [child.pid for child in psutil.Process(process.pid).children(recursive=True)]


@pytest.mark.slow
def test_ctrl_c_saves_the_epoch_and_the_same_command_goes_on_to_the_same_result(bench: Bench, tmp_path: Path) -> None:
    process = bench.start("--backbone", "test/slow", "test/good", *EPOCHS)
    follow_until(process, "epoch 2/8")
    workers = workers_of(process)
    interrupt(process)
    rest, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "finishing the epoch" in rest
    assert re.search(r"test/slow, seed 0: stopped after epoch \d+ \(", rest)
    assert re.search(r"test/slow +0 +interrupted", rest)
    assert "1 of 2 runs were not reached" in rest
    assert gone(workers)
    assert bench.rows()["test/slow"]["status"] == "interrupted"

    bench.hurry()
    again = bench.run("--backbone", "test/slow", *EPOCHS)
    assert again.returncode == 0, again.stdout
    resumed, probabilities = the_record(bench)
    assert resumed.provenance["resumed_from_epoch"] >= 2
    assert [epoch.epoch for epoch in resumed.history] == list(range(1, 9))
    assert not list((bench.out / "internal/work").glob("*/checkpoints/*")), "checkpoints of a finished run were left"

    uninterrupted = Bench(bench.images, bench.plugin, tmp_path / "elsewhere")
    assert uninterrupted.run("--backbone", "test/slow", *EPOCHS).returncode == 0
    whole, expected = the_record(uninterrupted)
    assert whole.key == resumed.key
    assert whole.provenance["resumed_from_epoch"] == 0
    np.testing.assert_array_equal(probabilities, expected)
    assert [e.train_loss for e in whole.history] == [e.train_loss for e in resumed.history]


@pytest.mark.slow
def test_what_an_earlier_version_began_is_gone_on_with(bench: Bench) -> None:
    process = bench.start("--backbone", "test/slow", *EPOCHS)
    follow_until(process, "epoch 2/8")
    interrupt(process)
    process.communicate(timeout=PATIENCE)
    as_an_earlier_version_left_it(bench.out)
    bench.hurry()
    again = bench.run("--backbone", "test/slow", *EPOCHS)
    assert again.returncode == 0, again.stdout
    assert the_record(bench)[0].provenance["resumed_from_epoch"] >= 2
    assert not any((bench.out / name).exists() for name in ("work", "logs", "claims", "failed"))


@pytest.mark.slow
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_twice_stops_at_once(bench: Bench, second: signal.Signals) -> None:
    process = bench.start("--backbone", "test/slow", "--epochs", "500")
    follow_until(process, "epoch 1/500")
    workers = workers_of(process)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    process.send_signal(second)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in rest
    assert gone(workers)


@pytest.mark.slow
def test_a_killed_command_takes_its_worker_along_and_the_next_goes_on(bench: Bench) -> None:
    process = bench.start("--backbone", "test/slow", *EPOCHS)
    follow_until(process, "epoch 2/8")
    workers = workers_of(process)
    assert workers
    process.kill()
    process.wait()
    assert gone(workers), "the worker outlived its controller"
    assert len(RecordStore(bench.out).read_all()) == 0

    bench.hurry()
    again = bench.run("--backbone", "test/slow", *EPOCHS)
    assert again.returncode == 0, again.stdout
    assert the_record(bench)[0].provenance["resumed_from_epoch"] >= 2


@pytest.mark.slow
def test_a_killed_worker_is_a_row_and_the_next_command_resumes(bench: Bench) -> None:
    process = bench.start("--backbone", "test/slow", *EPOCHS)
    follow_until(process, "epoch 2/8")
    os.kill(workers_of(process)[0], signal.SIGKILL)
    rest, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "test/slow, seed 0: crashed" in rest
    assert bench.rows()["test/slow"]["status"] == "crashed"
    bench.hurry()
    again = bench.run("--backbone", "test/slow", *EPOCHS)
    assert again.returncode == 0, again.stdout


@pytest.mark.slow
def test_two_commands_at_once_share_the_work(bench: Bench) -> None:
    words = ("--backbone", "test/slow", "test/slow_too", "--seed", "0", "1", "--epochs", "2")
    both = [bench.start(*words) for _ in range(2)]
    said = [process.communicate(timeout=PATIENCE)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert len((bench.plugin.parent / "builds").read_text().split()) == 4
    keys = Counter(record.key for record, _ in RecordStore(bench.out).read_all())
    assert len(keys) == 4
    for text in said:
        assert text.count("ok, macro-F1") == 4, "each command shows every row"


@pytest.mark.slow
def test_when_one_of_two_commands_is_killed_the_other_does_its_run(bench: Bench) -> None:
    first = bench.start("--backbone", "test/slow", "--epochs", "40")
    follow_until(first, "epoch 1/40")
    second = bench.start("--backbone", "test/slow", "--epochs", "40")
    follow_until(second, "being done by another command")
    first.kill()
    first.wait()
    text = follow_until(second, "epoch ")
    assert f"process {first.pid} on " in text
    assert "had begun it and is gone; it is done here" in text
    assert "Run 1 of 1: test/slow" in text
    for _ in range(2):
        interrupt(second)
        time.sleep(0.3)
    second.communicate(timeout=60)


@pytest.mark.slow
def test_a_claim_from_another_host_is_waited_for_and_taken_over_when_it_is_stale(bench: Bench) -> None:
    first = bench.run("--backbone", "test/good", "--epochs", "1")
    assert first.returncode == 0, first.stdout
    key = the_record(bench)[0].key
    there = {"machine": "far-away boot pid", "pid": 7, "started": 0.0, "token": "abc", "lease": 2.0, "beat": 3}
    claim = bench.out / "internal/claims" / f"{key[:20]}.claim"
    claim.write_text(json.dumps(there))
    again = bench.run("--backbone", "test/good", "--epochs", "1", "--rerun")
    assert again.returncode == 0, again.stdout
    assert "being done by another command on this folder (process 7 on far-away); waiting for it" in again.stdout
    assert "process 7 on far-away had begun it and is gone; it is done here" in again.stdout
    assert not list((bench.out / "internal/claims").glob("*.claim"))


@pytest.mark.slow
def test_rerun_that_fails_keeps_the_earlier_result_and_shows_the_failure(bench: Bench) -> None:
    bench.plugin.write_text(
        PLUGIN
        + """
@backbone("test/moody", framework="torch", input_size=16)
def moody(num_classes):
    if (HERE / "bad mood").exists():
        raise ValueError("not today")
    return tiny(num_classes)
"""
    )
    words = ("--backbone", "test/moody", "--epochs", "1")
    assert bench.run(*words).returncode == 0
    before, probabilities = the_record(bench)

    mood = bench.plugin.parent / "bad mood"
    mood.touch()
    failed = bench.run(*words, "--rerun")
    assert failed.returncode == 1
    assert "test/moody, seed 0: error: ValueError: not today" in failed.stdout
    assert "Its earlier result stands." in failed.stdout
    after, still = the_record(bench)
    assert after == before
    np.testing.assert_array_equal(still, probabilities)
    assert bench.rows()["test/moody"]["status"] == "ok"
    board = (bench.out / "leaderboard.md").read_text()
    assert "The last try of test/moody, seed 0, ended as error (ValueError: not today)" in board

    kept = bench.run(*words)
    assert kept.returncode == 0
    assert "test/moody, seed 0: kept, ok" in kept.stdout
    mood.unlink()
    mended = bench.run(*words, "--only-failed")
    assert mended.returncode == 0
    assert "Run 1 of 1: test/moody" in mended.stdout
    assert the_record(bench)[0].provenance["attempt"] != before.provenance["attempt"]
    assert "The last try of" not in (bench.out / "leaderboard.md").read_text()
    assert not list((bench.out / "internal/failed").iterdir())


@pytest.mark.slow
def test_rerun_and_only_failed_are_explicit(bench: Bench) -> None:
    first = bench.run("--backbone", "test/good", "--epochs", "1")
    assert first.returncode == 0, first.stdout
    attempt = the_record(bench)[0].provenance["attempt"]

    only_failed = bench.run("--backbone", "test/good", "test/slow", "--epochs", "1", "--only-failed")
    assert only_failed.returncode == 0
    assert the_record(bench)[0].provenance["attempt"] == attempt, (
        "what was ok was done again, or what was never tried"
    )

    rerun = bench.run("--backbone", "test/good", "--epochs", "1", "--rerun")
    assert rerun.returncode == 0
    assert the_record(bench)[0].provenance["attempt"] != attempt
    assert the_record(bench)[0].provenance["resumed_from_epoch"] == 0
    assert not list((bench.out / "internal/work").glob("*/checkpoints/*"))
