"""Checkpoints: the last epoch's and the best epoch's state, as safetensors, each complete or absent.

``last.safetensors`` carries the optimiser's slots and, in its header, everything the loop must know to go on; so
weights and progress can never disagree. The best weights are in a file named by their epoch, to which the last
points: a kill between the two writes leaves the older pair intact.
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.atomic_files import UNFINISHED, written_file

State = Mapping[str, npt.NDArray[Any]]
_LAST = "last.safetensors"


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run, in a folder of their own.

    Args:
        folder: made when first written to.
        prefix: of the files' names, for a part of the run that has checkpoints of its own.
    """

    folder: Path
    prefix: str = ""

    def save_best(self, epoch: int, state: State) -> None:
        """Write the weights of the best epoch so far."""
        self._write(f"{self.prefix}best-{epoch}.safetensors", state, {})

    def save_last(self, progress: Mapping[str, Any], state: State) -> None:
        """Write the state after an epoch, and drop best weights that ``progress["best_epoch"]`` does not name."""
        self._write(self.prefix + _LAST, state, {"progress": json.dumps(progress)})
        for stale in self.folder.glob(f"{self.prefix}best-*.safetensors"):
            if stale.name != f"{self.prefix}best-{progress['best_epoch']}.safetensors":
                stale.unlink()

    def load_last(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]] | None:
        """Return what :meth:`save_last` wrote, or ``None`` where nothing usable is there."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.folder / (self.prefix + _LAST), framework="numpy") as file:
                progress = json.loads(file.metadata()["progress"])
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

    def delete(self) -> None:
        """Remove all checkpoints; the folder too when nothing else is in it."""
        for path in self.folder.glob("*.safetensors*"):
            path.unlink()
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def _write(self, name: str, state: State, metadata: dict[str, str]) -> None:
        from safetensors.numpy import save_file

        self.folder.mkdir(parents=True, exist_ok=True)
        for abandoned in self.folder.glob(f"{UNFINISHED}*"):  # by a process that was killed
            abandoned.unlink()
        with written_file(self.folder / name) as unfinished:
            save_file({key: np.asarray(value, order="C") for key, value in state.items()}, unfinished, metadata)
