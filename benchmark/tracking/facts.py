"""What trackers are told, from jobs and from records: parameters, tags, scores with intervals."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark.execution.worker.job import Job
from benchmark.grouping import dotted
from benchmark.records.record import DataFacts, Epoch, Record
from benchmark.records.results_folder import shows_images
from benchmark.reporting.board.board import Board, BoardRow
from benchmark.reporting.board.column import Kind
from benchmark.reporting.board.columns import columns_of
from benchmark.reporting.board.rows import Result, absent
from benchmark.reporting.figures.labels import full_names
from benchmark.text import plain
from benchmark.tracking.base import BoardFacts, Parameter, RunFacts, TrackedScore

_TABLES = ("leaderboard.csv", "runs.csv", "comparisons.csv", "columns.csv")
_CURVES = ("learning_rate", "train_loss", "val_loss", "val_macro_f1")
_NUMBERS = (Kind.SCORE, Kind.NUMBER, Kind.COUNT, Kind.WHOLE)
_PROVENANCE = ("tumorboard", "git_commit", "python", "cpu", "gpu", "at")


def facts_of_job(job: Job, *, fresh: bool) -> RunFacts:
    """Return what is known of a run before it is done; nothing of the machine's folders is in it."""
    identity, weights = job.run.identity(), job.weights.facts()
    tags = {"device": job.device, "note": job.settings.note, "status": "running"}
    return RunFacts(
        key=job.key, name=_name(job.run.backbone, job.run.seed, job.data), board=job.out.resolve().name,
        parameters=_parameters(identity, job.recipe_name, job.data, weights.used), tags=_words(tags), fresh=fresh,
    )  # fmt: skip


def facts_of_record(record: Record, board: str) -> RunFacts:
    """Return what is known of a run that is done.

    Args:
        board: name of the results folder.
    """
    provenance = record.provenance
    tags = {name: provenance.get(name) for name in _PROVENANCE}
    tags |= {f"version.{name}": version for name, version in provenance.get("libraries", {}).items()}
    tags |= {"device": record.device, "note": record.settings.note if record.settings else ""}
    tags |= {"status": str(record.outcome), "reason": record.reason}
    return RunFacts(
        key=record.key, name=_name(record.backbone.name, record.seed, record.data), board=board,
        parameters=_parameters(record.identity, record.recipe_name, record.data, record.weights.used),
        tags=_words(tags),
    )  # fmt: skip


def curves(epoch: Epoch | Mapping[str, Any]) -> dict[str, float]:
    """Return the values of an epoch that are numbers."""
    values = epoch.model_dump() if isinstance(epoch, Epoch) else epoch
    return {name: float(values[name]) for name in _CURVES if _is_finite(values.get(name))}


def scores_of(result: Result, row: BoardRow) -> dict[str, TrackedScore]:
    """Return the scores of a run; intervals are the row's, where the run is all of it."""
    alone = len(row.results) == 1
    return _scores(result.values, result.record.data, row if alone else None)


def board_facts(board: Board, out: Path, answers: tuple[str, ...]) -> BoardFacts:
    """Return what is told of a board that was written into a folder.

    Args:
        answers: its answer, a sentence an entry.
    """
    figures = sorted(path for path in out.glob("plot_*.png") if not shows_images(path.name))
    tables = [out / name for name in _TABLES if (out / name).is_file()]
    rows = {
        name: _scores(row.values, row.first.record.data, row)
        for name, row in zip(full_names(board.rows), board.rows, strict=True)
        if row.values["n_runs"]
    }
    text = "\n\n".join(map(plain, answers))
    return BoardFacts(
        name=out.resolve().name, figures=tuple(path.resolve() for path in figures),
        tables=tuple(path.resolve() for path in tables), text=text, scores=rows,
    )  # fmt: skip


def _scores(values: Mapping[str, Any], data: DataFacts, row: BoardRow | None) -> dict[str, TrackedScore]:
    """Return the numbers that the board shows in its tables, with the intervals of a row, where there is one."""
    scores: dict[str, TrackedScore] = {}
    for column in columns_of(data):
        value = values.get(column.name)
        if column.section and column.kind in _NUMBERS and _is_finite(value):
            interval = None if row is None else row.intervals.get(column.name)
            ends = {} if interval is None else {"low": interval.low, "high": interval.high}
            scores[column.name] = TrackedScore(value=float(value), **ends)  # type: ignore[arg-type]
    return scores


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _name(backbone: str, seed: int, data: DataFacts) -> str:
    fold = "" if data.fold is None else f", fold {data.fold} of {data.folds}"
    return f"{backbone}, seed {seed}{fold}"


def _parameters(identity: Mapping[str, Any], recipe_name: str, data: DataFacts, weights: str) -> dict[str, Parameter]:
    """Return what makes a run the run that it is, by dotted names."""
    values: dict[str, Any] = {
        "recipe_name": recipe_name, "data": data.name, "split": data.split, "classes": ", ".join(data.class_names),
        "n_train": data.n_train, "n_validation": data.n_validation, "n_test": data.n_test, "weights_used": weights,
    }  # fmt: skip
    return {
        name: value if isinstance(value, str | int | float) else str(value)
        for name, value in dotted({**identity, **values}).items()
        if value is not None
    }


def _words(tags: Mapping[str, Any]) -> dict[str, str]:
    return {name: plain(str(value)) for name, value in tags.items() if not absent(value)}
