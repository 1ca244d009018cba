"""The options that say where runs are done: on this machine, or on a cluster."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from benchmark.execution.executors.table import EXECUTORS

_OPTIONS = (
    click.option(
        "--executor",
        type=click.Choice(tuple(EXECUTORS)),
        default="local",
        show_default=True,
        help="What runs the workers: this machine, or a cluster.",
    ),
    click.option(
        "--cluster",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="What each worker asks of a cluster, as TOML: GPUs, cores, memory, how many at once.",
    ),
    click.option(
        "--ray-address",
        metavar="ADDRESS",
        help="A running Ray cluster, such as HOST:PORT; without one, --executor ray starts Ray on this machine.",
    ),
    click.option(
        "--detach",
        is_flag=True,
        help="With --executor slurm, leave when all is in the queue; status DIR and the same command tell how far it "
        "is.",
    ),
)


def cluster_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of executors, in this order."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
