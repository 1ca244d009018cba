"""Which rows could have been guessed, what they were trained on, and which answer one class for every image."""

from collections.abc import Iterable, Mapping

import numpy as np

from benchmark.evaluation.intervals import Interval
from benchmark.evaluation.metrics import decide
from benchmark.records.record import Record
from benchmark.reporting.board.rows import Result


def guessed(results: Iterable[Result], intervals: Mapping[str, Interval]) -> str:
    """Return a sentence where a row's macro-F1 does not lie above guessing, with what it was trained on; else empty.

    Guessing each of K classes equally often has an expected macro-F1 of about 1 / K; answering always the same is
    worse, and so no better either.

    Args:
        results: the runs of the row, at least one with scores.
        intervals: 95 % intervals of the row by column name.
    """
    runs = [result for result in results if result.scores is not None]
    interval = intervals.get("macro_f1")
    if not runs or interval is None or interval.low > 1 / len(runs[0].record.data.class_names):
        return ""
    record = runs[0].record
    answer = only_answer(runs)
    one = f" It answers '{answer}' for every image." if answer else ""
    verdict = like_guessing(record, interval)
    return f"{verdict}: the 95 % interval is {interval.low:.2f} to {interval.high:.2f}, {trained(record)}.{one}"


def like_guessing(record: Record, interval: Interval) -> str:
    """Return what is said of a row that might have guessed, without its own figures.

    Args:
        interval: the 95 % interval of its macro-F1, whose lower end is not above guessing.
    """
    chance = 1 / len(record.data.class_names)
    verdict = "No better than guessing" if interval.high <= chance else "Can't be told from guessing"
    return f"{verdict} (macro-F1 {chance:.2f})"


def only_answer(results: Iterable[Result]) -> str:
    """Return the name of the class that all runs of a row answer for every test image, empty where there is none."""
    said: set[str] = set()
    for result in results:
        if result.scores is not None and result.predictions is not None:
            answers = np.unique(decide(result.predictions.part("test").probabilities))
            said |= {result.record.data.class_names[number] for number in answers.tolist()}
    return said.pop() if len(said) == 1 else ""


def trained(record: Record) -> str:
    """Return for how long the weights that are scored were trained, on how much, and from where."""
    start = {"none": "random weights", "imagenet": "ImageNet weights"}.get(record.weights.used, "the weights given")
    epochs = len(record.history)
    kept = record.best_epoch or epochs
    steps = 0 if record.recipe is None else kept * -(-record.data.n_train // record.recipe.batch_size)
    part = f" (epoch {kept} of {epochs} was kept)" if kept < epochs else ""
    return f"after {steps} {'step' if steps == 1 else 'steps'}{part} on {record.data.n_train} images from {start}"
