"""What a column of the leaderboard is: its kind, how it is averaged, where it is shown and how it is written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Literal

from benchmark.evaluation.bootstrap import Measure
from benchmark.evaluation.intervals import Interval
from benchmark.evaluation.metrics import RunScores
from benchmark.records.record import Predictions, Record

Values = dict[str, Any]  # what is known of a run or of a row, by column name; what is not known is absent


class Kind(Enum):
    """What the values of a column are."""

    TEXT = "text"
    TRUTH = "true or false"
    WHOLE = "a whole number"
    COUNT = "a number of images or patients, which may be a mean"
    SCORE = "a number with a fixed number of decimals"
    NUMBER = "a measured quantity, written with a fixed number of significant digits"


class Average(Enum):
    """How the value of a row follows from those of its runs. A training is one run, or one run of each fold."""

    SAME = "all runs share it: the first run's"
    ALL_FOLDS = "all trainings share it: that of the test images of all folds"
    POOLED = "mean over trainings, each scored on the test images of all its folds at once"
    FOLDS = "mean over trainings, each the mean of its folds, whose probabilities have no common scale"
    FOLDS_BY_IMAGES = "mean over trainings, each the mean of its folds weighted by their test images"
    FOLDS_BY_ILL = "mean over trainings, each the mean of its folds weighted by their test images with a tumour"
    FOLDS_BY_HEALTHY = (
        "mean over trainings, each the mean of its folds weighted by their test images without a tumour"
    )
    RUNS = "mean over runs"
    ONE_DEVICE = "mean over runs; absent where they ran on several devices"
    ONE_DEVICE_ONCE = (
        "mean over measurements, of which several runs may share one; absent where they were made on several "
        "devices, or one of them lacks the value"
    )


Section = Literal[
    "", "scores", "errors", "patient errors", "calibration", "dependence", "selective", "net benefit", "speed"
]
Output = Literal["page", "front", "checklist", "latex"]  # "front": shown on the page before anything is chosen


@dataclass(frozen=True)
class Column:
    """One column, or a family of columns with one for each class.

    Args:
        name: in CSV files, frames and options; ``{}`` in it stands for a class.
        title: its heading for people.
        help: a sentence on what it is, which the page shows as a tooltip.
        kind: what its values are.
        average: how a row's value follows from those of its runs.
        section: the table of ``leaderboard.md`` that shows it, empty for none.
        outputs: where else it is shown; the CSV files have every column.
        better: which values are better.
        lowest: the least value that a score with an interval can take.
        digits: decimals of a score and of a count's interval, or significant digits of a number.
        per: whether the family has a column for each class or for each tumour (each class that can be missed).
        patients: whether it is of patients rather than images.
        of_record: the dotted path of its value in a record, or a function that returns it.
        of_confusion: its function of confusion matrices, (..., C, C) to (...); gives it an interval too.
        of_class: the name of its value in the scores of one class.
        of_test: its function of a run's scores and its predictions of the test images.
        class_name: the class that a member of a family is of.
    """

    name: str
    title: str
    help: str
    kind: Kind = Kind.TEXT
    average: Average = Average.SAME
    section: Section = ""
    outputs: tuple[Output, ...] = ()
    better: Literal["", "higher", "lower"] = ""
    lowest: float = 0.0
    digits: int = 3
    per: Literal["", "class", "tumour"] = ""
    patients: bool = False
    of_record: str | Callable[[Record], Any] = ""
    of_confusion: Measure | None = None
    of_class: str = ""
    of_test: Callable[[RunScores, Predictions], float] | None = None
    class_name: str = ""

    @property
    def tooltip(self) -> str:
        """What it is, and which values are better."""
        return f"{self.help} {self.better.capitalize()} is better." if self.better else self.help

    @property
    def averaged(self) -> bool:
        """Whether a row's value is a mean, which has a spread."""
        return self.average not in (Average.SAME, Average.ALL_FOLDS)

    def members(self, class_names: Sequence[str], tumour_names: Sequence[str]) -> "list[Column]":
        """Return the columns of a family, or the column itself where it is none."""
        if not self.per:
            return [self]
        return [
            replace(self, name=self.name.format(name), title=self.title.format(name), class_name=name)
            for name in (class_names if self.per == "class" else tumour_names)
        ]

    def further(self, end: str) -> "Column":
        """Return the column of its spread (``end`` is ``sd`` or ``fold_sd``) or of an end of its interval."""
        title, text = f"{self.title} {end.replace('_', ' ')}", f"{_FURTHER[end]} Of: {self.help}"
        return replace(self, name=f"{self.name}_{end}", title=title, help=text, outputs=(), section="", better="")

    def value_in(self, record: Record) -> Any:
        """Return its value in a record, ``None`` where it is not known."""
        if not isinstance(self.of_record, str):
            return self.of_record(record)
        value: Any = record if self.of_record else None
        for step in self.of_record.split(".") if self.of_record else ():
            value = value.get(step) if isinstance(value, Mapping) else getattr(value, step, None)
        return value

    def text(self, value: Any) -> str:
        """Return a value as people read it, empty for ``None``."""
        if value is None or isinstance(value, str | bool):
            return "" if value is None else str(value)
        if self.kind is Kind.COUNT:
            return count(value)
        return f"{value:.{self.digits}f}" if self.kind is Kind.SCORE else number(float(value), self.digits)

    def ends(self, interval: Interval | None, dash: str = "-") -> str:
        """Return both ends of a 95 % interval as people read them, empty where there is none.

        Args:
            dash: between the ends; ``to`` stands there where an end is below zero, as its sign would look like one.
        """
        if interval is None:
            return ""
        between = " to " if interval.low < 0 else dash
        return f"{interval.low:.{self.digits}f}{between}{interval.high:.{self.digits}f}"


_FURTHER = {
    "sd": "Sample standard deviation over trainings or runs.",
    "low": "Lower end of the 95 % interval for other patients.",
    "high": "Upper end of the 95 % interval for other patients.",
    "fold_sd": "Sample standard deviation over folds.",
}


# columns that say of which row a line is, in every CSV file that has lines for parts of a row
WHO = {
    "comparison_group": "The comparison group (data, split and image set) of the row.",
    "backbone": "The row's network.",
    "framework": "The framework that ran it.",
    "weights": "What it started from.",
    "recipe": "How it was trained.",
}


def count(value: float) -> str:
    """Return a count, or a mean of counts with one decimal."""
    return str(int(value)) if value == int(value) else f"{value:.1f}"


def number(value: float, digits: int = 3) -> str:
    """Return a number with ``digits`` significant digits, never in scientific notation, whole ones whole."""
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.{digits}g}" if abs(value) < 10**digits and abs(value) >= 1e-4 else f"{value:.0f}"
