"""Runs that are done together: all of a plan, or those that one job of a cluster does."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmark.execution.worker.job import Job


@dataclass(frozen=True)
class Runs:
    """Runs of one results folder, in the order in which they are done: each after the one from which it continues.

    Args:
        out: the results folder, writable.
        jobs: one for each distinct run.
    """

    out: Path
    jobs: tuple[Job, ...]

    def followers(self, key: str) -> tuple[Job, ...]:
        """Return the runs that continue from the weights of one."""
        return self._followers.get(key, ())

    @cached_property
    def _followers(self) -> Mapping[str, tuple[Job, ...]]:
        found: dict[str, list[Job]] = {}
        for job in self.jobs:
            if job.run.init_from is not None:
                found.setdefault(job.run.init_from, []).append(job)
        return {key: tuple(jobs) for key, jobs in found.items()}
