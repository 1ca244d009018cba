"""All parts of a board that are computed once for its tables, its figures and its page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.reporting.board.board import Board
from benchmark.reporting.breakdown import budget, corruption_figure, cross_figure, strata_figure
from benchmark.reporting.breakdown.budget import Budget, budgets_of, draw_budget
from benchmark.reporting.breakdown.corruption_figure import draw_corruptions
from benchmark.reporting.breakdown.corruptions import Robustness, robustness_of
from benchmark.reporting.breakdown.cross_figure import draw_cross_matrices
from benchmark.reporting.breakdown.cross_matrix import CrossMatrix, cross_matrices
from benchmark.reporting.breakdown.image_facts import Facts
from benchmark.reporting.breakdown.strata import Strata, facts_of, strata_of
from benchmark.reporting.breakdown.strata_figure import draw_strata
from benchmark.reporting.figures.style import figure, remove_others, save, slug


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

    def picture(self, board: Board, comparison_group: str) -> str:
        """Return the name, without suffix, of the figure of a comparison group's strata; empty without one."""
        if comparison_group not in self.strata or not self.strata[comparison_group].facets:
            return ""
        return _named(strata_figure.STEM, board, comparison_group)

    def corruption_picture(self, board: Board, comparison_group: str) -> str:
        """Return the name, without suffix, of the figure of spoilt images; empty without one."""
        if comparison_group not in self.robustness:
            return ""
        return _named(corruption_figure.STEM, board, comparison_group)

    def budget_picture(self, board: Board, comparison_group: str) -> str:
        """Return the name, without suffix, of the figure of tuned rows; empty without one."""
        return _named(budget.STEM, board, comparison_group) if comparison_group in self.budgets else ""


def _named(stem: str, board: Board, comparison_group: str) -> str:
    """Return a figure's name: that of a comparison group after the first has the group's own at its end."""
    groups = [rows[0].block for rows in board.comparison_groups()]
    number = [block.comparison_group for block in groups].index(comparison_group)
    return stem + (f"_{slug(groups[number].comparison_group_name)}" if number else "")


def breakdowns_of(board: Board, facts: Mapping[str, Facts]) -> Breakdowns:
    """Return the breakdowns of a board.

    Args:
        facts: of test images, by the fingerprint of their data set.
    """
    found = {
        rows[0].block.comparison_group: strata_of(rows, facts_of(rows, facts)) for rows in board.comparison_groups()
    }
    robust = {rows[0].block.comparison_group: robustness_of(rows) for rows in board.comparison_groups()}
    return Breakdowns(
        tuple(cross_matrices(board)),
        {group: strata for group, strata in found.items() if strata is not None},
        {group: robustness for group, robustness in robust.items() if robustness is not None},
        {
            rows[0].block.comparison_group: budgets
            for rows in board.comparison_groups()
            if (budgets := budgets_of(rows))
        },
    )


def write_breakdown_plots(board: Board, breakdowns: Breakdowns, out: Path) -> list[Path]:
    """Write the figures that the breakdowns have data for; those of an earlier board are removed.

    Returns:
        The paths written, PNG and SVG.
    """
    paths: list[Path] = []
    if breakdowns.matrices:
        with figure() as made:
            draw_cross_matrices(made, breakdowns.matrices)
            paths += save(made, out, cross_figure.STEM)
    for group, strata in breakdowns.strata.items():
        stem = breakdowns.picture(board, group)
        if stem:
            with figure() as made:
                draw_strata(made, strata)
                paths += save(made, out, stem)
    for group, robustness in breakdowns.robustness.items():
        with figure() as made:
            draw_corruptions(made, robustness)
            paths += save(made, out, breakdowns.corruption_picture(board, group))
    for group, budgets in breakdowns.budgets.items():
        with figure() as made:
            draw_budget(made, budgets)
            paths += save(made, out, breakdowns.budget_picture(board, group))
    for stem in (cross_figure.STEM, strata_figure.STEM, corruption_figure.STEM, budget.STEM):
        remove_others(out, stem, paths)
    return paths
