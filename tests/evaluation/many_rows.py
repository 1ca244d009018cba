"""Two hundred simulated rows, and what the first implementation, which took a pair at a time, said of them.

    python tests/evaluation/many_rows.py

prints what the implementation at hand says, to be kept as ``two_hundred_rows.json`` where that changes on purpose.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.evaluation.metrics import accuracy, macro_f1
from benchmark.evaluation.predictions import Setting
from benchmark.evaluation.statistics import BlockStatistics, analyse
from benchmark.records.record import Predictions

KEPT = Path(__file__).with_name("two_hundred_rows.json")
CLASSES = ("glioma", "meningioma", "notumor", "pituitary")


def rows(
    count: int = 200, images: int = 90, clustered: bool = False, seeds: int = 1
) -> list[dict[str, list[Predictions]]]:
    """Return simulated rows, from poor to good, of images that are as hard for one as for another."""
    draw = np.random.default_rng(5)
    labels = np.arange(images) % 4
    hard = draw.normal(0, 1.2, (images, 4))
    parts = np.where(np.arange(images) < images // 3, "validation", "test")
    ids = np.array([f"{number:03d}.png" for number in range(images)])
    groups = np.array([f"p{number // 3}" if clustered else "" for number in range(images)])
    found = []
    for skill in np.linspace(0.2, 4.5, count):
        runs = []
        for _ in range(seeds):
            logits = hard + draw.normal(0, 0.8, (images, 4))
            logits[np.arange(images), labels] += skill
            chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            runs.append(Predictions(ids, parts, labels.astype(np.int64), groups, chances.astype(np.float32)))
        found.append({"": runs})
    return found


def analysed(found: list[dict[str, list[Predictions]]], **others: Any) -> BlockStatistics:
    """Return the statistics of rows."""
    measures = {"macro_f1": (macro_f1, 0.0), "accuracy": (accuracy, 0.0)}
    return analyse(found, Setting(CLASSES, "notumor", 30, 60, measures), **others)


def told(statistics: BlockStatistics) -> dict[str, Any]:
    """Return what is kept of statistics: ranks, some intervals, and p-values of every 97th pair."""
    columns = ("macro_f1", "auroc", "ece", "aurc", "sensitivity_at_95", "sensitivity_matched", "net_benefit_10_both")
    pairs = [pair for number, pair in enumerate(statistics.pairs) if number % 97 == 0]
    return {
        "ranks": [None if rank is None else [rank.first, rank.last] for rank in statistics.ranks],
        "intervals": {
            name: [
                [round(row[name].low, 10), round(row[name].high, 10)] if name in row else None
                for row in statistics.intervals[::8]
            ]
            for name in columns
        },
        "chance": [round(each.p_better, 10) for each in statistics.chance if each is not None],
        "pairs": [[f"{value:.10g}" for value in (pair.p, pair.p_adjusted, pair.p_mcnemar)] for pair in pairs],
    }


if __name__ == "__main__":
    print(json.dumps(told(analysed(rows()))))
