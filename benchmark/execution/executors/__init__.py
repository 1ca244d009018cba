"""Executors: where workers run. The local one here; the interface is narrow enough for others."""

from benchmark.execution.executors.base import Control, Ending, Executor, Stop

__all__ = ["Control", "Ending", "Executor", "Stop"]
