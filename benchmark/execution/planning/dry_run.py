"""The dry run: a plan that is right, shown with how long it would take, and nothing done.

Each distinct network, at the size and batch at which it is trained, takes a few steps in a process of its own.
"""

import math
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmark.child_process import messages, send, start
from benchmark.draws.corruptions import MOST_CELLS, SEVERITIES
from benchmark.execution.executors.process_tree import descendants, end_tree
from benchmark.execution.planning.devices import driver_shows_gpu
from benchmark.execution.planning.further_seeds import (
    FURTHER_SEEDS,
    QUICK_SECONDS,
    followers,
    is_wanted,
    seeds_follow,
)
from benchmark.execution.planning.plan import Plan
from benchmark.execution.planning.request import Request
from benchmark.execution.progress import clock, tell
from benchmark.execution.worker.job import Job, worker_environment
from benchmark.execution.worker.step_timing import StepTimes
from benchmark.recipe import Recipe
from benchmark.records.outcomes import Outcome, outcome_of_exit
from benchmark.records.record import Record
from benchmark.records.store import RecordStore
from benchmark.text import plain
from benchmark.training.views import AXES

# For one network, and for all of a plan.
_SECONDS_EACH, _SECONDS_ALL = 180.0, 900.0
_ON_CLUSTER = (
    "The nodes of the cluster were not asked: all durations are those of this machine, and their sum is that of one "
    "run after another."
)


@dataclass(frozen=True)
class Unknown:
    """Why a pace is not known; ``fails`` where the run itself would end so."""

    reason: str
    fails: bool = False


_NO_GPU = Unknown("not measured: it is for a GPU, and this machine has none")
Paces = Mapping[tuple[Any, ...], StepTimes | Unknown]


@dataclass(frozen=True)
class Expected:
    """What a run is expected to take.

    Args:
        job: the run.
        seconds: ``None`` where that is not known; 0 where nothing is left to do.
        remark: why, or that it is done.
        slow: whether it is meant for a GPU, or for a small ``--limit``, and has neither.
        fails: whether it is known to fail.
        training_s: what its training takes of that, or took where it is done.
    """

    job: Job
    seconds: float | None
    remark: str = ""
    slow: bool = False
    fails: bool = False
    training_s: float | None = None


def dry_run(plan: Plan, request: Request, console: Console) -> int:
    """Show what a plan would do and how long that may take.

    Args:
        plan: resolved; nothing of it is written.
        request: what the user asked.
        console: on which it is printed.

    Returns:
        0, or 1 where a run is known to fail.
    """

    def say(text: str) -> None:
        tell(console, text)

    store = RecordStore(plan.out)
    records = {} if request.rerun else {job.key: store.read(job.key) for job in plan.jobs}
    done = {key: record for key, record in records.items() if record is not None and record.outcome is Outcome.OK}
    ahead = [job for job in plan.jobs if job.key not in done]
    say(f"Dry run: {_count(len(plan.jobs), 'run')}, nothing is kept. Results would go to {plan.out}")
    with tempfile.TemporaryDirectory(prefix="tumorboard-") as folder:
        plan.images.save(Path(folder))
        on_cluster = request.executor != "local"
        without_gpu = on_cluster and not driver_shows_gpu()
        here = [job for job in ahead if not (without_gpu and job.run.device_kind == "cuda")]
        paces = measured([job for job in here if job.verdict is None], Path(folder), say)
    before = Before()
    expected = [_expected(plan, job, done.get(job.key), paces, before) for job in plan.jobs]
    for recipe in dict.fromkeys(each.job.recipe_name for each in expected):
        console.print()
        say(f"Recipe: {recipe}")
        console.print(_table(each for each in expected if each.job.recipe_name == recipe))
    further = _further(expected, done, store, request) if seeds_follow(request) else []
    for line in (*_remarks(expected), *summary(expected), *further, *([_ON_CLUSTER] if on_cluster else [])):
        say(line)
    return int(any(each.fails for each in expected))


def measured(jobs: Iterable[Job], folder: Path, say: Callable[[str], None]) -> Paces:
    """Return the pace of each distinct network of some jobs, or why there is none.

    Args:
        jobs: the runs that would be done.
        folder: a folder that holds the plan's splits; files for the workers are written into it.
        say: is called with a sentence before each measurement.
    """
    firsts: dict[tuple[Any, ...], Job] = {}
    for job in jobs:
        firsts.setdefault(_kind(job), job)
    until = time.monotonic() + _SECONDS_ALL
    paces: dict[tuple[Any, ...], StepTimes | Unknown] = {}
    for number, (kind, job) in enumerate(firsts.items(), start=1):
        left = min(_SECONDS_EACH, until - time.monotonic())
        recipe = job.run.recipe
        what = f"{job.run.backbone} at {recipe.size} px, batch {recipe.batch_size}, training {_trained(recipe)}"
        say(f"Measuring {number} of {len(firsts)}: {what}")
        paces[kind] = _pace(job, folder, left) if left > 0 else Unknown("not measured: there was no time left for it")
    return paces


def expected_seconds(job: Job, pace: StepTimes, done: "Before") -> float:
    """Return how long a run takes at a pace, without early stopping.

    Args:
        job: the run.
        pace: the speed of its network on this machine.
        done: what the runs before it have done; the run is added to them.
    """
    data = job.data
    each = pace.inference if pace.rest is None else pace.rest
    pictures = min(SEVERITIES * len(job.settings.corruptions), MOST_CELLS) * data.n_test
    spoilt = pictures * len(AXES[job.run.recipe.testing.flips]) * pace.inference
    tested = (data.n_validation + data.n_test) * each
    seconds = pace.build + training_seconds(job, pace) + tested + spoilt + pace.explaining
    new_worker, new_network, new_prefix = done.add(job)
    seconds += pace.start if new_worker else 0.0
    seconds += pace.speeds if new_network else 0.0
    if pace.rest is not None and new_prefix:
        seconds += (data.n_train + data.n_validation + data.n_test) * pace.inference
    return seconds


def training_seconds(job: Job, pace: StepTimes) -> float:
    """Return how long the epochs of a run take at a pace, without early stopping."""
    recipe, data = job.run.recipe, job.data
    steps = math.ceil(data.n_train / recipe.batch_size)
    epochs = recipe.epochs * max(1, len(recipe.tuning.learning_rates))
    each = pace.inference if pace.rest is None else pace.rest
    return pace.first_step + epochs * (steps * pace.step + data.n_validation * each)


class Before:
    """What the runs before a run have done that it need not do: in their worker, and on the disk."""

    def __init__(self) -> None:
        self._worker_key: object = None
        self._networks: set[object] = set()
        self._prefixes: set[object] = set()

    def add(self, job: Job) -> tuple[bool, bool, bool]:
        """Return whether a run has a new worker, a network that was not measured there, and frozen stages whose
        output is not kept yet; from then on it is one of those before.
        """
        run, recipe = job.run, job.run.recipe
        new_worker = job.worker_key != self._worker_key
        if new_worker:
            self._worker_key = job.worker_key
            self._networks.clear()
        seed = run.seed if job.weights.used == "none" else None  # it draws the weights that are frozen
        prefix = (run.backbone, run.engine, recipe.size, recipe.trainable_from, recipe.head.pooling, seed)
        network = (run.backbone, recipe.size, recipe.batch_size, recipe.head.kind, recipe.head.pooling)
        new_network, new_prefix = network not in self._networks, prefix not in self._prefixes
        self._networks.add(network)
        self._prefixes.add(prefix)
        return new_worker, new_network, new_prefix


def summary(expected: Iterable[Expected]) -> list[str]:
    """Return what there is to say of all runs together."""
    rows = list(expected)
    durations = [each.seconds for each in rows if each.seconds]
    unknown = sum(each.seconds is None for each in rows)
    workers = max((int(each.job.settings.workers) for each in rows if each.job.settings.workers != "auto"), default=1)
    seconds = max([sum(durations) / workers, *durations])  # no run is shared between workers
    beside = f", {workers} side by side" if workers > 1 else ""
    lines = [
        f"{_count(len(rows), 'run')}; about {clock(seconds)} (h:mm:ss or m:ss) for {len(durations)} of them{beside}."
    ]
    if any(each.job.run.recipe.early_stopping.patience for each in rows if each.seconds):
        lines.append("Early stopping may end some runs sooner.")
    if any(each.job.settings.cam_check for each in rows if each.seconds):
        lines.append("The time of --cam-check is not included.")
    if any(each.job.settings.corruptions for each in rows if each.seconds):
        lines.append("The time in which spoilt images are made, once for a data set, is not included.")
    if any(each.slow for each in rows):
        lines.append("Rows marked GPU are meant for a GPU, or for --limit.")
    if unknown:
        lines.append(f"How long the other {unknown} would take is not known, for the reasons given above.")
    fetched = dict.fromkeys(
        each.job.run.backbone for each in rows if each.remark != "done" and each.job.weights.source == "imagenet"
    )
    if fetched:
        lines.append(
            f"Weights not on this machine: {', '.join(fetched)}. They will be fetched; where they can't be, the rows "
            "say missing_weights."
        )
    return lines


def _trained(recipe: Recipe) -> str:
    part = {"all": "all of it", "head": "its head"}.get(recipe.trainable_from, f"from {recipe.trainable_from}")
    return part + (", with augmentation" if recipe.augmentation.active else "")


def _remarks(expected: Iterable[Expected]) -> list[str]:
    """Return once for each backbone why its runs would fail, or have no estimate."""
    remarks = (f"{each.job.run.backbone}: {plain(each.remark)}" for each in expected if each.seconds is None)
    return list(dict.fromkeys(remarks))


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _kind(job: Job) -> tuple[Any, ...]:
    """Return what decides how long a step takes."""
    run, recipe = job.run, job.run.recipe
    varied = recipe.augmentation.active
    return (run.backbone, run.engine, recipe.size, recipe.batch_size, recipe.trainable_from, recipe.head.kind, varied)


def _pace(job: Job, folder: Path, seconds: float) -> StepTimes | Unknown:
    """Let a worker take a few steps of a run; return its pace, or why it has none."""
    attempt, others = uuid4().hex, {process.pid for process in descendants()}
    split = folder / "splits" / job.split_file.name
    here = job.model_copy(update={"out": folder, "split_file": split})
    answer = folder / "events"
    with answer.open("wb") as events, (folder / "log").open("wb") as log:
        try:
            process = start(
                "benchmark.execution.worker.step_timing",
                environment=worker_environment(job, attempt), stdin=subprocess.PIPE, stdout=events, stderr=log,
            )  # fmt: skip
            assert process.stdin is not None
            with suppress(OSError), process.stdin:  # it may be gone already: its exit says so
                send(process.stdin, here.model_dump(mode="json"))
        except OSError as error:
            return Unknown(f"not measured: the worker could not be started ({error})")
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return Unknown(f"not measured: a few steps took longer than {seconds:.0f} s")
        finally:
            end_tree(process, attempt, lambda: others)
    for event in messages(answer.read_bytes().splitlines()):
        if event.pop("event", None) == "measured":
            return StepTimes(**event)
        if "outcome" in event:
            return Unknown(f"{event['outcome']}: {event.get('reason', '')}", fails=True)
    return Unknown(f"{outcome_of_exit(code, oom_killed=False)[0]}: the worker ended without an answer", fails=True)


def _further(
    expected: Sequence[Expected], done: Mapping[str, Record], store: RecordStore, request: Request
) -> list[str]:
    """Return how many runs of further seeds may follow, and how long they may take; nothing where none may."""
    by_key = {each.job.key: each for each in expected}
    repeated = [
        by_key[job.key]
        for job, follower in followers((each.job for each in expected), lambda job: by_key[job.key].training_s)
        if is_wanted(follower, request, store) and not (job.key in done and store.done(follower.key))
    ]
    if not repeated:
        return []
    seconds = sum(
        done[each.job.key].timings.total_s if each.job.key in done else each.seconds or 0.0 for each in repeated
    )
    return [
        f"Seeds {' and '.join(map(str, FURTHER_SEEDS))} follow where training takes under {QUICK_SECONDS:.0f} s: "
        f"{_count(len(repeated), 'run')} more, about {clock(seconds)}. --seed 0 leaves them out."
    ]


def _expected(plan: Plan, job: Job, done: Record | None, paces: Paces, before: Before) -> Expected:
    slow = plan.is_slow(job)
    if done is not None:
        return Expected(job, 0.0, "done", training_s=done.timings.training_s)
    if job.verdict is not None:
        outcome, reason = job.verdict
        return Expected(job, None, f"{outcome}: {reason}", slow, fails=True)
    pace = paces.get(_kind(job), _NO_GPU)
    if isinstance(pace, Unknown):
        return Expected(job, None, pace.reason, slow, pace.fails)
    return Expected(job, expected_seconds(job, pace, before), "", slow, training_s=training_seconds(job, pace))


def _table(expected: Iterable[Expected]) -> Table:
    """Return a line for each run of a recipe, whose name stands above: it may be long."""
    rows = list(expected)
    several = len({each.job.data.split for each in rows}) > 1
    table = Table(box=None, pad_edge=False)
    table.add_column("backbone", no_wrap=True)
    if several:
        table.add_column("split", overflow="fold")
    for heading in ("seed", "epochs", "images", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for each in rows:
        job = each.job
        seconds = "?" if each.seconds is None else clock(each.seconds) if each.seconds else "-"
        names = (job.run.backbone, *([job.data.split] if several else []))
        numbers = (str(job.run.seed), str(job.run.recipe.epochs), str(job.data.n_train), seconds)
        marks = [each.remark.partition(":")[0]] if each.fails or each.seconds == 0 else []  # the rest is said below
        marks += ["GPU"] if each.slow else []
        table.add_row(*(escape(plain(cell)) for cell in (*names, *numbers, ", ".join(marks))))
    return table
