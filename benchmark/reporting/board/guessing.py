"""Which rows could have been guessed, what they were trained on, and which answer one class for every image."""

from collections.abc import Iterable

import numpy as np

from benchmark.evaluation.comparison import ALPHA
from benchmark.evaluation.metrics import decide
from benchmark.evaluation.permutation import ChanceTest
from benchmark.records.record import Record
from benchmark.reporting.board.rows import Result

ONE_CLASS, WORSE, NOT_DISTINGUISHED = "Answers one class", "Worse than chance", "Not distinguished from guessing"


def verdict(answer: str, chance: ChanceTest | None) -> str:
    """Return what is said of a row that might have guessed, without its own figures; empty for one that has not.

    Args:
        answer: the one class that it answers for every image, empty where it answers several.
        chance: its test against guessing, ``None`` where it could not be made.
    """
    if chance is None:  # of one class, nothing can be guessed
        return ""
    if answer:
        return ONE_CLASS
    if chance.p_better < ALPHA:
        return ""
    return WORSE if chance.p_worse < ALPHA else NOT_DISTINGUISHED


def figures(answer: str, chance: ChanceTest | None) -> str:
    """Return what a verdict rests on, as :func:`verdict`: its one answer, or AUROC with its p."""
    tested = "" if chance is None else f"AUROC {chance.auroc:.2f}, p {_p(chance)}"
    return ", ".join(filter(None, (f"'{answer}' for every image" if answer else "", tested)))


def _p(chance: ChanceTest) -> str:
    return f"{chance.p_worse if chance.p_worse < ALPHA else chance.p_better:.2g}"


def guessed(results: Iterable[Result], answer: str, chance: ChanceTest | None) -> str:
    """Return a sentence where a row may have guessed, with its figures and what it was trained on; else empty.

    Args:
        results: the runs of the row, at least one with scores.
    """
    sentence = verdict(answer, chance)
    record = next((result.record for result in results if result.scores is not None), None)
    if not sentence or record is None:
        return ""
    after = f", {trained(record)}" if record.history else ""  # a row without a network was not trained
    return f"{sentence} ({figures(answer, chance)}){after}."


def only_answer(results: Iterable[Result]) -> str:
    """Return the class that all runs of a row answer for every test image, empty where one answers several.

    Runs (of other folds or seeds) that each answer another one class give the names of all of them.
    """
    classes: dict[str, None] = {}
    for result in results:
        if result.scores is not None and result.predictions is not None:
            answers = np.unique(decide(result.predictions.part("test").probabilities))
            if len(answers) > 1:
                return ""
            classes[result.record.data.class_names[int(answers[0])]] = None
    return "' or '".join(classes)


def trained(record: Record) -> str:
    """Return for how long the weights that are scored were trained, on how much, and from where."""
    start = {"none": "random weights", "imagenet": "ImageNet weights"}.get(record.weights.used, "the weights given")
    epochs = len(record.history)
    kept = record.best_epoch or epochs
    steps = 0 if record.recipe is None else kept * -(-record.data.n_train // record.recipe.batch_size)
    part = f" (epoch {kept} of {epochs} was kept)" if kept < epochs else ""
    return f"after {steps} {'step' if steps == 1 else 'steps'}{part} on {record.data.n_train} images from {start}"
