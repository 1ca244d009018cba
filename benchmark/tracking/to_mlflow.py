"""MLflow: a server, a database or a folder, through MLflow's own client."""

import os
import time
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from benchmark.records.outcomes import Outcome
from benchmark.tracking.base import BoardFacts, Place, RunFacts, TrackedScore, numbers

_KEY = "tumorboard.key"
_BATCH = 90  # parameters, tags or metrics of one request; MLflow takes 100 parameters and 100 tags
_LONGEST = 500  # characters of a parameter that every version takes
# The library's own defaults wait for a server for many minutes; what the user sets counts.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}


class MlflowRuns:
    """Writes runs into an experiment that is named as the results folder, or as ``MLFLOW_EXPERIMENT_NAME`` says.

    The address is the one that the user names, else ``MLFLOW_TRACKING_URI``, else MLflow's own default. A run that is
    there is gone on with, so that a board may be tracked again; one that begins anew is a new run of MLflow.
    """

    def __init__(self, place: Place) -> None:
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient(tracking_uri=place.where or None)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or place.out.resolve().name
        experiment = self._client.get_experiment_by_name(name)
        self._experiment = self._client.create_experiment(name) if experiment is None else experiment.experiment_id
        self._runs: dict[str, str] = {}  # MLflow's ids by ours

    def begin(self, run: RunFacts) -> int:
        """Begin a run, or find the one that bears the same key."""
        last = 0
        if run.key not in self._runs or run.fresh:
            entry = None if run.fresh else self._found(run.key)
            if entry is None:
                entry = self._created(run.key, run.name)
            else:
                last = int(entry.data.metrics.get("epoch", 0))
            self._runs[run.key] = entry.info.run_id
        self._write(self._runs[run.key], parameters=run.parameters, tags=run.tags)
        return last

    def epoch(self, run: RunFacts, number: int, values: Mapping[str, float]) -> None:
        """Add a point to each curve."""
        self._write(self._runs[run.key], metrics={**values, "epoch": float(number)}, step=number)

    def scores(self, run: RunFacts, scores: Mapping[str, TrackedScore]) -> None:
        """Write each score, and the ends of its interval, as metrics."""
        self._write(self._runs[run.key], metrics=numbers(scores, "test/"))

    def model(self, run: RunFacts, folder: Any) -> None:
        """Upload the model's folder."""
        self._client.log_artifacts(self._runs[run.key], str(folder), "model")

    def end(self, run: RunFacts, status: str) -> None:
        """Set the run's status."""
        states = {Outcome.OK: "FINISHED", Outcome.INTERRUPTED: "KILLED"}
        self._client.set_terminated(self._runs.pop(run.key), states.get(Outcome(status), "FAILED"))

    def board(self, board: BoardFacts) -> None:
        """Write the board as a run of its own: figures and tables as artifacts, scores as metrics."""
        entry = self._found("board") or self._created("board", f"{board.name}: board")
        run = entry.info.run_id
        rows: dict[str, float] = {}
        for row, scores in board.scores.items():
            rows |= numbers(scores, f"{_word(row)}/")
        self._write(run, metrics=rows, tags={"mlflow.note.content": board.text})
        for path in (*board.figures, *board.tables):
            self._client.log_artifact(run, str(path), "figures" if path.suffix == ".png" else "tables")
        self._client.set_terminated(run, "FINISHED")

    def close(self) -> None:
        """Leave runs that are not done as interrupted."""
        for run in self._runs.values():
            self._client.set_terminated(run, "KILLED")
        self._runs.clear()

    def _found(self, key: str) -> Any:
        runs = self._client.search_runs(
            [self._experiment], f"tags.`{_KEY}` = '{key}'", max_results=1, order_by=["attributes.start_time DESC"]
        )
        return runs[0] if runs else None

    def _created(self, key: str, name: str) -> Any:
        return self._client.create_run(self._experiment, run_name=name, tags={_KEY: key, "mlflow.runName": name})

    def _write(
        self,
        run: str,
        *,
        parameters: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
        step: int = 0,
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        now = int(1000 * time.time())
        parts = {
            "params": [Param(_word(name), str(value)[:_LONGEST]) for name, value in (parameters or {}).items()],
            "tags": [RunTag(_word(name), value[:5000]) for name, value in (tags or {}).items()],
            "metrics": [Metric(_word(name), value, now, step) for name, value in (metrics or {}).items()],
        }
        for kind, entries in parts.items():
            for batch in _batches(entries):
                self._client.log_batch(run, **{kind: batch})


def _batches(entries: Iterable[Any]) -> Iterable[list[Any]]:
    rest = iter(entries)
    while batch := list(islice(rest, _BATCH)):
        yield batch


def _word(name: str) -> str:
    """Return a name of letters that MLflow takes, 250 at most."""
    return "".join(c if (c.isalnum() and c.isascii()) or c in "_-./ " else "-" for c in name)[:250]
