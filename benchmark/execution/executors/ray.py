"""The Ray executor: workers on the nodes of a Ray cluster."""

from typing import TYPE_CHECKING

from benchmark.errors import UserError

if TYPE_CHECKING:
    from benchmark.execution.executors.base import Executor
    from benchmark.execution.planning.plan import Plan
    from benchmark.execution.planning.request import Request


def ray_executor(plan: "Plan", request: "Request") -> "Executor":
    """Return the executor of a plan's runs on a Ray cluster."""
    raise UserError("--executor ray is not there yet.")
