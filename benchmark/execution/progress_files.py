"""How far each run is, as a small file in its results folder: for ``status``, and for who waits for another machine.

Whoever has a run's claim writes its file, at most every two seconds, and removes it when the run has ended; its
record tells the rest. A results folder may be anybody's: what is read here is shown, and decides nothing.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmark.atomic_files import inside, write_atomically
from benchmark.execution.worker.job import Job
from benchmark.foreign_files import Refused, list_foreign, read_foreign
from benchmark.host import this_machine
from benchmark.records.results_folder import PROGRESS
from benchmark.records.store import short

WRITE_SECONDS = 2.0  # between two writings of one file, at least
_MAX_BYTES = 8192
_SUFFIX = ".json"
_TOLD = ("phase", "step", "epoch", "stopping")  # the events that say how far a run is

_Text = Annotated[str, Field(max_length=300)]
_Seconds = Annotated[float, Field(ge=0, le=1e11, allow_inf_nan=False)]


class RunState(BaseModel):
    """How far a run is.

    Args:
        key: of the run.
        backbone: its name.
        seed: of the run.
        fold: number of the fold, ``None`` without folds.
        machine: where it runs, by the name of the host.
        began, changed: when it began here, and when this was written, in seconds since 1970 by that machine's clock.
        event: what its worker told last of how far it is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: Annotated[str, Field(max_length=128, pattern=r"^[0-9a-f]+$")]
    backbone: _Text
    seed: int
    fold: int | None
    machine: _Text
    began: _Seconds
    changed: _Seconds
    event: Annotated[dict[_Text, _Text | int | float | None], Field(max_length=30)]


class ProgressFiles:
    """The files of the runs that this process has claimed.

    Args:
        out: the results folder.
        clock: returns seconds since 1970.
    """

    def __init__(self, out: Path, clock: Callable[[], float] = time.time) -> None:
        self._out, self._clock = out, clock
        self._machine = this_machine().partition(" ")[0]
        self._began: dict[str, float] = {}
        self._written: dict[str, tuple[float, str]] = {}  # when, and what kind of event

    def started(self, job: Job) -> None:
        """Take note that a run begins, and say so."""
        self._began[job.key] = self._clock()
        self._write(job, {"event": "phase", "phase": "starting"})

    def event(self, job: Job, event: Mapping[str, Any]) -> None:
        """Write what a worker tells of how far it is, unless it was written just now."""
        kind = str(event.get("event"))
        if kind not in _TOLD or job.key not in self._began:
            return
        before, last_kind = self._written.get(job.key, (0.0, ""))
        if kind == last_kind and 0 <= self._clock() - before < WRITE_SECONDS:
            return
        self._write(job, event)

    def ended(self, job: Job) -> None:
        """Remove the file of a run that has ended."""
        self._began.pop(job.key, None)
        if self._written.pop(job.key, None) is not None:
            forget_progress(self._out, job.key)

    def _write(self, job: Job, event: Mapping[str, Any]) -> None:
        now = self._clock()
        self._written[job.key] = now, str(event.get("event"))
        plain = {name: value for name, value in event.items() if isinstance(value, str | int | float)}
        with suppress(OSError, ValidationError):  # that it can't be told never costs a run anything
            state = RunState(
                key=job.key, backbone=job.run.backbone[:300], seed=job.run.seed, fold=job.data.fold,
                machine=self._machine, began=self._began[job.key], changed=now, event=plain,
            )  # fmt: skip
            write_atomically(inside(self._out, *PROGRESS, _path(self._out, job.key).name), state.model_dump_json())


def read_progress(out: Path, key: str) -> RunState | None:
    """Return how far a run is, as far as a file tells; ``None`` where none does."""
    return _read(out, _path(out, key).name)


def all_progress(out: Path) -> dict[str, RunState]:
    """Return how far runs are, by the short form of their keys; what can't be read is left out."""
    try:
        names = list_foreign(out, *PROGRESS)
    except Refused:
        return {}
    states = {name.removesuffix(_SUFFIX): _read(out, name) for name in names if name.endswith(_SUFFIX)}
    return {name: state for name, state in states.items() if state is not None and short(state.key) == name}


def forget_progress(out: Path, key: str) -> None:
    """Remove what a killed process left of telling how far a run is. Only who has the run's claim may do this."""
    with suppress(OSError):
        _path(out, key).unlink(missing_ok=True)


def _path(out: Path, key: str) -> Path:
    return out.joinpath(*PROGRESS, short(key) + _SUFFIX)


def _read(out: Path, name: str) -> RunState | None:
    try:
        return RunState.model_validate_json(read_foreign(out, *PROGRESS, name, limit=_MAX_BYTES))
    except (OSError, Refused, ValidationError):
        return None
