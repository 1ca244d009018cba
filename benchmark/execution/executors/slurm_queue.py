"""Slurm's queue: jobs are submitted through ``submitit``, asked for and cancelled through Slurm's own commands.

``submitit`` pickles what a job calls, which is an :class:`~benchmark.execution.executors.slurm_element.Element`: a
name and the path of a file. It does so in the folder of the submission, which is this user's alone; nothing here
reads a pickle. Accounting (``sacct``), by which ``submitit`` learns a job's state, is not there on every cluster;
``squeue`` is.
"""

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any, Protocol

from backbones._cache import CACHE_VARIABLE
from benchmark.data.preparation.cache import cache_root
from benchmark.errors import UserError
from benchmark.execution.executors.slurm_element import Element
from benchmark.execution.planning.cluster import Cluster

TIME_LIMIT = 4 * 3600.0  # seconds, where none is given
_MOST_AT_ONCE = 1000
_MOST_TURNS = 10_000  # submitit's own bound on requeues; an element has a better one
_ASK_SECONDS = 30.0  # for a command of Slurm's to answer
# States of a job that does not go on; one that is put into the queue again is PENDING or REQUEUED.
_ENDED = frozenset({"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"})
_ENDED |= {"OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"}
GONE = "gone"  # a job that Slurm no longer knows


def is_over(state: str) -> bool:
    """Return whether a job in this state does not go on."""
    return state == GONE or state in _ENDED


class Queue(Protocol):
    """Where jobs wait for a machine."""

    def submit(self, folder: Path, files: Sequence[Path], cluster: Cluster, gpus: int) -> list[str]:
        """Submit a job for each file that an element reads; return their ids.

        Raises:
            UserError: they are refused.
        """

    def states(self, ids: Sequence[str]) -> Mapping[str, str] | None:
        """Return the states of jobs, in Slurm's words or ``gone``; ``None`` where the queue can't be asked."""

    def cancel(self, ids: Sequence[str], *, waiting_only: bool) -> None:
        """Cancel jobs, or of them those that still wait."""


class SlurmQueue:
    """The queue of the Slurm cluster that this machine belongs to."""

    name = "slurm"  # as submitit calls it

    def submit(self, folder: Path, files: Sequence[Path], cluster: Cluster, gpus: int) -> list[str]:
        """Submit jobs as one array; see :class:`Queue`."""
        from submitit import AutoExecutor
        from submitit.core.utils import FailedJobError

        try:
            executor = AutoExecutor(folder, cluster=self.name, **self.of_cluster())
            executor.update_parameters(**self.parameters(cluster, gpus))
            return self.keep(executor.submit_array([Element(str(file)) for file in files]))
        except (FailedJobError, RuntimeError, OSError) as error:
            raise UserError(f"Slurm does not take the jobs: {_last_line(str(error))}.") from None

    def of_cluster(self) -> dict[str, Any]:
        """Return what ``submitit`` must know of the cluster."""
        return {"slurm_python": f"{shlex.quote(sys.executable)} -P", "slurm_max_num_timeout": _MOST_TURNS}

    def keep(self, jobs: Sequence[Any]) -> list[str]:
        """Return the ids of jobs that ``submitit`` has submitted."""
        return [str(job.job_id) for job in jobs]

    def parameters(self, cluster: Cluster, gpus: int) -> dict[str, Any]:
        """Return what ``submitit`` is told of the jobs.

        Args:
            cluster: what the user asked for.
            gpus: how many a job gets.
        """
        found_here = os.pathsep.join(str(Path(place).absolute()) for place in sys.path)
        own = {"PYTHONPATH": found_here, CACHE_VARIABLE: str(cache_root().absolute())}
        asked: dict[str, Any] = {
            "name": "tumorboard",
            "timeout_min": ceil((cluster.time_limit or TIME_LIMIT) / 60),
            "stderr_to_stdout": True,
            "slurm_array_parallelism": cluster.at_once or _MOST_AT_ONCE,
            "slurm_signal_delay_s": ceil(cluster.save_time),
            "slurm_setup": [*cluster.setup, *(f"export {name}={shlex.quote(value)}" for name, value in own.items())],
            "slurm_additional_parameters": {"requeue": True},
        }
        if gpus:
            asked["gpus_per_node"] = gpus
        if cluster.cpus:
            asked["cpus_per_task"] = cluster.cpus
            asked["slurm_srun_args"] = [f"--cpus-per-task={cluster.cpus}"]  # srun does not take it from sbatch
        if cluster.memory:
            asked["mem_gb"] = ceil(cluster.memory / 2**20) / 1024
        place = {"slurm_partition": cluster.partition, "slurm_account": cluster.account}
        return asked | {name: value for name, value in place.items() if value is not None}

    def states(self, ids: Sequence[str]) -> Mapping[str, str] | None:
        """Ask ``squeue``; see :class:`Queue`."""
        answer = _ask("squeue", "-h", "-r", "-t", "all", "-u", str(os.geteuid()), "-o", "%i|%T")
        if answer is None:
            return None
        states = dict(line.strip().split("|", 1) for line in answer.splitlines() if "|" in line)
        return {each: states.get(each, GONE) for each in ids}

    def has_other_machines(self) -> bool:
        """Return whether jobs may run on another machine than this one; not where that can't be known."""
        nodes = (_ask("sinfo", "-h", "-N", "-o", "%N") or "").split()
        return bool(set(nodes) - {platform.node().partition(".")[0]})

    def cancel(self, ids: Sequence[str], *, waiting_only: bool) -> None:
        """Use ``scancel``; see :class:`Queue`."""
        if ids:
            _ask("scancel", "--quiet", *(["--state=PENDING"] if waiting_only else []), *ids)


def _ask(*words: str) -> str | None:
    """Return what a command of Slurm's prints, ``None`` where it does not answer."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_ASK_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[-1] if lines else "it gives no reason").rstrip(".")
