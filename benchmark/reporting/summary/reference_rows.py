"""Rows without a network: what trivial features reach on the same test images, and what the largest class does.

They stand below the rows of a comparison group and take no rank: a network that does not beat them has learned
nothing that needs a network.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from benchmark.data.audit.shortcut_probe import EVERYTHING, HISTOGRAM
from benchmark.evaluation.costs import Costs
from benchmark.hashing import hash_json
from benchmark.records.record import BackboneFacts, Predictions, Throughput, Timings, WeightsFacts
from benchmark.reporting.board.board import Block, Board, BoardRow, alone
from benchmark.reporting.board.folds import aggregated, by_fold
from benchmark.reporting.board.rows import Result, evaluate

MAJORITY = "majority class"
_NAMES = {
    HISTOGRAM: "no network: histogram",
    EVERYTHING: "no network: all trivial features",
    MAJORITY: "no network: majority class",
}
_KEPT = ("data", "split", "n_train", "n_validation", "n_test", "limit", "synthetic", "grouped", "leaks")  # facts


def with_references(board: Board, costs: Costs | None = None) -> Board:
    """Return a board with the rows of each comparison group that no network is needed for, where audits tell them."""
    references = {}
    for rows in board.comparison_groups():
        members = [_row(rows, features, costs) for features in _NAMES]
        references[rows[0].block.comparison_group] = tuple(row for row in members if row is not None)
    return replace(board, references=references)


def _row(rows: Sequence[BoardRow], features: str, costs: Costs | None) -> BoardRow | None:
    """Return the row of one kind of features, ``None`` where a split of the group does not tell it."""
    whole = next((row for row in rows if by_fold(row.results)), None)
    if whole is None:
        return None
    results = [_result(runs[0], features) for runs in by_fold(whole.results).values()]
    scored = [result for result in results if result is not None and result.scores is not None]
    if len(scored) < len(results):
        return None
    values, _ = aggregated(scored)
    scores = set(scored[0].score_values)
    values = {name: value for name, value in values.items() if name in scores or name in _KEPT}
    values |= {
        **dict.fromkeys(("framework", "library", "weights", "recipe"), "none"),
        **{"backbone": _NAMES[features], "split": whole.values["split"], "n_runs": len(scored), "status": "ok"},
    }
    block = Block(whole.block.comparison_group, whole.block.comparison_group_name, None, ("no network",))
    return alone(BoardRow(tuple(scored), values, {}, block), costs)


def _result(run: Result, features: str) -> Result | None:
    """Return what features say of a run's test images as a result; ``None`` where its audit does not tell it."""
    record, audit = run.record, run.record.audit
    if audit is None or run.predictions is None:
        return None
    test = run.predictions.part("test")
    order = np.argsort(test.image_ids)
    in_order = _probabilities(run, features, len(order))
    if in_order is None:
        return None
    probabilities = np.empty_like(in_order)
    probabilities[order] = in_order
    facts = {
        "key": hash_json([record.key, features]),
        "seed": 0,
        "recipe_name": "none",
        "device": "",
        "backbone": BackboneFacts(name=_NAMES[features], framework="none", library="none"),
        "weights": WeightsFacts(policy="none", used="none", requested="none"),
        "network": None,
        "throughput": Throughput(),
        "timings": Timings(),
        "history": (),
        "trials": (),
        "best_epoch": None,
        "cam": None,
    }
    predictions = Predictions(test.image_ids, test.parts, test.labels, test.groups, probabilities)
    return evaluate(record.model_copy(update=facts), predictions)


def _probabilities(run: Result, features: str, images: int) -> npt.NDArray[np.float32] | None:
    """Return probabilities of test images in the order of their ids: float32, shape (N, C)."""
    audit, names = run.record.audit, run.record.data.class_names
    assert audit is not None
    if features == MAJORITY:
        counts = [audit.balance.get(name, {}).get("train", 0) for name in names]
        probabilities = np.zeros((images, len(names)), dtype=np.float32)
        probabilities[:, int(np.argmax(counts))] = 1
        return probabilities if any(counts) else None
    kept = next((each for each in audit.references if each.features == features), None)
    return None if kept is None else kept.decoded(images, len(names))
