"""How many workers of one machine run side by side, and what each has for itself: a GPU, or a share of the cores."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import psutil

from benchmark.data.preparation.threads import usable_cpus
from benchmark.errors import UserError
from benchmark.execution.planning.devices import nvidia_smi
from benchmark.execution.worker.job import Job

Environments = tuple[Mapping[str, str], ...]
_BYTES_A_WORKER = 6 * 2**30  # with room for VGG16 at 128 px
_ON_PROCESSOR = 2
_THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
_CGROUP = Path("/sys/fs/cgroup")


def worker_environments(asked: int | Literal["auto"], jobs: Sequence[Job]) -> Environments:
    """Return what the environment of each worker has for its own; one entry means one run after another.

    ``auto`` is a worker for each GPU, where all runs are for one. On a processor it is two, where there are cores and
    memory for them: small operations gain little from more cores, and much of a run (importing, building, tracing)
    uses one. It is one where runs must repeat bit for bit, so that their number of threads does not depend on what
    else a command does, and where the environment says how many threads there are to be.

    Args:
        asked: how many, or ``auto``.
        jobs: what they will do; there are never more workers than runs.

    Raises:
        UserError: more than there are GPUs, or cores.
    """
    on_gpu = [job for job in jobs if job.run.device_kind == "cuda"]
    gpus = visible_gpus() if on_gpu and asked != 1 else []
    most = max(1, len(jobs))
    if asked == "auto":
        count = min(len(gpus), most) if len(on_gpu) == len(jobs) else min(_on_processor(jobs), most)
    else:
        _require(asked, len(gpus) if on_gpu and asked > 1 else usable_cpus(), "GPU" if on_gpu else "core")
        count = min(asked, most)
    if count <= 1:
        return ({},)
    if on_gpu:
        return tuple({"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus[:count])
    threads = str(max(1, usable_cpus() // count))
    return (dict.fromkeys(_THREADS, threads),) * count


def _on_processor(jobs: Sequence[Job]) -> int:
    """Return how many workers a processor has for runs: two, or one."""
    if any(job.run.recipe.execution.deterministic or job.run.device_kind != "cpu" for job in jobs):
        return 1
    if any(name in os.environ for name in _THREADS):
        return 1
    room = _available_bytes() // _BYTES_A_WORKER
    return max(1, min(_ON_PROCESSOR, usable_cpus(), room))


def _available_bytes() -> int:
    """Return the memory that is left for new processes: of the machine, or of the container that this one is in."""
    left = int(psutil.virtual_memory().available)
    with suppress(OSError, ValueError):  # no control group, or no limit ("max")
        limit = int((_CGROUP / "memory.max").read_text(encoding="ascii"))
        left = min(left, limit - int((_CGROUP / "memory.current").read_text(encoding="ascii")))
    return left


def largest_first(jobs: Sequence[Job], sizes: Mapping[str, int]) -> tuple[Job, ...]:
    """Return jobs so that workers side by side are busy to the end: of those that can share a worker, the largest
    networks first.

    Args:
        jobs: in the order in which they were asked for; kept where one continues from another.
        sizes: the number of parameters of each backbone.
    """
    if any(job.run.init_from is not None for job in jobs):
        return tuple(jobs)
    keys = list(dict.fromkeys(job.worker_key for job in jobs))
    return tuple(sorted(jobs, key=lambda job: (keys.index(job.worker_key), -sizes[job.run.backbone])))


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return nvidia_smi("--query-gpu=uuid")
    named = [name.strip() for name in chosen.split(",") if name.strip()]
    # CUDA ignores all that follows a name that is none
    return named[: named.index("-1")] if "-1" in named else named


def _require(asked: int, there: int, what: str) -> None:
    if asked > there:
        have = f"there is 1 {what}" if there == 1 else f"there are {there} {what}s"
        raise UserError(f"--workers {asked}: each worker needs a {what} of its own, and {have}; give less, or auto.")
