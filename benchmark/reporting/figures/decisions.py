"""What rows are worth where a network may say nothing, and where one acts on what it says."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.evaluation.decisions.net_benefit import PREVALENCE, net_benefit, of_all
from benchmark.evaluation.decisions.selective import RISK, risk_coverage
from benchmark.evaluation.metrics import Floats
from benchmark.records.record import Predictions
from benchmark.reporting.board.board import BoardRow
from benchmark.reporting.board.folds import trainings
from benchmark.reporting.figures.labels import full_names, wrapped
from benchmark.reporting.figures.style import GREY, LINE_STYLES, explain, set_height, set_title, title

COVERAGES = np.linspace(0.02, 1, 99)
CHANCES = np.linspace(0.01, 0.5, 99)  # from which one acts
_MARKERS = 12  # points between two markers of a line
MOST_ROWS = len(LINE_STYLES)  # the best first


def draw_risk_coverage(made: Any, rows: Sequence[BoardRow]) -> None:
    """Draw the share of wrong answers among those that a row gives, by the share of images that it answers.

    Geifman & El-Yaniv 2017; the surest images are answered first. Each fold answers the same share, and seeds are
    averaged.
    """
    curves = [_mean(row, _risks) for row in _best(rows)]
    axes = _axes(made, rows)
    _draw(axes, rows, COVERAGES, curves)
    axes.axhline(RISK, color=GREY, linewidth=0.7, linestyle=(0, (1, 2)))
    axes.text(1.01, RISK, f"{100 * RISK:.0f} %", color=GREY, fontsize=6, va="center")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, max(0.1, float(np.nanmax(curves)) * 1.05))
    axes.set_xlabel("coverage: share of images answered, the surest first")
    axes.set_ylabel("risk: share of answers that are wrong")
    _legend(made, axes, rows, "aurc")


def draw_net_benefit(made: Any, rows: Sequence[BoardRow]) -> None:
    """Draw the net benefit of "tumour or not" by the probability from which one acts: a decision curve.

    Vickers & Elkin 2006, at the board's stated prevalence; probabilities as they are. Acting on everybody and on
    nobody stand beside.
    """
    negative = rows[0].first.record.data.negative
    assert negative is not None
    curves = [_mean(row, lambda test: _benefits(test, negative)) for row in _best(rows)]
    axes = _axes(made, rows)
    everybody = [of_all(float(chance)) for chance in CHANCES]
    axes.plot(CHANCES, everybody, color=GREY, linewidth=0.8, label="_all")
    axes.axhline(0, color=GREY, linewidth=0.8)
    _draw(axes, rows, CHANCES, curves)
    axes.text(0.104, -0.2 * PREVALENCE, "act on all", color=GREY, fontsize=6, ha="right")
    axes.text(CHANCES[-1], 0, "act on nobody", color=GREY, fontsize=6, va="bottom", ha="right")
    axes.set_xlim(0, CHANCES[-1])
    axes.set_ylim(-0.3 * PREVALENCE, 1.05 * PREVALENCE)
    axes.set_xlabel("probability of a tumour from which one acts")
    axes.set_ylabel(f"net benefit at a prevalence of {100 * PREVALENCE:.0f} %")
    _legend(made, axes, rows, "net_benefit_10")


def has_net_benefit(rows: Sequence[BoardRow]) -> bool:
    """Return whether test images have tumours and have not, so that acting can be right and wrong."""
    return any("net_benefit_10" in row.values for row in _best(rows))


def _best(rows: Sequence[BoardRow]) -> list[BoardRow]:
    return sorted(rows, key=lambda row: -row.macro_f1)[:MOST_ROWS]


def _mean(row: BoardRow, curve: Any) -> Floats:
    """Return a row's curve: the mean over trainings of the mean over folds, weighted by their images."""
    curves = []
    for training in trainings(row.results):
        tests = [run.predictions.part("test") for run in training if run.predictions is not None]
        sizes = [len(test.labels) for test in tests]
        curves.append(np.average([curve(test) for test in tests], axis=0, weights=sizes))
    return np.asarray(np.mean(curves, axis=0))


def _risks(test: Predictions) -> Floats:
    """Return the risk at each of :data:`COVERAGES`; within images of equal confidence errors come evenly."""
    curve = risk_coverage(test.labels, test.probabilities)
    coverage, errors = np.append(0, curve.coverage), np.append(0, curve.coverage * curve.risk)
    return np.asarray(np.interp(COVERAGES, coverage, errors) / COVERAGES)


def _benefits(test: Predictions, negative: int) -> Floats:
    """Return the net benefit at each of :data:`CHANCES`."""
    ill = test.labels != negative
    tumour = 1 - test.probabilities[:, negative].astype(np.float64)
    acted: npt.NDArray[np.bool_] = tumour[None] >= CHANCES[:, None]
    if ill.all() or not ill.any():
        return np.full(len(CHANCES), np.nan)
    odds = [
        net_benefit(float(each[ill].mean()), float(1 - each[~ill].mean()), float(chance))
        for each, chance in zip(acted, CHANCES, strict=True)
    ]
    return np.asarray(odds, dtype=np.float64)


def _axes(made: Any, rows: Sequence[BoardRow]) -> Any:
    set_height(made, 66 + 7 * -(-min(MOST_ROWS, len(rows)) // 2))
    axes = made.subplots()
    axes.grid(True)
    set_title(made, title(rows))
    return axes


def _draw(axes: Any, rows: Sequence[BoardRow], places: Floats, curves: Sequence[Floats]) -> None:
    for number, (row, curve, style) in enumerate(zip(_best(rows), curves, LINE_STYLES, strict=False)):
        begin = 2 + 2 * number  # markers of two lines do not cover each other
        axes.plot(places, curve, label=str(id(row)), markersize=2.8, markevery=(begin, _MARKERS), **style)


def _legend(made: Any, axes: Any, rows: Sequence[BoardRow], column: str) -> None:
    """Name the lines, each with the score of its row that the board has."""
    names = dict(zip(map(id, rows), full_names(rows), strict=True))
    handles, ids = axes.get_legend_handles_labels()
    best = {str(id(row)): row for row in _best(rows)}
    texts = []
    for each in ids:
        score = best[each].values.get(column)
        texts.append(wrapped(names[id(best[each])], 22) + ("" if score is None else f": {score:.3f}"))
    what = {"aurc": "AURC (lower is better)", "net_benefit_10": "net benefit of acting from 10 % on"}[column]
    more = f" The best {len(best)} of {len(rows)} rows by macro-F1." if len(rows) > len(best) else ""
    explain(
        made, f"Behind each name: {what}.{more}", handles, texts, alignment="left", ncols=2 if len(best) > 1 else 1
    )
