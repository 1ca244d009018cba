"""Scores of runs that were computed before, kept in this user's cache: a run whose files did not change is not
checked and scored again.

An entry is named by a hash of the bytes of all files of a record, and of the code that reads and scores them. So it
says nothing of files that changed, were exchanged or were damaged, and a folder of somebody else's can't bring its
own.
"""

from collections.abc import Callable
from dataclasses import astuple
from functools import partial
from typing import Any

import numpy as np

from benchmark.evaluation.many_rows.kept_statistics import KeptStatistics
from benchmark.evaluation.metrics import ClassScores, RunScores, Scores
from benchmark.records.record import Predictions, Record
from benchmark.reporting.board.rows import Scored, scored

_CODE = ("benchmark.reporting.board",)  # which scores records, besides statistics


class KeptRuns:
    """What records are worth, by the hash of their files.

    Args:
        kept: where it is kept.
    """

    def __init__(self, kept: KeptStatistics) -> None:
        self._kept = kept
        self._found: dict[str, Scored] = {}  # found, and not asked for yet

    def sound(self, record: Record, content: str) -> bool:
        """Return whether a record was read before, found to be sound and scored.

        Args:
            content: the hash of its files.
        """
        key = self._key(record, content)
        scores = self._find(key)
        if scores is not None:
            self._found[key] = scores
        return scores is not None

    def scored_of(self, content: str) -> Callable[[Record, Predictions], Scored]:
        """Return what scores a record whose files have a hash: it is computed where it was not before."""
        return partial(self._scored, content)

    def _scored(self, content: str, record: Record, predictions: Predictions) -> Scored:
        key = self._key(record, content)
        scores = self._found.pop(key, None) or self._find(key)
        if scores is None:
            scores = scored(record, predictions)
            self._kept.keep_values(key, _as_json(scores))
        return scores

    def _key(self, record: Record, content: str) -> str:
        # classes may be in another order than in the files, that of the other records of the same images
        return self._kept.key("run", content, record.data.class_names, code=_CODE)

    def _find(self, key: str) -> Scored | None:
        values = self._kept.find_values(key)
        return None if values is None else _from_json(values)


def _as_json(scored_run: Scored) -> dict[str, Any]:
    scores = scored_run.scores
    return {
        "auroc": scores.test.auroc,
        "confusion": scores.test.confusion.tolist(),
        "classes": [astuple(of_class) for of_class in scores.test.classes],
        "val_macro_f1": scores.val_macro_f1,
        "values": scored_run.values,
    }


def _from_json(values: dict[str, Any]) -> Scored | None:
    """Return what an entry says, ``None`` where it is not whole."""
    try:
        return _scored_of(**values)
    except (TypeError, ValueError, KeyError):
        return None


def _scored_of(auroc: float, confusion: Any, classes: Any, val_macro_f1: float, values: dict[str, Any]) -> Scored:
    rows = np.array(confusion, dtype=np.int64)
    test = Scores(auroc, rows, tuple(ClassScores(*of_class) for of_class in classes))
    return Scored(RunScores(test, val_macro_f1), dict(values))
