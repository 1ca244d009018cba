"""The job: all that a worker must know of a run, as JSON; and jobs that are done together."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict

from backbones.registry import OWN_ORIGINS
from benchmark.data.audit.audit import Audit
from benchmark.engines import engine_entry
from benchmark.execution.executors.process_tree import ATTEMPT_VARIABLE
from benchmark.execution.planning.weights import Weights
from benchmark.file_names import file_name
from benchmark.records.outcomes import Outcome
from benchmark.records.record import BackboneFacts, DataFacts, Record
from benchmark.records.results_folder import LOGS, WORK
from benchmark.records.run import Run
from benchmark.records.settings import Settings
from benchmark.records.store import short

_FINAL = "final.safetensors"
# Libraries whose import leaves the framework as it was; keras_cv's does not promise that.
_SHARING = ("own", "keras", "timm")
_LONGEST_NAME = 150  # characters of a backbone's name in that of its log
_TAIL_BYTES, _TAIL_LINES = 8192, 20
_TERMINAL_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


class Job(BaseModel):
    """A run, and where it finds and leaves things. None of the rest changes its result.

    Args:
        run: what is asked; its key names everything on disk.
        recipe_name: the name of the recipe in tables.
        backbone: facts of the adapter, as the plan saw it.
        data: facts of the data set and its split.
        audit: the audit of the data and its split, ``None`` where none was made.
        weights: the weights that the network starts from.
        settings: the user's choices that are not part of the run's identity.
        device: name of the device, as the tables show it.
        data_folder: the prepared data set.
        split_file: the split.
        out: the results folder.
        keep_final: whether other runs continue from the final weights.
        keep_model_from: the least macro-F1 on the test images at which a model may be the best of the board.
        command: what was typed, for the record.
        speeds_only: whether the run is done, and only its speeds are measured anew.
        verdict: an outcome and reason that were clear before anything ran, or ``None``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: Run
    recipe_name: str
    backbone: BackboneFacts
    data: DataFacts
    audit: Audit | None = None
    weights: Weights
    settings: Settings
    device: str
    data_folder: Path
    split_file: Path
    out: Path
    keep_final: bool = False
    keep_model_from: float = 0.0
    command: str = ""
    speeds_only: bool = False
    verdict: tuple[Outcome, str] | None = None

    @property
    def key(self) -> str:
        """The run's identity."""
        return self.run.key

    @property
    def worker_key(self) -> tuple[object, ...]:
        """What two runs must have in common to share a worker.

        One framework, one device, one way of computing and one library; TumorBoard's own networks, which need no
        library, go with the framework's first. What a plug-in does to its process hurts no other backbone: only runs
        of the same one share theirs.
        """
        run, settings, origin = self.run, self.settings, self.run.backbone
        if self.backbone.origin in OWN_ORIGINS:
            origin = "" if self.backbone.library in _SHARING else self.backbone.library
        deterministic = run.recipe.execution.deterministic
        return run.engine, run.device_kind, settings.keras_backend, deterministic, settings.plugins, origin

    @property
    def work(self) -> Path:
        """The folder for checkpoints and whatever else the run needs until it is done."""
        return self._work(self.key)

    @property
    def final_weights(self) -> Path:
        """The file that gets the trained weights, where other runs continue from them."""
        return self.work / _FINAL

    @property
    def initial_weights(self) -> Path | None:
        """The file with the weights that the run continues from, where these are another run's."""
        return None if self.run.init_from is None else self._work(self.run.init_from) / _FINAL

    def _work(self, key: str) -> Path:
        return self.out.joinpath(*WORK, short(key))

    @property
    def log(self) -> Path:
        """The file that gets what the worker and the backbone print."""
        name = file_name(self.run.backbone, longest=_LONGEST_NAME)
        return self.out.joinpath(*LOGS, f"{name}-{short(self.key)}.log")

    def log_tail(self) -> list[str]:
        """Return the last lines of the log, without terminal codes; none where there is no log."""
        try:
            with self.log.open("rb") as stream:
                stream.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
                text = stream.read(_TAIL_BYTES).decode("utf-8", errors="replace")
        except OSError:
            return []
        lines = (_TERMINAL_CODES.sub("", line).rstrip() for line in text.splitlines())
        return [line for line in lines if line][-_TAIL_LINES:]

    def record(self, outcome: Outcome, reason: str = "", **facts: Any) -> Record:
        """Return the run's record with this outcome; ``facts`` are fields of it that came to be known."""
        return Record(
            key=self.key,
            identity=self.run.identity(),
            outcome=outcome,
            reason=reason,
            recipe_name=self.recipe_name,
            seed=self.run.seed,
            device=self.device,
            backbone=self.backbone,
            data=self.data,
            audit=self.audit,
            settings=self.settings,
            **{"weights": self.weights.facts(), **facts},
        )


@dataclass(frozen=True)
class Runs:
    """Runs of one results folder, in the order in which they are done: each after the one from which it continues.

    Args:
        out: the results folder, writable.
        jobs: one for each distinct run.
    """

    out: Path
    jobs: tuple[Job, ...]

    def followers(self, key: str) -> tuple[Job, ...]:
        """Return the runs that continue from the weights of one."""
        return self._followers.get(key, ())

    @cached_property
    def _followers(self) -> Mapping[str, tuple[Job, ...]]:
        followers: dict[str, list[Job]] = {}
        for job in self.jobs:
            if job.run.init_from is not None:
                followers.setdefault(job.run.init_from, []).append(job)
        return {key: tuple(jobs) for key, jobs in followers.items()}


def worker_environment(job: Job, attempt: str, beside: Mapping[str, str] = MappingProxyType({})) -> Mapping[str, str]:
    """Return the environment of a job's worker: what decides a framework before it is imported.

    Args:
        job: what the worker does first.
        attempt: the id of the attempt.
        beside: what this worker has for itself where several go on side by side: a GPU, a number of threads.
    """
    entry = engine_entry(job.run.engine)
    own = {**entry.environment, ATTEMPT_VARIABLE: attempt}
    if job.run.device_kind == "cpu":
        own["CUDA_VISIBLE_DEVICES"] = "-1"
    return {**entry.environment_defaults, "PYTHONUNBUFFERED": "1", **os.environ, **beside, **own}
