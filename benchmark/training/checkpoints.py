"""Checkpoints: the last epoch's and the best epoch's state, as safetensors, each complete or absent.

``last.safetensors`` carries the optimiser's slots and, in its header, everything the loop must know to go on; so
weights and progress can never disagree. The best weights are in a file named by their epoch, to which the last
points: a kill between the two writes leaves the older pair intact.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from benchmark.atomic_files import UNFINISHED, written_file
from benchmark.records.record import Epoch

State = Mapping[str, npt.NDArray[Any]]
_LAST = "last.safetensors"
_COST = 20  # a checkpoint is written after so many times the seconds that the one before took


class Progress(BaseModel):
    """What the loop must know to go on after an epoch; kept in the header of the last checkpoint.

    Args:
        history: a line for each epoch that is done.
        best_epoch: number of the best of them, 0 before the first.
        choices: those that were measured.
        parts: in how many each batch is computed.
        diverged: why the training ended without weights, where it did.
        seconds: where the time went.
    """

    model_config = ConfigDict(ser_json_inf_nan="constants")

    history: list[Epoch] = []
    best_epoch: int = 0
    choices: dict[str, str] = {}
    parts: int = 0
    diverged: str = ""
    seconds: dict[str, float] = {}


@dataclass(frozen=True)
class Fitted:
    """How far a training came.

    Args:
        progress: after its last epoch.
        final_epoch: number of the epoch whose weights the engine has.
        resumed_from: number of epochs that an earlier try had done.
    """

    progress: Progress
    final_epoch: int
    resumed_from: int


class Pace:
    """Says when a checkpoint is worth its time: seldom enough that writing takes a small share of it.

    As a context it times the writing of one; ``saved`` is the number of epochs that the last one written has.
    """

    saved = 0

    def __init__(self, checkpoints: "Checkpoints | None") -> None:
        self._every_s = checkpoints.every_s if checkpoints else math.inf
        self._at_end = bool(checkpoints and checkpoints.keeps_end)
        self._since, self._took = time.monotonic(), 0.0

    def is_due(self, *, at_end: bool) -> bool:
        """Return whether to write one after an epoch, the last (``at_end``) or not."""
        if at_end and (self._at_end or self._every_s == 0):
            return True
        return not at_end and time.monotonic() - self._since >= max(self._every_s, _COST * self._took)

    def __enter__(self) -> None:
        self._since = time.monotonic()

    def __exit__(self, *_: object) -> None:
        now = time.monotonic()
        self._since, self._took = now, now - self._since if self._every_s else 0.0


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run, in a folder of their own.

    Args:
        folder: made when first written to.
        prefix: of the files' names, for a part of the run that has checkpoints of its own.
        every_s: seconds that lie at least between two; a run that is killed loses about as many.
        keeps_end: whether one is written at the end too, for whoever reads the weights then.
    """

    folder: Path
    prefix: str = ""
    every_s: float = 0.0
    keeps_end: bool = False

    def save(self, progress: Progress, state: State, best: State | None) -> None:
        """Write the state after an epoch, and before it the weights of the best epoch, unless they are there.

        Args:
            progress: how far the training came.
            state: of weights and optimiser.
            best: weights of epoch ``progress.best_epoch``; ``None`` where they are not kept.
        """
        name = f"{self.prefix}best-{progress.best_epoch}.safetensors"
        if best is not None and not (self.folder / name).is_file():
            self._write(name, best, {})
        self._write(self.prefix + _LAST, state, {"progress": progress.model_dump_json()})
        for stale in self.folder.glob(f"{self.prefix}best-*.safetensors"):
            if stale.name != name:
                stale.unlink()

    def load_last(self) -> tuple[Progress, dict[str, npt.NDArray[Any]]] | None:
        """Return what :meth:`save` wrote, or ``None`` where nothing usable is there."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.folder / (self.prefix + _LAST), framework="numpy") as file:
                progress = Progress.model_validate_json(file.metadata()["progress"])
                return progress, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (FileNotFoundError, SafetensorError, KeyError, TypeError, ValueError):
            return None

    def load_best(self, epoch: int) -> dict[str, npt.NDArray[Any]] | None:
        """Return the weights of the best epoch, or ``None`` where they are not there."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            return dict(load_file(self.folder / f"{self.prefix}best-{epoch}.safetensors"))
        except (FileNotFoundError, SafetensorError):
            return None

    def _write(self, name: str, state: State, metadata: dict[str, str]) -> None:
        from safetensors.numpy import save_file

        self.folder.mkdir(parents=True, exist_ok=True)
        for abandoned in self.folder.glob(f"{UNFINISHED}*"):  # by a process that was killed
            abandoned.unlink()
        with written_file(self.folder / name) as unfinished:
            save_file({key: np.asarray(value, order="C") for key, value in state.items()}, unfinished, metadata)
