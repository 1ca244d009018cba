"""Weights & Biases: online where the user is logged in, or offline (``WANDB_MODE=offline``, then ``wandb sync``)."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb

from benchmark.file_names import file_name
from benchmark.hashing import hash_json
from benchmark.records.outcomes import Outcome
from benchmark.tracking.base import BoardFacts, Place, RunFacts, TrackedScore, numbers

_ID = 16  # hex digits of the hash that names a run or a board there


class WandbRuns:
    """Writes runs into a project: the one that the user names, else ``WANDB_PROJECT``, else ``tumorboard``.

    Runs stay open until their scores are known, so that each is written as one; offline each is one folder below
    ``wandb/`` in the results folder.
    """

    def __init__(self, place: Place) -> None:
        self._project = place.where or os.environ.get("WANDB_PROJECT") or "tumorboard"
        self._folder = place.out
        self._runs: dict[str, Any] = {}

    def begin(self, run: RunFacts) -> int:
        """Begin a run, or go on with the one of the same id."""
        if run.key in self._runs and not run.fresh:
            self._runs[run.key].config.update({"tags": run.tags}, allow_val_change=True)
            return 0
        opened = self._opened(run.key[:_ID], run.name, run.board, {**run.parameters, "tags": run.tags})
        if run.fresh and opened.step:  # an earlier try stands there, with other curves
            opened.finish()
            opened = self._opened(None, run.name, run.board, {**run.parameters, "tags": run.tags})
        opened.define_metric("epoch")
        opened.define_metric("*", step_metric="epoch")
        self._runs[run.key] = opened
        return int(opened.summary.get("epoch") or 0) if opened.resumed else 0

    def epoch(self, run: RunFacts, number: int, values: Mapping[str, float]) -> None:
        """Add a point to each curve."""
        self._runs[run.key].log({**values, "epoch": number})

    def scores(self, run: RunFacts, scores: Mapping[str, TrackedScore]) -> None:
        """Write the scores, with their intervals, into the run's summary."""
        summary = self._runs[run.key].summary
        for name, value in numbers(scores, "test/").items():
            summary[name] = value

    def model(self, run: RunFacts, folder: Path) -> None:
        """Upload the model's folder as an artifact."""
        artifact = wandb.Artifact(file_name(folder.name), type="model")
        artifact.add_dir(str(folder))
        self._runs[run.key].log_artifact(artifact)

    def end(self, run: RunFacts, status: str) -> None:
        """Close the run."""
        opened = self._runs.pop(run.key)
        opened.summary["status"] = status
        opened.finish(exit_code=0 if status == Outcome.OK else 1)

    def board(self, board: BoardFacts) -> None:
        """Write the board as a run of its own: figures, scores as a table, and the tables as an artifact.

        The next telling of the same folder goes on with it; boards of equal names elsewhere are runs of their own.
        """
        identity = hash_json(["board", platform.node(), str(self._folder.resolve())])[:_ID]
        opened = self._opened(identity, f"{board.name}: board", board.name, {})
        columns = ["row", "score", "value", "low", "high"]
        lines = [
            [row, name, score.value, score.low, score.high]
            for row, scores in board.scores.items()
            for name, score in scores.items()
        ]
        pictures = {path.stem: wandb.Image(str(path)) for path in board.figures}
        opened.log({**pictures, "scores": wandb.Table(columns=columns, data=lines)})
        opened.summary["answer"] = board.text
        artifact = wandb.Artifact(file_name(f"{board.name}-tables"), type="tables")
        for path in board.tables:
            artifact.add_file(str(path))
        opened.log_artifact(artifact)
        opened.finish()

    def close(self) -> None:
        """Close the runs that are not done."""
        for opened in self._runs.values():
            opened.finish(exit_code=1)
        self._runs.clear()

    def _opened(self, identity: str | None, name: str, group: str, config: Mapping[str, Any]) -> Any:
        return wandb.init(
            project=self._project, dir=str(self._folder), id=identity, resume="allow" if identity else None,
            name=name, group=group, config=dict(config), reinit="create_new", save_code=False,
            settings=wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True,
                                    x_disable_machine_info=True, x_disable_meta=True, x_save_requirements=False),
        )  # fmt: skip
