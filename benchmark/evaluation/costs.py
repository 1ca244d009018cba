"""What a decision costs, by true and predicted class: read from a file, since no default would be right."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark.errors import UserError, nearest
from benchmark.evaluation.metrics import Floats
from benchmark.toml_files import read_toml


@dataclass(frozen=True)
class Costs:
    """Costs of decisions.

    Args:
        cells: cost by true and predicted class, in any unit; those that are not named cost ``wrong``, and nothing
            where the class is right.
        wrong: cost of any other error.
        name: of the file, for people.
    """

    cells: dict[tuple[str, str], float]
    wrong: float
    name: str

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes that are named, in order."""
        return tuple(dict.fromkeys(name for pair in self.cells for name in pair))

    def matrix(self, class_names: tuple[str, ...]) -> Floats | None:
        """Return costs by true (row) and predicted class: float64, shape (C, C); ``None`` where a class that is named
        is not among these.
        """
        if not set(self.class_names) <= set(class_names):
            return None
        costs = np.full((len(class_names),) * 2, self.wrong)
        np.fill_diagonal(costs, 0.0)
        for (true, predicted), cost in self.cells.items():
            costs[class_names.index(true), class_names.index(predicted)] = cost
        return costs

    def sentence(self) -> str:
        """Return what the costs are, for people."""
        named = "; ".join(f"{true} called {predicted} {cost:g}" for (true, predicted), cost in self.cells.items())
        return f"Expected cost per image: {named + '; ' if named else ''}any other error {self.wrong:g}."

    def check(self, class_names: tuple[str, ...]) -> None:
        """Raise ``UserError`` where a class is named that no data set has."""
        for name in self.class_names:
            if name not in class_names:
                raise UserError(
                    f"--costs {self.name}: no data set here has a class '{name}'.{nearest(name, class_names)} "
                    f"The classes are {', '.join(class_names)}."
                )


def load_costs(path: Path) -> Costs:
    """Read costs from TOML: ``wrong = 1.0``, and for each true class a table of predicted classes.

    .. code-block:: toml

        wrong = 1.0            # any error that is not named below

        [costs.glioma]         # images of a glioma
        notumor = 20.0         # that are called healthy

    Raises:
        UserError: it can't be read, or says something else.
    """
    where = f"--costs {path}"
    values = read_toml(path, f"Cost file '{path}'", where)
    unknown = set(values) - {"wrong", "costs"}
    if unknown:
        raise UserError(f"{where}: '{sorted(unknown)[0]}' is not known; give wrong = COST and tables [costs.CLASS].")
    if "wrong" not in values:
        raise UserError(f"{where}: say what any other error costs, such as wrong = 1.0.")
    tables = values.get("costs", {})
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise UserError(f"{where}: give costs as tables, such as [costs.glioma] with notumor = 20.0.")
    cells = {
        (true, predicted): _cost(value, f"{where}: costs.{true}.{predicted}")
        for true, table in tables.items()
        for predicted, value in table.items()
    }
    return Costs(cells, _cost(values["wrong"], f"{where}: wrong"), str(path))


def _cost(value: object, where: str) -> float:
    try:
        cost = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:  # an integer beyond what a float can be
        cost = math.inf
    if not math.isfinite(cost) or cost < 0:
        raise UserError(f"{where} is {repr(value)[:40]}; a cost is a number from 0 up.")
    return cost
