"""The options that say where runs are done: on this machine, or on a cluster."""

import click

from benchmark.cli.shared_options import choice_option, path_option, together
from benchmark.execution.executors.table import EXECUTORS

cluster_options = together(
    choice_option("--executor", tuple(EXECUTORS), "local", "What runs the workers: this machine, or a cluster."),
    path_option(
        "--cluster", "FILE", "What each worker asks of a cluster, as TOML: GPUs, cores, memory, how many at once."
    ),
    click.option(
        "--ray-address",
        metavar="ADDRESS",
        help="A running Ray cluster, such as HOST:PORT; without one, --executor ray starts Ray on this machine.",
    ),
    click.option(
        "--detach",
        is_flag=True,
        help="With --executor slurm, leave when all is in the queue; status DIR and the same command tell how "
        "far it is.",
    ),
)
