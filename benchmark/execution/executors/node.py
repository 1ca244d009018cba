"""A node of a cluster, as a worker there finds it: what is installed, and what a run's record must say of it."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass

from benchmark.data.preparation.threads import usable_cpus
from benchmark.engines import library_packages
from benchmark.execution.planning.devices import nvidia_smi
from benchmark.execution.worker.job import Job
from benchmark.host import installed_versions, processor
from benchmark.version import __version__


@dataclass(frozen=True)
class Installation:
    """What decides results and is installed: a node's must be as that of the command.

    Args:
        host: the name of the machine.
        python: its version.
        tumorboard: its version.
        libraries: versions of frameworks and their libraries, by distribution; without those that are not there.
    """

    host: str
    python: str
    tumorboard: str
    libraries: Mapping[str, str]

    def different_on(self, node: "Installation") -> str:
        """Return in a sentence what is installed otherwise on a node than here; empty where nothing is."""
        names = sorted({*self.libraries, *node.libraries})
        pairs = [("Python", self.python, node.python), ("tumorboard", self.tumorboard, node.tumorboard)]
        pairs += [(name, self.libraries.get(name, "none"), node.libraries.get(name, "none")) for name in names]
        different = [f"{name} {there} (here {here})" for name, here, there in pairs if here != there]
        if not different:
            return ""
        return (
            f"The node {node.host} has {', '.join(different)}: results would differ with the place where a run was "
            "done; install the same there."
        )


def installation() -> Installation:
    """Return what is installed for this process."""
    libraries = installed_versions(("numpy", *library_packages()))
    return Installation(
        platform.node(),
        platform.python_version(),
        __version__,
        libraries,
    )


def for_this_node(job: Job, cpus: int | None) -> Job:
    """Return a job that was planned elsewhere with what its record must say of this node: the device's name, and how
    many such workers share the node.

    Args:
        cpus: cores of the worker; ``None`` where it has them all.
    """
    if job.run.device_kind == "cuda":
        names = nvidia_smi("--query-gpu=name")
        device, workers = names[0] if names else job.device, len(names)
    else:
        device, workers = processor(), usable_cpus() // cpus if cpus else 1
    settings = job.settings.model_copy(update={"workers": max(1, workers)})
    return job.model_copy(update={"device": device, "settings": settings})


def threads_of(cpus: int | None) -> dict[str, str]:
    """Return the environment of a worker that has so many cores; empty where it has them all."""
    return {} if cpus is None else {"OMP_NUM_THREADS": str(cpus), "TF_NUM_INTRAOP_THREADS": str(cpus)}


def gpu_environment() -> dict[str, str]:
    """Return the environment that gives a worker the GPU which the cluster gave this process, where it gave one."""
    return {name: os.environ[name] for name in ("CUDA_VISIBLE_DEVICES",) if os.environ.get(name)}
