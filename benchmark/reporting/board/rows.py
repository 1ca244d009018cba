"""A record with its scores, as values by column name."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from benchmark.errors import UserError
from benchmark.evaluation.head_mask import Masks
from benchmark.evaluation.metrics import RunScores, score_record
from benchmark.hashing import hash_json
from benchmark.records.corrupted import Corrupted
from benchmark.records.outcomes import Outcome
from benchmark.records.record import Cams, Predictions, Record
from benchmark.reporting.board.cam_scores import CamScores, cam_columns, cam_scores
from benchmark.reporting.board.column import Values
from benchmark.reporting.board.columns import COLUMNS
from benchmark.reporting.board.derived_scores import scores_of
from benchmark.reporting.figures.head_masks import head_columns

_FOLDS = {"official-folds": "official folds", "regroup": "regrouped folds", "slice": "slice folds"}


@dataclass(frozen=True)
class Result:
    """A record with what it is worth.

    Args:
        record: as it was read.
        predictions: ``None`` where the run did not get that far.
        scores: ``None`` unless the run is ``ok`` and its predictions can be scored.
        problem: why an ``ok`` record can't be scored, else empty.
        score_values: all its scores by column name, computed once.
        cams: Grad-CAM maps of test images, ``None`` where there are none.
        cam_scores: the scores of these maps, ``None`` where no lesion is known.
        corrupted: what the network decided of spoilt test images, ``None`` where it was not asked.
        content: a hash of the files that all this was read from, empty where it was not read.
    """

    record: Record
    predictions: Predictions | None
    scores: RunScores | None
    problem: str = ""
    score_values: Mapping[str, Any] = field(default_factory=dict)
    cams: Cams | None = None
    cam_scores: CamScores | None = None
    corrupted: Corrupted | None = None
    content: str = ""

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

    @cached_property
    def row_key(self) -> str:
        """Hash of all that a row's runs share: the identity without its seed, and without its fold."""
        data = self.record.data
        own = {"seed"} if data.folds is None else {"seed", "split_hash", "images_hash"}
        shared = {name: value for name, value in self.record.identity.items() if name not in own}
        return hash_json([shared, data.fingerprint, self.split, data.scheme, self.record.weights.fell_back])

    @cached_property
    def values(self) -> Values:
        """The run by column name, without rank and block; what is not known is absent."""
        values = {column.name: column.value_in(self.record) for column in COLUMNS}
        values |= {"n_runs": int(self.scores is not None), "status": str(self.status), "reason": self.reason}
        return {name: value for name, value in {**values, **self.score_values}.items() if not absent(value)}


@dataclass(frozen=True)
class Scored:
    """What a record's predictions are worth.

    Args:
        scores: those of which all others are means or intervals.
        values: all by column name.
    """

    scores: RunScores
    values: Values


def scored(record: Record, predictions: Predictions) -> Scored:
    """Score a record that is ``ok``.

    Raises:
        UserError: its predictions can't be scored.
    """
    scores = score_record(record, predictions)
    values = scores_of(record, scores, predictions)
    # numbers of Python, as they are again once they were kept as JSON
    return Scored(scores, {name: v.item() if isinstance(v, np.generic) else v for name, v in values.items()})


def evaluate(
    record: Record,
    predictions: Predictions | None,
    cams: Cams | None = None,
    heads: Mapping[str, Masks] = MappingProxyType({}),
    corrupted: Corrupted | None = None,
    score: Callable[[Record, Predictions], Scored] = scored,
) -> Result:
    """Score a record; one that can't be scored keeps its row, with the reason.

    Args:
        heads: masks of the head by image id, as far as they are known.
        corrupted: what the network decided of spoilt test images.
        score: scores the predictions, or knows what they are worth; may raise ``UserError``.
    """
    if record.outcome is not Outcome.OK:
        return Result(record, predictions, None)
    if predictions is None:
        problem = f"Record {record.key[:12]} of {record.backbone.name} says ok but has no predictions; run it again."
        return Result(record, None, None, problem)
    try:
        worth = score(record, predictions)
    except UserError as error:
        return Result(record, predictions, None, str(error))
    of_maps = cam_scores(cams, predictions)
    values = {**worth.values, **cam_columns(record, of_maps), **head_columns(cams, heads)}
    return Result(
        record, predictions, worth.scores, score_values=values, cams=cams, cam_scores=of_maps, corrupted=corrupted
    )


def absent(value: Any) -> bool:
    """Return whether a value says nothing: ``None``, an empty text or ``nan``."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))
