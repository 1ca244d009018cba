"""What the user sees while a run goes on."""

import io

import pytest
from rich.console import Console

from benchmark.execution.planning.datasets import _progress_lines
from benchmark.execution.planning.weights import Weights
from benchmark.execution.progress import Display, RunProgress, Steps, clock, show_summary, tell
from benchmark.execution.summary import EndedRun, FinishedRun, Summary
from benchmark.execution.worker.job import Job
from benchmark.records.outcomes import Outcome
from benchmark.records.settings import Settings
from tests.execution.samples import a_record, a_run


@pytest.fixture
def job(tmp_path) -> Job:  # type: ignore[no-untyped-def]
    record = a_record()
    return Job(
        run=a_run(), recipe_name="quick", backbone=record.backbone, data=record.data,
        weights=Weights(policy="none", requested="none", used="none"), settings=Settings(), device="a processor",
        data_folder=tmp_path, split_file=tmp_path, out=tmp_path,
    )  # fmt: skip


def a_step(epoch: int, step: int) -> dict[str, object]:
    return {
        "event": "step", "epoch": epoch, "epochs": 4, "step": step, "steps": 10, "loss": 0.5, "images_per_s": 120.0,
    }  # fmt: skip


def test_time_left_follows_the_pace_of_training_and_not_of_starting() -> None:
    run_progress = RunProgress(epochs=4)
    run_progress.take({"event": "phase", "phase": "importing"}, now=0.0)
    assert run_progress.left(30.0) is None
    run_progress.take(a_step(1, 5), now=30.0)
    assert run_progress.left(30.0) is None
    run_progress.take(a_step(2, 5), now=40.0)  # a quarter of training in ten seconds
    assert run_progress.left(40.0) == pytest.approx(25.0)
    assert run_progress.describe(40.0) == "training · epoch 2/4 · loss 0.500 · 120 images/s · 0:25 left"
    run_progress.take({"event": "phase", "phase": "measuring"}, now=60.0)
    assert run_progress.describe(60.0) == "measuring"


def test_nothing_is_said_of_the_time_left_once_training_is_at_its_end() -> None:
    run_progress = RunProgress(epochs=4)
    run_progress.take(a_step(1, 5), now=30.0)
    run_progress.take({"event": "epoch", "epoch": 4, "epochs": 4, "train_loss": 0.5}, now=60.0)
    assert "left" not in run_progress.describe(60.0)
    run_progress.take(a_step(4, 10), now=60.4)
    assert "0:00" not in run_progress.describe(60.4)


def test_nothing_is_said_of_the_time_left_once_the_user_stops_the_runs(job: Job) -> None:
    said = io.StringIO()
    with Display(Console(file=said, width=200), total=3) as display:
        display.started(job, 1)
        display.event(job, a_step(1, 1))
        display.event(job, a_step(1, 5))
        display.event(job, {"event": "stopping"})
        display.event(job, a_step(1, 6))
        display.event(job, {"event": "epoch", "epoch": 1, "epochs": 4, "train_loss": 0.25})
    lines = said.getvalue().splitlines()
    assert lines[1].strip() == "finishing the epoch (Ctrl-C again stops at once)"
    assert len(lines) == 2


def test_preparing_a_large_data_set_is_a_few_lines_in_a_file_and_one_on_a_terminal() -> None:
    for terminal in (False, True):
        said = io.StringIO()
        with Steps(Console(file=said, width=200, force_terminal=terminal), "Looking") as say:
            progress = _progress_lines("phantom", 128, 60, say)
            for done in range(64, 600, 64):
                progress(done, 600)
            progress(600, 600)
        lines = [line for line in said.getvalue().splitlines() if "Preparing" in line]
        assert "--limit takes 60 of them" in lines[0]
        if terminal:
            assert said.getvalue().endswith("\x1b[2K")  # the line is gone at the end
        else:
            assert [int(line.split(": ")[1].split()[0]) for line in lines] == [64, 192, 320, 512, 600]


def test_sentences_break_between_words_on_a_terminal_and_not_in_a_file() -> None:
    sentence = "A note that is longer than the terminal is wide, and that says so in words."
    for terminal in (False, True):
        said = io.StringIO()
        tell(Console(file=said, width=30, force_terminal=terminal), sentence)
        lines = [line.strip() for line in said.getvalue().splitlines()]
        assert " ".join(lines) == sentence
        assert (len(lines) > 2) is terminal


def test_an_interruption_is_said_once_and_without_a_traceback(job: Job, tmp_path) -> None:  # type: ignore[no-untyped-def]
    said = io.StringIO()
    stopped = a_record(Outcome.INTERRUPTED).model_copy(
        update={
            "reason": "Stopped after epoch 2.",
            "provenance": {"log_tail": ["Traceback (most recent call last):"]},
        }
    )
    run = FinishedRun(job, stopped, None, kept=False)
    console = Console(file=said, width=200)
    with Display(console, total=2) as display:
        display.started(job, 1)
        display.ended(run)
    show_summary(console, Summary((EndedRun.of(run),), 2, (), interrupted=True), tmp_path / "leaderboard.html")
    text = said.getvalue()
    assert "torch/tiny, seed 0: stopped after epoch 2 (" in text
    assert text.count("go on from") == 1
    assert "Traceback" not in text


def test_a_resumed_run_is_not_thought_faster_than_it_is() -> None:
    run_progress = RunProgress(epochs=4)
    run_progress.take(a_step(4, 1), now=100.0)
    run_progress.take(a_step(4, 6), now=105.0)
    assert run_progress.left(105.0) == pytest.approx(4.0)


def test_events_that_make_no_sense_are_passed_over(job: Job) -> None:
    said = io.StringIO()
    with Display(Console(file=said, width=200), total=1) as display:
        display.started(job, 1)
        before = said.getvalue()
        for event in ({}, {"event": "phase"}, {"event": "unheard of"}):
            display.event(job, event)
        assert said.getvalue() == before
        display.event(job, {"event": "epoch", "epoch": 1, "epochs": 4, "train_loss": 0.25})
        assert "epoch 1/4" in said.getvalue()


def test_without_a_terminal_there_are_plain_lines(job: Job) -> None:
    said = io.StringIO()
    run = FinishedRun(job, a_record(), 0.9123, kept=False)
    with Display(Console(file=said, width=200), total=2) as display:
        display.kept(FinishedRun(job, a_record(), 0.5, kept=True))
        display.started(job, 2)
        display.event(job, a_step(1, 5))
        display.event(job, {"event": "epoch", "epoch": 1, "epochs": 4, "train_loss": 0.25})
        display.ended(run)
    text = said.getvalue()
    assert "\x1b" not in text
    lines = text.splitlines()
    assert lines[0] == "torch/tiny, seed 0: kept, ok, macro-F1 0.500"
    assert lines[1] == "Run 2 of 2: torch/tiny, seed 0 on a processor"
    assert lines[2].startswith("  training · epoch 1/4 · loss 0.250")
    assert lines[3].startswith("torch/tiny, seed 0: ok, macro-F1 0.912")


def test_the_summary_shows_rows_reasons_and_where_the_board_is(job: Job, tmp_path) -> None:  # type: ignore[no-untyped-def]
    said = io.StringIO()
    bad = a_record(Outcome.OOM).model_copy(update={"reason": "Out of memory [/red]; use less."})
    finished = (FinishedRun(job, a_record(), 0.9, kept=False), FinishedRun(job, bad, None, kept=False))
    summary = Summary(tuple(map(EndedRun.of, finished)), 3, ("A problem.",), interrupted=True)
    show_summary(Console(file=said, width=400), summary, tmp_path / "leaderboard.html")
    text = said.getvalue()
    assert "0.900" in text
    assert "oom: Out of memory [/red]; use less." in text
    assert "A problem." in text
    assert "1 of 3 runs were not reached" in text
    assert str(tmp_path / "leaderboard.html") in text
    assert summary.exit_code == 130


def test_folds_are_named_in_every_line_and_in_the_summary(job: Job, tmp_path) -> None:  # type: ignore[no-untyped-def]
    output = io.StringIO()
    console = Console(file=output, width=200)
    rows = []
    with Display(console, total=2) as display:
        for fold in (1, 2):
            data = job.data.model_copy(update={"fold": fold, "folds": 5})
            one = job.model_copy(update={"data": data})
            rows.append(FinishedRun(one, a_record(), 0.9 - fold / 10, kept=False))
            display.started(one, fold)
            display.ended(rows[-1])
    show_summary(
        console, Summary(tuple(map(EndedRun.of, rows)), 2, (), interrupted=False), tmp_path / "leaderboard.md"
    )
    lines = [line.rstrip() for line in output.getvalue().splitlines() if line.strip()]
    assert lines[0] == "Run 1 of 2: torch/tiny, seed 0, fold 1 of 5 on a processor"
    assert lines[3].startswith("torch/tiny, seed 0, fold 2 of 5: ok, macro-F1 0.700")
    assert lines[4].split() == ["backbone", "seed", "fold", "status", "macro-F1", "time"]
    assert lines[5].split()[:5] == ["torch/tiny", "0", "1", "ok", "0.800"]


def test_exit_codes(job: Job) -> None:
    good = EndedRun.of(FinishedRun(job, a_record(), 0.9, False))
    bad = EndedRun.of(FinishedRun(job, a_record(Outcome.ERROR), None, False))
    assert Summary((good,), 1, (), False).exit_code == 0
    assert Summary((good, bad), 2, (), False).exit_code == 1
    assert Summary((good,), 1, ("the board could not be written",), False).exit_code == 1


def test_clock() -> None:
    assert [clock(seconds) for seconds in (0, 65, 3725, -3)] == ["0:00", "1:05", "1:02:05", "0:00"]


def test_many_runs_at_a_time_are_told_in_one_line_now_and_then(job: Job) -> None:
    said = io.StringIO()
    with Display(Console(file=said, width=200), total=1000) as display:
        jobs = [job.model_copy(update={"run": a_run(seed=seed)}) for seed in range(100)]
        for number, each in enumerate(jobs, start=1):
            display.started(each, number)
        for epoch in range(1, 4):
            for each in jobs:
                display.event(each, {**a_step(epoch, 10), "event": "epoch", "train_loss": 0.5})
    lines = said.getvalue().splitlines()
    assert len(lines) == 9
    assert lines[-1].startswith("  0 of 1000 runs done, 100 going on")
