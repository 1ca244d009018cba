"""The option ``--track``, of runs and of ``leaderboard``, and what it starts."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from benchmark.tracking.session import Tracking


def _checked(_: click.Context, __: click.Parameter, words: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse a name that no tracker has before anything is done."""
    if words:
        from benchmark.tracking.trackers import tracked

        tracked(words)
    return words


track_option: Callable[[Any], Any] = click.option(
    "--track",
    multiple=True,
    callback=_checked,
    metavar="NAME[=WHERE]",
    help="Also tell parameters, curves, scores, figures and kept models to tensorboard, mlflow, wandb, or a tracker "
    "of an installed package (repeatable). WHERE is tensorboard's folder, mlflow's address, or wandb's project.",
)


@contextmanager
def tracking_of(words: Sequence[str], out: Path, console: "Console") -> "Iterator[Tracking | None]":
    """Track what is done in the block; ``None`` where nothing is to be tracked. What a tracker failed at is told.

    Args:
        words: the values of ``--track``.
        out: the results folder.
    """
    if not words:
        yield None
        return
    from benchmark.execution.progress import Steps, tell
    from benchmark.tracking.session import Tracking
    from benchmark.tracking.trackers import tracked

    tracking = Tracking(tracked(words), out)
    try:
        yield tracking
    except BaseException:
        tracking.close(wait=False)
        raise
    with Steps(console, "Waiting for trackers", lines=False):
        problems = tracking.close()
    for problem in problems:
        tell(console, problem)
