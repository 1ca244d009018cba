"""What rows with a tuned learning rate reach on validation, by how many rates they may try."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.evaluation.budget import expected_best
from benchmark.evaluation.metrics import Floats
from benchmark.records.record import Trial
from benchmark.reporting.board.board import BoardRow
from benchmark.reporting.board.column import WHO, Values
from benchmark.reporting.board.image_cases import scored_rows
from benchmark.reporting.breakdown.part import Part, PartTable
from benchmark.reporting.figures.labels import full_names, wrapped
from benchmark.reporting.figures.style import LINE_STYLES, explain, set_height, set_title, title

STEM = "plot_budget"
TITLE = "What tuning was worth: validation macro-F1 by trials"
READING = (
    "Several learning rates were tried. Had k of them been drawn at random, the best macro-F1 on validation images "
    "would be expected to be this (Dodge et al. 2019); a rate at which training diverged counts as 0. Compare rows "
    "at the same k: where lines cross, which row is better depends on how much tuning each may have. A run takes "
    "the rate of the lowest validation loss, which need not be the one of the best macro-F1; the best of several "
    "scores on the same images is optimistic, so expect less on test images. Every value stands in budget.csv."
)
COLUMNS = {  # of budget.csv, and what each means
    **WHO,
    "trials": "How many of its learning rates the row may try.",
    "expected_best_val_macro_f1": "Expected best macro-F1 on validation images after so many (Dodge et al. 2019).",
    "seconds": "What so many take, on average.",
    "runs": "Runs over which the values are means.",
}
MOST_ROWS = len(LINE_STYLES)  # of the figure, the best first


@dataclass(frozen=True)
class Budget:
    """A row's trials.

    Args:
        row, name: whose they are.
        expected: float64, shape (n,): the expected best after 1 to n trials, a mean over runs.
        seconds: of one trial, a mean over trials and runs.
        rates: in the order in which they were tried, each with its mean macro-F1 on validation images, and how
            many runs chose it.
        runs: how many.
    """

    row: BoardRow
    name: str
    expected: Floats
    seconds: float
    rates: Mapping[float, tuple[float, int]]
    runs: int


def budgets_of(rows: Sequence[BoardRow]) -> list[Budget]:
    """Return the budgets of those rows of a comparison group whose runs tried the same learning rates."""
    scored = scored_rows(rows)
    budgets = []
    for row, name in zip(scored, full_names(scored), strict=True):
        runs = [result.record.trials for result in row.results if result.scores and result.record.trials]
        grids = {tuple(trial.learning_rate for trial in trials) for trials in runs}
        if len(grids) != 1 or len(runs[0]) < 2:
            continue
        scores = np.array([[_score(trial) for trial in trials] for trials in runs])
        chosen = [sum(trials[place].chosen for trials in runs) for place in range(len(runs[0]))]
        rates = dict(zip(grids.pop(), zip(scores.mean(axis=0).tolist(), chosen, strict=True), strict=True))
        expected = np.mean([expected_best(each) for each in scores], axis=0)
        seconds = float(np.mean([trial.seconds for trials in runs for trial in trials]))
        budgets.append(Budget(row, name, expected, seconds, rates, len(runs)))
    return budgets


def _score(trial: Trial) -> float:
    value = trial.val_macro_f1
    return 0.0 if value is None or not np.isfinite(value) else value


def budget_lines(budgets: Sequence[Budget]) -> list[Values]:
    """Return a line for each row and number of trials, under :data:`COLUMNS`."""
    return [
        {
            **each.row.who,
            "trials": k + 1,
            "expected_best_val_macro_f1": float(value),
            "seconds": (k + 1) * each.seconds,
            "runs": each.runs,
        }
        for each in budgets
        for k, value in enumerate(each.expected)
    ]


def budget_part(budgets: Sequence[Budget]) -> Part:
    """Return what is said of a comparison group's tuned rows, at least one."""
    most = max(len(each.expected) for each in budgets)
    head = ["row", *(f"{k} trial{'s' if k > 1 else ''}" for k in range(1, most + 1)), "s a trial", "rates (macro-F1)"]
    lines = []
    for each in budgets:
        values = [f"{value:.3f}" for value in each.expected] + [""] * (most - len(each.expected))
        rates = [f"{rate:g} ({f1:.3f}{_chosen(count, each.runs)})" for rate, (f1, count) in each.rates.items()]
        lines.append([each.name, *values, f"{each.seconds:.3g}", ", ".join(rates)])
    return Part(TITLE, READING, (PartTable(head, lines, (head[0], head[-1]), TITLE),))


def _chosen(count: int, runs: int) -> str:
    if not count:
        return ""
    return ", chosen" if runs == 1 else f", chosen {count} of {runs} times"


def draw_budget(made: Any, budgets: Sequence[Budget]) -> None:
    """Draw the expected best score by trials, a line for each row."""
    shown = budgets[:MOST_ROWS]
    set_height(made, 56 + 7 * -(-len(shown) // 2))
    axes = made.subplots()
    for each, style in zip(shown, LINE_STYLES, strict=False):
        trials = np.arange(1, len(each.expected) + 1)
        axes.plot(trials, each.expected, label=wrapped(each.name, 26), markersize=3, **style)
    axes.set_xticks(range(1, max(len(each.expected) for each in shown) + 1))
    axes.set_xlabel("learning rates tried")
    axes.set_ylabel("expected best macro-F1, validation")
    axes.grid(True)
    rows = [each.row for each in shown]
    set_title(made, title(rows))
    more = f"The best {len(shown)} of {len(budgets)} rows by macro-F1 on test images." if budgets[MOST_ROWS:] else ""
    explain(made, more or None, *axes.get_legend_handles_labels(), alignment="left", ncols=2 if shown[1:] else 1)
