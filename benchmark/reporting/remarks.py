"""What must be said of single rows: which could have been guessed, and which names stand for several networks."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from benchmark.evaluation.intervals import Interval
from benchmark.record import Record

if TYPE_CHECKING:
    from benchmark.reporting.board import BoardRow


def guessed(record: Record, intervals: Mapping[str, Interval]) -> str:
    """Return a sentence where a row's macro-F1 can't be told from guessing, with what it was trained on; else empty.

    Guessing each of K classes equally often has an expected macro-F1 of about 1 / K; answering always the same is
    worse, and so no better either.
    """
    interval = intervals.get("macro_f1")
    chance = 1 / len(record.data.class_names)
    if interval is None or interval.low > chance:
        return ""
    start = {"none": "random weights", "imagenet": "ImageNet weights"}.get(record.weights.used, "the weights given")
    return (
        f"Not told apart from guessing (macro-F1 {chance:.2f}): the 95 % interval is {interval.low:.2f}-"
        f"{interval.high:.2f}, after {_steps(record)} steps on {record.data.n_train} images from {start}."
    )


def _steps(record: Record) -> int:
    """Return the number of optimisation steps of a run."""
    recipe = record.identity.get("recipe")
    batch = recipe.get("batch_size", 0) if isinstance(recipe, dict) else 0
    return len(record.history) * -(-record.data.n_train // batch) if batch else 0


def namesakes(rows: Sequence["BoardRow"]) -> list[str]:
    """Return a sentence for each name that several backbones of an arena share without being one network."""
    called: dict[str, dict[str, str]] = {}
    for row in rows:
        facts = row.first.record.backbone
        called.setdefault(facts.name.split("/", 1)[-1].split(":", 1)[-1], {})[facts.name] = facts.note
    return [
        f"Not the same network: {'; '.join(f'{full} is {note}' for full, note in sorted(notes.items()))}."
        for notes in called.values()
        if len(set(notes.values())) > 1 and all(notes.values())
    ]
