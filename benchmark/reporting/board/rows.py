"""Rows: each record with its scores as one flat line, and the columns in their order."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmark.errors import UserError
from benchmark.evaluation.metrics import RunScores, score_record
from benchmark.hashing import hash_json
from benchmark.records.outcomes import Outcome
from benchmark.records.record import Cams, Predictions, Record
from benchmark.reporting.board import derived_scores
from benchmark.reporting.board.cam_scores import NAMES as CAM_NAMES
from benchmark.reporting.board.cam_scores import CamScores, cam_columns, cam_scores
from benchmark.reporting.board.derived_scores import extra_scores

Row = dict[str, Any]

WHO = ("rank", "block", "backbone", "framework", "library", "weights", "recipe", "data", "split", "seed", "n_runs")
SCORES = ("macro_f1", "accuracy", "balanced_accuracy", "mcc", "auroc", "val_macro_f1")
SPEEDS = (
    "train_images_per_s",
    "infer_images_per_s",
    "pipeline_images_per_s",
    "latency_p50_ms",
    "latency_p95_ms",
    "peak_memory_mb",
)
SHARED_SPEEDS = SPEEDS[1:-1]  # of prediction: runs of one worker may have them from one measurement
TIMES = ("compile_s", "compute_s", "data_s", "harness_s", "total_s")
FURTHER = (
    "precision",
    "batch_size",
    "size",
    "limit",
    "n_train",
    "n_validation",
    "n_test",
    "weights_policy",
    "fell_back",
    "leaks",
    "synthetic",
    "grouped",
    "best_epoch",
    "n_epochs",
    "trainable_params_m",
    "note",
    "parity",
    *TIMES,
)

_FOLDS = {"official-folds": "official folds", "slice": "slice folds"}


@dataclass(frozen=True)
class Result:
    """A record with what it is worth.

    Args:
        record: as read.
        predictions: ``None`` where the run did not get that far.
        scores: ``None`` unless the run is ``ok`` and its predictions can be scored.
        problem: why an ``ok`` record can't be scored, else empty.
        extras: further scores by column name.
        cams: Grad-CAM maps of test images, ``None`` where there are none.
        cam_scores: their scores, ``None`` where no lesion is known.
    """

    record: Record
    predictions: Predictions | None
    scores: RunScores | None
    problem: str = ""
    extras: Mapping[str, Any] = field(default_factory=dict)
    cams: Cams | None = None
    cam_scores: CamScores | None = None

    @property
    def status(self) -> str:
        """The outcome; an ``ok`` record that can't be scored is an ``error``."""
        return Outcome.ERROR if self.problem else self.record.outcome

    @property
    def reason(self) -> str:
        """Why the run has no scores, else empty."""
        return self.problem or self.record.reason

    @property
    def split(self) -> str:
        """The split's name, folds of one cross-validation under one name (``5 folds``, ``5 official folds``)."""
        data = self.record.data
        if data.folds is None:
            return data.split
        deduplicated = "" if data.removed is None else ", deduplicated"
        return f"{data.folds} {_FOLDS.get(data.split_kind, 'folds')}{deduplicated}"

    @property
    def row_key(self) -> str:
        """Hash of all that a row's runs share: the identity without its seed, and without its fold."""
        data = self.record.data
        own = {"seed"} if data.folds is None else {"seed", "split_hash", "images_hash"}
        shared = {name: value for name, value in self.record.identity.items() if name not in own}
        return hash_json([shared, data.fingerprint, self.split, data.scheme, self.record.weights.fell_back])


def evaluate(record: Record, predictions: Predictions | None, cams: Cams | None = None) -> Result:
    """Score a record; one that can't be scored keeps its row, with the reason."""
    if record.outcome is not Outcome.OK:
        return Result(record, predictions, None)
    if predictions is None:
        problem = f"Record {record.key[:12]} of {record.backbone.name} says ok but has no predictions; run it again."
        return Result(record, None, None, problem)
    try:
        scores = score_record(record, predictions)
    except UserError as error:
        return Result(record, predictions, None, str(error))
    looks = cam_scores(cams, predictions)
    return Result(
        record,
        predictions,
        scores,
        extras={**extra_scores(record, predictions), **cam_columns(record, looks)},
        cams=cams,
        cam_scores=looks,
    )


def run_row(result: Result) -> Row:
    """Return one run as a flat line without rank and block; what is not known is left out."""
    record = result.record
    row: Row = {
        "backbone": record.backbone.name,
        "framework": record.backbone.framework,
        "library": record.backbone.library,
        "weights": record.weights.used,
        "recipe": record.recipe_name,
        "data": record.data.name,
        "split": record.data.split,
        "seed": record.seed,
        "n_runs": int(result.scores is not None),
        "status": str(result.status),
        "reason": result.reason,
        "device": record.device,
        "key": record.key,
        **_scores(result),
        **result.extras,
        **_speeds(record),
        **_facts(record),
    }
    return {name: value for name, value in row.items() if not _absent(value)}


def columns(class_names: Sequence[str], tumour_names: Sequence[str]) -> list[str]:
    """Return the names of all columns in their order, those of the contract first."""
    return [
        *WHO,
        "status",
        "reason",
        *SCORES,
        *(f"fn_{name}" for name in class_names),
        *(f"missed_{name}" for name in tumour_names),
        *SPEEDS,
        "params_m",
        "gmacs",
        "device",
        "speed_block",
        *(f"{kind}_{name}" for kind in ("f1", "precision", "recall", "support") for name in class_names),
        *derived_scores.NAMES,
        *(f"{kind}_{name}" for kind in ("patient_fn", "patient_support") for name in class_names),
        *(f"patient_missed_{name}" for name in tumour_names),
        *CAM_NAMES,
        *FURTHER,
        "key",
    ]


def averaged(class_names: Sequence[str]) -> list[str]:
    """Return the names of the columns that are averaged over seeds, with a spread."""
    return [
        *SCORES,
        *(f"{kind}_{name}" for kind in ("fn", "missed", "f1", "precision", "recall") for name in class_names),
        *derived_scores.NAMES,
        *(f"{kind}_{name}" for kind in ("patient_fn", "patient_missed") for name in class_names),
        *CAM_NAMES,
        *SPEEDS,
        *TIMES,
    ]


def all_columns(class_names: Sequence[str], tumour_names: Sequence[str]) -> list[str]:
    """Return the names of all columns of ``leaderboard.csv``: of :func:`columns`, then spreads and intervals."""
    further = [f"{name}_{end}" for name in averaged(class_names) for end in ("sd", "low", "high")]
    return [*columns(class_names, tumour_names), *further, *(f"{name}_fold_sd" for name in SCORES)]


def speed_block(record: Record) -> str:
    """Return under what conditions a run's speeds were taken; only within one can speeds be compared."""
    precision = record.identity.get("precision") or "unknown precision"
    return f"{record.device}, {precision}, batch {record.throughput.batch_size}"


def _scores(result: Result) -> Row:
    if result.scores is None:
        return {}
    test = result.scores.test
    row: Row = {name: getattr(test, name) for name in SCORES if name != "val_macro_f1"}
    row["val_macro_f1"] = result.scores.val_macro_f1
    for each in test.classes:
        row |= {
            f"fn_{each.name}": each.false_negatives,
            f"missed_{each.name}": each.missed,
            f"f1_{each.name}": each.f1,
            f"precision_{each.name}": each.precision,
            f"recall_{each.name}": each.recall,
            f"support_{each.name}": each.support,
        }
    return row


def _speeds(record: Record) -> Row:
    row: Row = {name: getattr(record.throughput, name) for name in SPEEDS}
    if record.throughput.batch_size:
        row["batch_size"] = record.throughput.batch_size
    if any(value is not None for value in row.values()):
        row["speed_block"] = speed_block(record)
    if record.network is not None:
        row |= {
            "params_m": record.network.parameters / 1e6,
            "trainable_params_m": record.network.trainable_parameters / 1e6,
            "gmacs": record.network.gmacs,
        }
    if record.outcome is Outcome.OK:
        row |= {name: getattr(record.timings, name) for name in TIMES}
    return row


def _facts(record: Record) -> Row:
    return {
        "precision": record.identity.get("precision"),
        "size": record.recipe.size or None if record.recipe else None,
        "limit": record.data.limit,
        "n_train": record.data.n_train,
        "n_validation": record.data.n_validation,
        "n_test": record.data.n_test,
        "weights_policy": record.weights.policy,
        "fell_back": record.weights.fell_back,
        "leaks": " ".join(record.data.leaks),
        "synthetic": record.data.synthetic,
        "grouped": record.data.grouped,
        "best_epoch": record.best_epoch,
        "n_epochs": len(record.history) or None,
        "note": record.backbone.note,
    }


def _absent(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))
