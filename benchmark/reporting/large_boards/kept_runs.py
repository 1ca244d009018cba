"""Scores of runs that were computed before, kept in this user's cache: a run whose files did not change is not
checked and scored again.

An entry is named by a hash of the bytes of all files of a record, and of the code that reads and scores them. So it
says nothing of files that changed, were exchanged or were damaged, and a folder of somebody else's can't bring its
own.
"""

import sys
from collections.abc import Callable
from dataclasses import astuple
from functools import partial
from typing import Any

import numpy as np

from benchmark.errors import UserError
from benchmark.evaluation.many_rows.kept_statistics import KeptStatistics
from benchmark.evaluation.metrics import ClassScores, RunScores, Scores
from benchmark.records.record import Predictions, Record
from benchmark.records.record_folder import Memory
from benchmark.reporting.board.rows import Scored, scored

_CODE = ("benchmark.reporting.board",)  # which scores records, besides statistics


Kept = tuple[tuple[str, ...], dict[str, Any]]  # classes in their order, and what :func:`_as_json` returned


class KeptRuns(Memory):
    """What records are worth, by the hash of their files.

    Args:
        kept: where it is kept.
    """

    def __init__(self, kept: KeptStatistics) -> None:
        self._kept = kept
        kept.key(code=_CODE)  # the code is read once, before the process is copied

    def find(self, record: Record, content: str) -> "Kept | None":
        """Return what is kept of a record that was read before, found to be sound and scored; ``None`` where nothing
        is.

        Args:
            content: the hash of its files.
        """
        values = self._kept.find_values(self._key(record, content))
        if values is None or _from_json(values) is None:
            return None
        return record.data.class_names, values

    def learn(self, record: Record, content: str, predictions: Predictions) -> "Kept | None":
        """Score a record and keep the scores; ``None`` where it can't be scored."""
        try:
            values = _as_json(scored(record, predictions))
        except UserError:
            return None
        self._kept.keep_values(self._key(record, content), values)
        return record.data.class_names, values

    def scored_of(self, content: str, remembered: "Kept | None") -> Callable[[Record, Predictions], Scored]:
        """Return what scores a record whose files have a hash: it is computed where it was not before.

        Args:
            remembered: what :meth:`find` or :meth:`learn` returned.
        """
        return partial(self._scored, content, remembered)

    def _scored(self, content: str, remembered: "Kept | None", record: Record, predictions: Predictions) -> Scored:
        # classes may be in another order than in the files, that of the other records of the same images
        if remembered is None or remembered[0] != record.data.class_names:
            remembered = self.find(record, content) or self.learn(record, content, predictions)
        scores = None if remembered is None else _from_json(remembered[1])
        return scored(record, predictions) if scores is None else scores

    def _key(self, record: Record, content: str) -> str:
        return self._kept.key("run", content, record.data.class_names, code=_CODE)


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
    # the names of columns are the same of all runs: they are held once
    return Scored(RunScores(test, val_macro_f1), {sys.intern(name): value for name, value in values.items()})
