"""The executors by name, each imported only when it is used."""

import importlib.util
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.dependencies import how_to_install
from benchmark.errors import UserError, nearest

if TYPE_CHECKING:
    from benchmark.execution.executors.base import Executor


@dataclass(frozen=True)
class ExecutorEntry:
    """What must be known of an executor before it is imported.

    Args:
        name: as ``--executor`` gives it.
        make: ``module:function`` of what makes it of a plan and a request; it raises ``UserError`` where the user can
            mend what is wrong, before any run begins.
        requires: modules that must be installed.
        workers_claim: whether its own processes claim the runs, and go on without the command: see
            :class:`~benchmark.execution.controller.Controller`.
    """

    name: str
    make: str
    requires: tuple[str, ...] = ()
    workers_claim: bool = False

    def load(self) -> "Callable[..., Executor]":
        """Return what makes the executor, called with a plan and its request."""
        make: Callable[..., Executor] = pkgutil.resolve_name(self.make)
        return make


_IN = "benchmark.execution.executors"
_ENTRIES = (
    ExecutorEntry("local", f"{_IN}.local:local_executor"),
    ExecutorEntry("ray", f"{_IN}.ray:ray_executor", requires=("ray",)),
    ExecutorEntry("slurm", f"{_IN}.slurm:slurm_executor", requires=("submitit",), workers_claim=True),
)
EXECUTORS = {entry.name: entry for entry in _ENTRIES}
ON_CLUSTERS = tuple(name for name in EXECUTORS if name != "local")


def executor_entry(name: str) -> ExecutorEntry:
    """Return an executor's entry.

    Raises:
        UserError: there is none of that name, or what it needs is not installed.
    """
    if name not in EXECUTORS:
        raise UserError(f"--executor {name}: there is none of that name.{nearest(name, list(EXECUTORS))}")
    entry = EXECUTORS[name]
    missing = [module for module in entry.requires if importlib.util.find_spec(module) is None]
    if missing:
        raise UserError(f"--executor {name} needs {', '.join(missing)}: {how_to_install(missing)}.")
    return entry
