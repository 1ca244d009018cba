"""``status``: what files tell of a results folder, whoever works in it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from benchmark.errors import UserError
from benchmark.execution.claims import Claims, Holder
from benchmark.execution.progress_files import ProgressFiles, all_progress, forget_progress
from benchmark.execution.status import RunStatus, State, status_of
from benchmark.execution.worker.job import Job
from benchmark.host import started_at, this_machine
from benchmark.records.outcomes import Outcome
from benchmark.records.record import BackboneFacts
from benchmark.records.store import RecordStore, short
from tests.execution.samples import a_record, a_run, some_predictions


class NoQueue:
    """A queue that is not asked."""

    def states(self, ids: Sequence[str]) -> Mapping[str, str]:
        raise AssertionError("no job was submitted")


def a_job(out: Path, seed: int) -> Job:
    record, run = a_record(seed=seed), a_run(seed=seed)
    facts = BackboneFacts(name=run.backbone, framework="torch", library="own")
    return Job.model_validate(
        {
            "run": run, "recipe_name": "quick", "backbone": facts,
            "data": record.data, "weights": {"policy": "none", "requested": "none", "used": "none"}, "settings": {},
            "device": "a processor", "data_folder": out, "split_file": out / "split.npz", "out": out,
        }
    )  # fmt: skip


def by_seed(out: Path) -> dict[int | None, RunStatus]:
    return {run.seed: run for run in status_of(out, NoQueue())}  # type: ignore[arg-type]


def claim_of(out: Path, key: str, holder: Holder, age_s: float) -> None:
    """Write a claim as another machine's command would have, so long ago."""
    from dataclasses import asdict

    path = out / "internal/claims" / f"{short(key)}.claim"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(holder)))
    os.utime(path, (time.time() - age_s,) * 2)


def test_each_run_is_where_its_files_say(tmp_path: Path) -> None:
    store = RecordStore(tmp_path)
    store.write(a_record(seed=0), some_predictions())
    store.write(a_record(Outcome.OOM, seed=1))
    store.write(a_record(Outcome.INTERRUPTED, seed=2))
    claims, progress = Claims(tmp_path), ProgressFiles(tmp_path, clock=lambda: time.time() - 60)
    running = a_job(tmp_path, 3)
    try:
        assert claims.take(running.key)
        progress.started(running)
        progress.event(running, {"event": "epoch", "epoch": 4, "epochs": 9, "train_loss": 0.5})
        found = by_seed(tmp_path)
    finally:
        claims.close()
    assert {seed: run.state for seed, run in found.items()} == {
        0: State.DONE, 1: State.FAILED, 2: State.STOPPED, 3: State.RUNNING,
    }  # fmt: skip
    assert (found[3].epoch, found[3].epochs) == (4, 9)
    assert found[3].where.startswith(f"process {os.getpid()} on ")
    assert found[3].seconds == pytest.approx(60, abs=20)
    assert (found[1].outcome, found[1].reason) == (Outcome.OOM, "it went wrong")
    assert by_seed(tmp_path)[3].state is State.STOPPED, "it was begun, and nobody has its claim"
    forget_progress(tmp_path, running.key)
    assert 3 not in by_seed(tmp_path)


def test_a_claim_tells_of_a_run_by_its_heartbeat(tmp_path: Path) -> None:
    elsewhere = Holder("node7 boot pid:[1]", 77, 1.0, "ab12", 60.0)
    here = Holder(this_machine(), os.getpid(), started_at(), "cd34", 60.0)
    gone = Holder(this_machine(), os.getpid(), started_at() - 1e6, "ef56", 60.0)
    keys = {name: a_run(seed=seed).key for seed, name in enumerate(("lives", "silent", "here", "gone"))}
    claim_of(tmp_path, keys["lives"], elsewhere, age_s=5)
    claim_of(tmp_path, keys["silent"], elsewhere, age_s=500)
    claim_of(tmp_path, keys["here"], here, age_s=500)
    claim_of(tmp_path, keys["gone"], gone, age_s=500)
    states = {run.key: run for run in status_of(tmp_path, NoQueue())}  # type: ignore[arg-type]
    assert {name: str(states[short(key)].state) for name, key in keys.items()} == {
        "lives": "running", "silent": "stopped", "here": "running", "gone": "stopped",
    }  # fmt: skip
    assert states[short(keys["lives"])].where == "process 77 on node7"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"key": "../../x"}', '{"a":' * 2000, json.dumps({"event": {"epoch": float("nan")}})],
)
def test_a_progress_file_that_another_wrote_is_only_shown(tmp_path: Path, text: str) -> None:
    job = a_job(tmp_path, 0)
    ProgressFiles(tmp_path).started(job)
    assert list(all_progress(tmp_path)) == [short(job.key)]
    [file] = (tmp_path / "internal/progress").iterdir()
    file.write_text(text)
    assert all_progress(tmp_path) == {}
    file.unlink()
    file.symlink_to("/etc/passwd")
    assert all_progress(tmp_path) == {}
    file.unlink()
    os.mkfifo(file)
    assert all_progress(tmp_path) == {}
    assert status_of(tmp_path, NoQueue()) == ()  # type: ignore[arg-type]


def test_a_file_is_not_written_at_each_step(tmp_path: Path) -> None:
    now = [1000.0]
    job, progress = a_job(tmp_path, 0), ProgressFiles(tmp_path, clock=lambda: now[0])
    progress.started(job)
    seen = []
    for step in range(40):
        now[0] += 0.1
        progress.event(job, {"event": "step", "epoch": 1, "epochs": 2, "step": step, "steps": 40, "loss": 1.0})
        [state] = all_progress(tmp_path).values()
        seen.append(state.event["step"])
    assert len(set(seen)) == 2
    progress.event(job, {"event": "silence", "wanted": True})
    assert next(iter(all_progress(tmp_path).values())).event["event"] == "step"
    progress.ended(job)
    assert all_progress(tmp_path) == {}


def test_the_command_answers_for_people_and_for_programs(tmp_path: Path) -> None:
    out = tmp_path / "out"
    RecordStore(out).write(a_record(seed=0), some_predictions())
    RecordStore(out).write(a_record(Outcome.ERROR, seed=1))
    words = [sys.executable, "-m", "benchmark", "status", str(out)]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert told.splitlines()[-1] == "1 failed, 1 done."
    assert "error: it went wrong" in told
    answer = json.loads(subprocess.run([*words, "--json"], capture_output=True, text=True, check=True).stdout)
    assert answer["counts"] == {"running": 0, "queued": 0, "stopped": 0, "failed": 1, "done": 1}
    assert {run["state"] for run in answer["runs"]} == {"done", "failed"}
    with pytest.raises(UserError, match="is no folder: name the results folder of a command"):
        status_of(tmp_path / "nowhere")
