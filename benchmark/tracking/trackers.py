"""The trackers by name: the three that are built in, and those of installed packages. Importing this imports none."""

import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points

from benchmark.errors import UserError, nearest
from benchmark.tracking.base import Place, Tracker

ENTRY_POINT_GROUP = "tumorboard.trackers"
BUILT_IN = {
    "tensorboard": "benchmark.tracking.to_tensorboard:TensorBoardFiles",
    "mlflow": "benchmark.tracking.to_mlflow:MlflowRuns",
    "wandb": "benchmark.tracking.to_wandb:WandbRuns",
}


@dataclass(frozen=True)
class Tracked:
    """What ``--track`` asks for.

    Args:
        name: the tracker's.
        where: what stands behind ``=``, empty where nothing does.
    """

    name: str
    where: str = ""


def tracked(words: Sequence[str]) -> tuple[Tracked, ...]:
    """Read the values of ``--track``: ``NAME`` or ``NAME=WHERE``, each tracker once.

    Raises:
        UserError: no tracker has that name, or one is named twice.
    """
    trackers = [Tracked(*(part.strip() for part in word.split("=", 1))) for word in words]
    others = sorted(point.name for point in entry_points(group=ENTRY_POINT_GROUP))
    names = list(dict.fromkeys([*BUILT_IN, *others]))
    for each in trackers:
        if each.name not in names:
            raise UserError(
                f"--track {each.name}: there is no such tracker.{nearest(each.name, names)} There are "
                f"{', '.join(names)}."
            )
        if [other.name for other in trackers].count(each.name) > 1:
            raise UserError(f"--track names {each.name} twice.")
    return tuple(trackers)


def make_tracker(name: str, place: Place) -> Tracker:
    """Import a tracker and return it; raises whatever its library does."""
    if name in BUILT_IN:
        make: Callable[[Place], Tracker] = pkgutil.resolve_name(BUILT_IN[name])
    else:
        (point,) = (point for point in entry_points(group=ENTRY_POINT_GROUP) if point.name == name)
        make = point.load()
    return make(place)
