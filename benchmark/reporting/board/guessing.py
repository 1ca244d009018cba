"""What must be said of single rows: which could have been guessed, and what they were trained on."""

from collections.abc import Mapping

from benchmark.evaluation.intervals import Interval
from benchmark.records.record import Record


def guessed(record: Record, intervals: Mapping[str, Interval]) -> str:
    """Return a sentence where a row's macro-F1 can't be told from guessing, with what it was trained on; else empty.

    Guessing each of K classes equally often has an expected macro-F1 of about 1 / K; answering always the same is
    worse, and so no better either.
    """
    interval = intervals.get("macro_f1")
    if interval is None or interval.low > 1 / len(record.data.class_names):
        return ""
    return f"{like_guessing(record)}: the 95 % interval is {interval.low:.2f}-{interval.high:.2f}, {trained(record)}."


def like_guessing(record: Record) -> str:
    """Return what is said of a row that might have guessed, without its own figures."""
    return f"Not told apart from guessing (macro-F1 {1 / len(record.data.class_names):.2f})"


def trained(record: Record) -> str:
    """Return how long a run was trained, on how much, and from where."""
    start = {"none": "random weights", "imagenet": "ImageNet weights"}.get(record.weights.used, "the weights given")
    steps = _steps(record)
    return f"after {steps} {'step' if steps == 1 else 'steps'} on {record.data.n_train} images from {start}"


def _steps(record: Record) -> int:
    """Return the number of optimisation steps of a run."""
    if record.recipe is None:
        return 0
    return len(record.history) * -(-record.data.n_train // record.recipe.batch_size)
