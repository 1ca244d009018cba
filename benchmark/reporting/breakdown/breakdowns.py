"""All parts of a board that are computed once for its tables, its figures and its page."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmark.reporting.board.board import Board
from benchmark.reporting.breakdown import budget, corruption_figure, cross_figure, strata_figure
from benchmark.reporting.breakdown.budget import Budget, budget_part, budgets_of, draw_budget
from benchmark.reporting.breakdown.corruption_figure import draw_corruptions
from benchmark.reporting.breakdown.corruption_tables import robustness_part
from benchmark.reporting.breakdown.corruptions import Robustness, robustness_of
from benchmark.reporting.breakdown.cross_figure import draw_cross_matrices
from benchmark.reporting.breakdown.cross_matrix import CrossMatrix, cross_matrices
from benchmark.reporting.breakdown.image_facts import Facts
from benchmark.reporting.breakdown.part import Part
from benchmark.reporting.breakdown.strata import Strata, strata_of
from benchmark.reporting.breakdown.strata_figure import draw_strata
from benchmark.reporting.breakdown.strata_tables import strata_part
from benchmark.reporting.figures.style import figure, remove_others, save, slug


@dataclass(frozen=True)
class Breakdown:
    """One breakdown of a comparison group.

    Args:
        stem: how the name of its figure begins.
        part: what is said of it.
        draw: draws its figure; ``None`` where it has none.
    """

    stem: str
    part: Part
    draw: Callable[[Any], None] | None

    def picture(self, board: Board, comparison_group: str) -> str:
        """Return the name of its figure, without suffix: that of a comparison group after the first has the group's
        own at its end; empty without a figure.
        """
        groups = [rows[0].block for rows in board.comparison_groups()]
        number = [block.comparison_group for block in groups].index(comparison_group)
        tail = f"_{slug(groups[number].comparison_group_name)}" if number else ""
        return self.stem + tail if self.draw else ""


@dataclass(frozen=True)
class Breakdowns:
    """What stands beside a board's rows.

    Args:
        matrices: of networks that were trained and tested on several sets.
        strata: by comparison group.
        robustness: what spoilt images cost, by comparison group.
        budgets: of tuned rows, by comparison group.
    """

    matrices: Sequence[CrossMatrix] = ()
    strata: Mapping[str, Strata] = field(default_factory=dict)
    robustness: Mapping[str, Robustness] = field(default_factory=dict)
    budgets: Mapping[str, Sequence[Budget]] = field(default_factory=dict)

    def of(self, comparison_group: str) -> list[Breakdown]:
        """Return what there is of a comparison group."""
        breakdowns = []
        if strata := self.strata.get(comparison_group):
            draw = partial(draw_strata, strata=strata) if strata.facets else None
            breakdowns.append(Breakdown(strata_figure.STEM, strata_part(strata), draw))
        if robustness := self.robustness.get(comparison_group):
            draw = partial(draw_corruptions, robustness=robustness)
            breakdowns.append(Breakdown(corruption_figure.STEM, robustness_part(robustness), draw))
        if budgets := self.budgets.get(comparison_group):
            breakdowns.append(Breakdown(budget.STEM, budget_part(budgets), partial(draw_budget, budgets=budgets)))
        return breakdowns


def breakdowns_of(board: Board, facts: Mapping[str, Facts]) -> Breakdowns:
    """Return the breakdowns of a board.

    Args:
        facts: of test images, by the fingerprint of their data set.
    """
    groups = {rows[0].block.comparison_group: rows for rows in board.comparison_groups()}
    fingerprints = {group: rows[0].first.record.data.fingerprint for group, rows in groups.items()}
    strata = {group: strata_of(rows, facts.get(fingerprints[group], {})) for group, rows in groups.items()}
    robust = {group: robustness_of(rows) for group, rows in groups.items()}
    budgets = {group: budgets_of(rows) for group, rows in groups.items()}
    return Breakdowns(
        tuple(cross_matrices(board)),
        {group: each for group, each in strata.items() if each is not None},
        {group: each for group, each in robust.items() if each is not None},
        {group: each for group, each in budgets.items() if each},
    )


def write_breakdown_plots(board: Board, breakdowns: Breakdowns, out: Path) -> list[Path]:
    """Write the figures that the breakdowns have data for; those of an earlier board are removed.

    Returns:
        The paths written, PNG and SVG.
    """
    figures = [
        (each.picture(board, rows[0].block.comparison_group), each.draw)
        for rows in board.comparison_groups()
        for each in breakdowns.of(rows[0].block.comparison_group)
        if each.draw
    ]
    if breakdowns.matrices:
        figures.append((cross_figure.STEM, partial(draw_cross_matrices, matrices=breakdowns.matrices)))
    paths: list[Path] = []
    for stem, draw in figures:
        with figure() as made:
            draw(made)
            paths += save(made, out, stem)
    for stem in (cross_figure.STEM, strata_figure.STEM, corruption_figure.STEM, budget.STEM):
        remove_others(out, stem, paths)
    return paths
