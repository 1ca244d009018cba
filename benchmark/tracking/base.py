"""What a tracker is told, and what it must be able to do.

A package adds a tracker without a change here: it declares an entry point of the group ``tumorboard.trackers``, named
as ``--track`` shall know it, whose value is a function that takes a :class:`Place` and returns a :class:`Tracker`::

    [project.entry-points."tumorboard.trackers"]
    aim = "tumorboard_aim:AimTracker"

It is imported in a process of its own, which ends with the command; what it raises is told in one sentence and never
fails a run.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict

Parameter = str | int | float | bool


@dataclass(frozen=True)
class Place:
    """Where a tracker keeps what it is told.

    Args:
        out: the results folder.
        where: what the user gave behind ``--track NAME=``, empty where nothing: a folder, an address or a project.
    """

    out: Path
    where: str = ""


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RunFacts(_Told):
    """A run, as a tracker is told of it.

    Args:
        key: its identity, by which the same run is known again.
        name: for people: backbone, seed and fold.
        board: name of the results folder.
        parameters: what makes it the run that it is, by dotted names: backbone, recipe, data, seed, weights.
        tags: what else is known of it: device, versions, note; they may change when it is done again.
        fresh: whether it begins anew in this moment, so that curves of an earlier try are not its own.
    """

    key: str
    name: str
    board: str
    parameters: dict[str, Parameter]
    tags: dict[str, str] = {}
    fresh: bool = False


class TrackedScore(_Told):
    """A score with its 95 % interval, where it has one."""

    value: float
    low: float | None = None
    high: float | None = None


def numbers(scores: Mapping[str, TrackedScore], before: str) -> dict[str, float]:
    """Return scores by name, with the ends of their intervals under ``<name>_low`` and ``_high``.

    Args:
        before: how all names begin.
    """
    values: dict[str, float] = {}
    for name, score in scores.items():
        values[before + name] = score.value
        if score.low is not None and score.high is not None:
            values |= {f"{before}{name}_low": score.low, f"{before}{name}_high": score.high}
    return values


class BoardFacts(_Told):
    """The board, when it is written.

    Args:
        name: of the results folder.
        figures: pictures (PNG) of scores; none of them shows an image of a patient.
        tables: CSV files.
        text: the board's answer, in sentences.
        scores: of each row by its name, then by the name of the board's column.
    """

    name: str
    figures: tuple[Path, ...]
    tables: tuple[Path, ...]
    text: str
    scores: dict[str, dict[str, TrackedScore]]


class Tracker(Protocol):
    """Keeps what it is told. Every method may raise anything: the tracker is then given up, and the runs go on."""

    def begin(self, run: RunFacts) -> int:
        """Begin a run, or go on with one that is known from before; return the last epoch that is known of it, or 0.

        It may be called again for the same run, with more tags.
        """

    def epoch(self, run: RunFacts, number: int, values: Mapping[str, float]) -> None:
        """Keep the values of an epoch, numbered from 1; each number comes once, and they ascend."""

    def scores(self, run: RunFacts, scores: Mapping[str, TrackedScore]) -> None:
        """Keep the scores of the test images."""

    def model(self, run: RunFacts, folder: Path) -> None:
        """Keep the trained model in a folder."""

    def end(self, run: RunFacts, status: str) -> None:
        """Close a run; ``status`` is an outcome, such as ``ok`` or ``interrupted``."""

    def board(self, board: BoardFacts) -> None:
        """Keep the board."""

    def close(self) -> None:
        """Keep what is not kept yet; nothing comes after it."""
