"""Jobs of a cluster's queue: what goes into one, what it does by itself, how the command that waits sees it."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.errors import UserError
from benchmark.execution.controller import Controller
from benchmark.execution.executors.base import Control
from benchmark.execution.executors.slurm import SlurmExecutor, slurm_executor
from benchmark.execution.executors.slurm_element import ElementJobs
from benchmark.execution.executors.slurm_jobs import folder_of, shares, submitted_jobs
from benchmark.execution.executors.slurm_queue import SlurmQueue
from benchmark.execution.planning.cluster import Cluster
from benchmark.execution.planning.further_seeds import further_seeds
from benchmark.execution.planning.plan import Plan, make_plan
from benchmark.execution.planning.request import Request
from benchmark.execution.status import status_of
from benchmark.execution.summary import Summary
from benchmark.records.outcomes import Outcome
from benchmark.records.record import Record
from benchmark.records.store import RecordStore
from tests.execution.commands import GOOD, SLOW, make_images, request_on
from tests.execution.samples import some_predictions

ROOT = Path(__file__).parents[2]
ALIKE = {"execution.channels_last": "off", "execution.compile": "off", "execution.deterministic": True}
PLUGIN = GOOD + SLOW
CRASHING = (
    PLUGIN
    + """
@backbone("test/crashing", framework="torch", input_size=16)
def crashing(num_classes):
    os.kill(os.getpid(), signal.SIGKILL)
"""
)


class Silent:
    """A watcher that shows nothing, and calls a function at each event."""

    def __init__(self, on_event: Callable[[Mapping[str, Any]], None] = lambda _: None) -> None:
        self.event = lambda _, event: on_event(event)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


class Scripted:
    """A queue that takes every job, and says of each in turn how it is; nothing is done."""

    def __init__(self, *states: str) -> None:
        self.words, self.submitted, self.cancelled = list(states), [], []  # type: ignore[var-annotated]

    def submit(self, folder: Path, files: Sequence[Path], cluster: Cluster, gpus: int) -> list[str]:
        self.submitted.append([ElementJobs.read(file) for file in files])
        return [f"{len(self.submitted)}_{number}" for number in range(len(files))]

    def states(self, ids: Sequence[str]) -> Mapping[str, str]:
        word = self.words.pop(0) if len(self.words) > 1 else self.words[0]
        return dict.fromkeys(ids, word)

    def cancel(self, ids: Sequence[str], *, waiting_only: bool) -> None:
        self.cancelled.append((list(ids), waiting_only))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("queue") / "images")


@pytest.fixture
def cache(images: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the tests share a cache of their own, in which jobs are told apart by results folders; let processes find
    the packages.
    """
    cache = images.parent / "cache"
    monkeypatch.setenv("TUMORBOARD_CACHE", str(cache))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return cache


def planned(images: Path, folder: Path, *backbones: str, plugin: str = GOOD, **changes: Any) -> tuple[Plan, Request]:
    """Return a plan of some backbones; ``seeds`` and ``detach`` among the changes are the request's own."""
    own = {name: changes.pop(name) for name in ("seeds", "detach") if name in changes}
    request = request_on(images, folder, plugin, **{"batch_size": 8, "size": 16, **changes})
    settings = request.settings.model_copy(update={"checkpoint_every": 0.0, "keep_models": "none"})
    request = replace(request, backbones=backbones or ("test/good",), executor="slurm", settings=settings, **own)
    plan = make_plan(request)
    plan.out.mkdir(exist_ok=True)
    plan.images.save(plan.out)
    return plan, request


def carried_out(
    plan: Plan, request: Request, queue: Any, control: Control | None = None, watcher: Any = None
) -> Summary:
    executor = SlurmExecutor(plan, request, queue, settle_seconds=0.2)
    controller = Controller(plan, request, executor, control or Control(), watcher or Silent(), workers_claim=True)
    return controller.carry_out()


def stored(plan: Plan, key: str) -> Record:
    """Return a run's record, whole."""
    record = RecordStore(plan.out).read(key)
    assert record is not None
    return record


# --- what goes into a job ---


def test_runs_that_can_share_a_worker_go_in_one_job(images: Path, cache: Path, tmp_path: Path) -> None:
    plan, _ = planned(images, tmp_path, "test/slow", "test/slow_too", plugin=PLUGIN, seeds=(0, 1, 2))
    made = shares(plan.jobs, None)
    assert [[(job.run.backbone, job.run.seed) for job in share] for share in made] == [
        [(name, seed) for seed in range(3)] for name in ("test/slow", "test/slow_too")
    ]
    assert [len(share) for share in shares(plan.jobs, 1)] == [3, 3]
    assert [len(share) for share in shares(plan.jobs, 4)] == [2, 1, 2, 1], "as many jobs as can be done at once"
    assert [len(share) for share in shares(plan.jobs, 100)] == [1] * 6


def test_a_run_goes_behind_the_one_from_which_it_continues(images: Path, cache: Path, tmp_path: Path) -> None:
    plan, _ = planned(images, tmp_path, seeds=(0, 1))
    first, second = plan.jobs
    later = [job.model_copy(update={"run": replace(job.run, init_from=job.key)}) for job in (first, second)]
    made = shares([first, second, *later], 2)
    assert [[job.key for job in share] for share in made] == [
        [first.key, later[0].key],
        [second.key, later[1].key],
    ]


def test_a_run_that_continues_from_a_done_one_has_it_before_it(images: Path, cache: Path, tmp_path: Path) -> None:
    plan, request = planned(images, tmp_path, detach=True)
    [first] = plan.jobs
    first = first.model_copy(update={"keep_final": True})
    later = first.model_copy(update={"run": replace(first.run, init_from=first.key), "keep_final": False})
    RecordStore(plan.out).write(first.record(Outcome.OK, provenance={"attempt": "a1"}), some_predictions())
    first.final_weights.parent.mkdir(parents=True)
    first.final_weights.touch()
    queue = Scripted("PENDING")
    carried_out(replace(plan, jobs=(first, later)), request, queue)
    [[work]] = queue.submitted
    assert [job.key for job in work.jobs] == [first.key, later.key]
    assert work.to_do == {later.key}


def test_a_job_file_that_others_may_change_is_refused(images: Path, cache: Path, tmp_path: Path) -> None:
    plan, request = planned(images, tmp_path)
    queue = Scripted("PENDING")
    request = replace(request, detach=True)
    summary = carried_out(plan, request, queue)
    assert summary.finished == ()
    [queued] = submitted_jobs(plan.out)
    assert stat.S_IMODE(queued.file.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(queued.file.stat().st_mode) == 0o600
    assert set(queued.jobs) == {plan.jobs[0].key}
    queued.file.chmod(0o666)
    with pytest.raises(UserError, match=r"every user of this machine may write to it, and what it says is run"):
        ElementJobs.read(queued.file)
    assert submitted_jobs(plan.out) == []


# --- how the command sees the queue ---


def test_a_job_of_an_earlier_command_is_waited_for_and_not_submitted_again(
    images: Path, cache: Path, tmp_path: Path
) -> None:
    plan, request = planned(images, tmp_path, seeds=(0, 1))
    first = Scripted("PENDING")
    carried_out(plan, replace(request, detach=True), first)
    second = Scripted("PENDING")
    carried_out(plan, replace(request, detach=True), second)
    assert (len(first.submitted), len(second.submitted)) == (1, 0)
    found = status_of(plan.out, Scripted("PENDING"))
    assert [(run.state, run.job, run.backbone) for run in found] == [("queued", "1_0 PENDING", "test/good")] * 2
    assert status_of(plan.out, Scripted("COMPLETED")) == ()
    gone = Scripted("gone")
    carried_out(plan, replace(request, detach=True), gone)
    assert len(gone.submitted) == 1, "what the queue no longer knows is submitted anew"
    assert len(list(folder_of(plan.out).iterdir())) == 1, "what ended is forgotten"


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        ("FAILED", Outcome.CRASHED),
        ("OUT_OF_MEMORY", Outcome.OOM),
        ("TIMEOUT", Outcome.TIMEOUT),
        ("CANCELLED", Outcome.INTERRUPTED),
    ],
)
def test_a_job_that_ends_without_a_word_is_a_row_that_says_what_must_be_shared(
    images: Path, cache: Path, tmp_path: Path, state: str, outcome: Outcome
) -> None:
    plan, request = planned(images, tmp_path)
    summary = carried_out(plan, request, Scripted(state))
    [run] = summary.finished
    assert run.outcome is outcome
    assert f"Slurm ended its job 1_0 ({state}) before it wrote a word" in run.reason
    assert "on a file system that all machines of the cluster share" in run.reason


class Interrupting(Scripted):
    """A queue whose jobs interrupt each run at once."""

    def submit(self, folder: Path, files: Sequence[Path], cluster: Cluster, gpus: int) -> list[str]:
        for file in files:
            for job in ElementJobs.read(file).jobs:
                record = job.record(Outcome.INTERRUPTED, "Stopped at once.", provenance={"attempt": "a1"})
                RecordStore(job.out).write(record)
        return super().submit(folder, files, cluster, gpus)


def test_a_job_that_saves_nothing_turn_after_turn_is_a_row_that_says_so(
    images: Path, cache: Path, tmp_path: Path
) -> None:
    plan, request = planned(images, tmp_path)
    [run] = carried_out(plan, request, Interrupting("RUNNING", "FAILED")).finished
    assert run.outcome is Outcome.TIMEOUT
    assert "give a longer time_limit" in run.reason
    [run] = carried_out(plan, request, Interrupting("RUNNING", "CANCELLED")).finished
    assert run.outcome is Outcome.INTERRUPTED


def test_a_job_that_is_put_into_the_queue_again_is_waited_for(images: Path, cache: Path, tmp_path: Path) -> None:
    plan, request = planned(images, tmp_path)
    queue = Scripted("RUNNING", "PREEMPTED", "PENDING", "FAILED")
    control = Control()
    summary = carried_out(plan, request, queue, control)
    assert len(queue.submitted) == 1
    assert summary.finished[0].reason.startswith("Slurm ended its job 1_0 (FAILED)")


def test_the_users_wish_to_stop_reaches_the_queue(images: Path, cache: Path, tmp_path: Path) -> None:
    plan, request = planned(images, tmp_path)
    control = Control()
    queue = Scripted("PENDING", "PENDING", "CANCELLED")
    watcher = Silent(lambda event: control.ask() if "queued" in str(event.get("phase")) else None)
    summary = carried_out(plan, request, queue, control, watcher)
    assert summary.interrupted
    assert summary.finished == ()
    assert queue.cancelled[0] == (["1_0"], True), "what waits is cancelled, what runs may save"


# --- what Slurm is told ---


@pytest.fixture
def fake_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put commands of Slurm's names first on the path: ``sbatch`` keeps what it gets."""
    home = tmp_path / "bin"
    home.mkdir()
    said = {
        "sbatch": f'cp "$1" {tmp_path}/submitted.sh; echo Submitted batch job 17',
        "srun": "",
        "squeue": "echo '17_0|PENDING'; echo '17_1|RUNNING'",
        "scancel": f'echo "$@" >> {tmp_path}/cancelled',
    }
    for name, text in said.items():
        (home / name).write_text(f"#!/bin/sh\n{text}\n")
        (home / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}:{os.environ['PATH']}")
    return tmp_path


def test_what_is_asked_for_stands_in_the_batch_script(fake_slurm: Path, cache: Path) -> None:
    pytest.importorskip("submitit")
    cluster = Cluster.model_validate(
        {
            "cpus": 8, "memory": "32GB", "at_once": 4, "partition": "gpu", "account": "radiology",
            "time_limit": "90m", "save_time": "3m", "setup": ["module load cuda"],
        }
    )  # fmt: skip
    folder = fake_slurm / "submission"
    folder.mkdir(mode=0o700)
    assert SlurmQueue().submit(folder, [Path("0.json"), Path("1.json")], cluster, 1) == ["17_0", "17_1"]
    script = (fake_slurm / "submitted.sh").read_text()
    for flag in (
        "array=0-1%2", "time=90", "signal=USR2@180", "requeue", "gpus-per-node=1", "cpus-per-task=8", "partition=gpu",
        "account=radiology", "job-name=tumorboard",
    ):  # fmt: skip
        assert f"#SBATCH --{flag}\n" in script
    assert "#SBATCH --mem=3" in script
    assert "module load cuda\n" in script
    assert " -P -u -m submitit.core._submit" in script
    queue = SlurmQueue()
    assert queue.states(["17_0", "17_1", "16"]) == {"17_0": "PENDING", "17_1": "RUNNING", "16": "gone"}
    queue.cancel(["17_0"], waiting_only=True)
    assert (fake_slurm / "cancelled").read_text() == "--quiet --state=PENDING 17_0\n"


def test_a_refusal_of_slurm_is_a_sentence(fake_slurm: Path, cache: Path) -> None:
    pytest.importorskip("submitit")
    (fake_slurm / "bin/sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition: gpu' >&2; exit 1\n")
    with pytest.raises(UserError, match=r"^Slurm does not take the jobs: .*invalid partition: gpu"):
        SlurmQueue().submit(fake_slurm, [Path("0.json")], Cluster(), 0)


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="no file system in memory here")
def test_folders_in_memory_are_refused_where_jobs_run_elsewhere(
    fake_slurm: Path, images: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, request = planned(images, tmp_path)
    monkeypatch.setenv("TUMORBOARD_CACHE", "/dev/shm/cache")
    sinfo = fake_slurm / "bin/sinfo"
    sinfo.write_text("#!/bin/sh\nhostname -s\n")
    sinfo.chmod(0o755)
    slurm_executor(plan, request)
    sinfo.write_text("#!/bin/sh\nhostname -s; echo node7\n")
    with pytest.raises(UserError, match=r"^'/dev/shm/cache' lies in this machine's memory"):
        slurm_executor(plan, request)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--executor", "slurm"), "the command sbatch is not found here"),
        (("--detach",), "--detach leaves runs to a queue that goes on without the command: add --executor slurm"),
    ],
)
def test_what_cannot_work_is_refused(
    images: Path, cache: Path, tmp_path: Path, words: tuple[str, ...], sentence: str
) -> None:
    pytest.importorskip("submitit")
    plugin = tmp_path / "plugin.py"
    plugin.write_text(GOOD)
    done = subprocess.run(
        [sys.executable, "-m", "benchmark", "--backbone", "test/good", "--plugin", str(plugin), "--data", str(images),
         "--out", str(tmp_path / "out"), "--size", "16", "--recipe", "quick", *words],
        env={**os.environ, "PATH": "/nowhere"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


# --- jobs that are done, by submitit on this machine ---


@pytest.mark.slow
def test_jobs_do_their_runs_and_one_that_fails_is_a_row(images: Path, cache: Path, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    from tests.execution.local_queue import LocalQueue, logs

    plan, request = planned(images, tmp_path, "test/good", "test/crashing", plugin=CRASHING, seeds=(0, 1), epochs=2)
    queue = LocalQueue()
    told: list[str] = []
    summary = carried_out(plan, request, queue, watcher=Silent(lambda event: told.append(str(event.get("event")))))
    assert queue.arrays == [2], "an element for each backbone of a plug-in, in one array"
    ends = [(run.job.run.backbone, run.outcome) for run in summary.finished]
    assert ends == [("test/good", Outcome.OK)] * 2 + [("test/crashing", Outcome.CRASHED)] * 2
    good = [stored(plan, run.job.key) for run in summary.finished[:2]]
    assert [record.provenance["runs_before_in_process"] for record in good] == [0, 1], "they shared a worker"
    assert summary.exit_code == 1
    assert not any(plan.out.joinpath("internal", "claims").glob("*.claim"))
    assert "test/crashing, seed 0: crashed" in logs(cache)
    again = carried_out(plan, replace(request, backbones=("test/good",)), queue := LocalQueue())
    assert [run.kept for run in again.finished[:2]] == [True, True]
    assert queue.arrays == [1], "only what failed is done again"


@pytest.mark.slow
def test_a_job_that_is_told_of_its_end_saves_and_goes_on_in_its_next_turn(
    images: Path, cache: Path, tmp_path: Path
) -> None:
    pytest.importorskip("submitit")
    from tests.execution.local_queue import LocalQueue, logs

    plan, request = planned(images, tmp_path, "test/slow", plugin=PLUGIN, epochs=6, **ALIKE)
    queue = LocalQueue()
    signalled: list[int] = []

    def on_event(event: Mapping[str, Any]) -> None:
        if event.get("epoch", 0) >= 2 and not signalled:
            signalled.append(event["epoch"])
            for each in queue.jobs:
                queue.signal_time_limit(each)

    summary = carried_out(plan, request, queue, watcher=Silent(on_event))
    [run] = summary.finished
    assert run.outcome is Outcome.OK, logs(cache)
    record = stored(plan, run.job.key)
    assert record.provenance["resumed_from_epoch"] >= 2
    assert [epoch.epoch for epoch in record.history] == list(range(1, 7))
    assert len(queue.arrays) == 1, "the job itself went on"
    assert len((tmp_path / "builds").read_text().split()) == 2
    assert signalled
    predictions = RecordStore(plan.out).predictions(record)
    assert predictions is not None
    assert np.isfinite(predictions.probabilities).all()


@pytest.mark.slow
def test_once_saves_and_a_command_that_left_is_followed_by_one_that_waits(
    images: Path, cache: Path, tmp_path: Path
) -> None:
    pytest.importorskip("submitit")
    from tests.execution.local_queue import LocalQueue

    plan, request = planned(images, tmp_path, "test/slow", plugin=PLUGIN, epochs=30)
    control = Control()
    stopped = carried_out(
        plan, request, LocalQueue(), control,
        Silent(lambda event: control.finish() if event.get("epoch", 0) >= 2 else None),
    )  # fmt: skip
    assert [run.outcome for run in stopped.finished] == [Outcome.INTERRUPTED]
    assert stopped.interrupted

    (tmp_path / "hurry").touch()  # nothing waits for its epochs any more
    queue = LocalQueue()
    left = carried_out(plan, replace(request, detach=True), queue)
    assert left.finished == ()
    done = carried_out(plan, request, queue)
    [run] = done.finished
    assert run.outcome is Outcome.OK
    assert stored(plan, run.job.key).provenance["resumed_from_epoch"] >= 2
    assert queue.arrays == [1]


@pytest.mark.slow
def test_seeds_follow_when_the_queue_has_done_the_first(images: Path, cache: Path, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    from tests.execution.local_queue import LocalQueue

    plan, request = planned(images, tmp_path, epochs=1, detach=True)
    queue = LocalQueue()
    assert carried_out(plan, request, queue).finished == ()
    assert further_seeds(plan, request).jobs == (), "nothing is known of the first yet"
    waiting = replace(request, detach=False)
    assert carried_out(plan, waiting, queue).exit_code == 0
    further = further_seeds(plan, request)
    assert [job.run.seed for job in further.jobs] == [1, 2]
    assert carried_out(further, request, queue).finished == ()
    done = carried_out(further, waiting, queue)
    assert [(run.job.run.seed, run.outcome) for run in done.finished] == [(1, Outcome.OK), (2, Outcome.OK)]
    assert queue.arrays == [1, 1], "both seeds go into one job, and are submitted once"
