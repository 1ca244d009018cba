"""A queue without a cluster: submitit's local executor, whose jobs are processes of this machine."""

import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from benchmark.execution.executors.slurm_queue import GONE, SlurmQueue


class LocalQueue(SlurmQueue):
    """Jobs as processes of this machine, all at once."""

    name = "local"

    def __init__(self) -> None:
        self.jobs: dict[str, Any] = {}
        self.arrays: list[int] = []  # how many jobs were submitted together

    def of_cluster(self) -> dict[str, Any]:
        return {}

    def keep(self, jobs: Sequence[Any]) -> list[str]:
        self.jobs |= {str(job.job_id): job for job in jobs}
        self.arrays.append(len(jobs))
        return super().keep(jobs)

    def states(self, ids: Sequence[str]) -> Mapping[str, str] | None:
        words = {"RUNNING": "RUNNING", "FINISHED": "COMPLETED", "INTERRUPTED": "FAILED"}
        return {each: words.get(self.jobs[each].state, GONE) if each in self.jobs else GONE for each in ids}

    def cancel(self, ids: Sequence[str], *, waiting_only: bool) -> None:
        for each in ids:
            if not waiting_only and each in self.jobs:
                self.jobs[each].cancel()

    def elements(self, id: str) -> list[psutil.Process]:
        """Return the processes of a job's element."""
        found: list[psutil.Process] = []
        with suppress(psutil.Error):
            for process in psutil.Process(int(id)).children():
                if "submitit.core._submit" in process.cmdline():
                    found.append(process)
        return found

    def signal_time_limit(self, id: str) -> None:
        """Send what Slurm sends to all processes of a job before its time is over."""
        for element in self.elements(id):
            for process in (*element.children(recursive=True), element):
                os.kill(process.pid, signal.SIGUSR2)


def logs(cache: Path) -> str:
    """Return what the jobs of all submissions below a cache printed."""
    return "\n".join(path.read_text() for path in sorted((cache / "slurm").rglob("*_log.out")))
