"""The Ray executor: worker processes on the nodes of a Ray cluster, or on this machine's GPUs through Ray.

Each slot of the cluster (:mod:`~benchmark.execution.executors.ray_slot`) does one run after another; the crew of a
command (:mod:`~benchmark.execution.executors.ray_crew`) is its slots, on the nodes that are fit
(:mod:`~benchmark.execution.executors.ray_nodes`).
"""

import logging
import os
import socket
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmark.atomic_files import write_atomically
from benchmark.errors import UserError
from benchmark.execution.executors.base import Control, Ending, JobSource, OnEvent
from benchmark.execution.executors.ray_crew import Crew
from benchmark.execution.executors.ray_nodes import LOOK_SECONDS, Nodes, Share, in_a_line
from benchmark.execution.executors.ray_slot import Slot
from benchmark.execution.planning.plan import Plan
from benchmark.execution.planning.request import Request
from benchmark.execution.worker.job import Job
from benchmark.hashing import hash_json
from benchmark.host import this_machine
from benchmark.records.results_folder import CLAIMS

_KNOCK_SECONDS = 10.0
# Ray listens on all interfaces where it thinks of a cluster, whatever address it is given.
_LOOPBACK_ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
# No reports of usage, and no word of answers that nobody waits for any more.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_IGNORE_UNHANDLED_ERRORS": "1"}


def ray_executor(plan: Plan, request: Request) -> "RayExecutor":
    """Return the executor of a plan's runs on a Ray cluster, connected, its nodes looked at.

    Raises:
        UserError: the cluster can't be reached; or no node is fit or has room for a run, and no ``at_once`` says that
            nodes will come.
    """
    cluster = request.cluster
    ray = _connect(cluster.ray_address)
    nodes = Nodes(ray)
    nodes.look(LOOK_SECONDS)
    share = Share.of(cluster, nodes.fit(), on_gpu=any(job.run.device_kind == "cuda" for job in plan.jobs))
    room = nodes.room(share)
    if not room and cluster.at_once is None:
        if nodes.left_out:
            raise UserError(next(iter(nodes.left_out.values())))
        raise UserError(
            f"No node of the Ray cluster has {share}, which a run asks for: ask for less in a file for --cluster, or "
            f"give at_once there if nodes will come."
        )
    count = cluster.at_once or room
    return RayExecutor(plan, request, nodes, share, min(count, len(plan.jobs)))


def _needs(plan: Plan) -> list[str]:
    """Return what a node must see beside the results folder to do runs without anything being sent to it."""
    needs: set[Path] = set()
    for job in plan.jobs:
        needs |= {job.data_folder, *job.settings.plugins}
        if isinstance(job.weights.source, Path):
            needs.add(job.weights.source)
    return sorted(map(str, needs))


def _connect(address: str | None) -> Any:
    """Return the module ``ray``, connected.

    Raises:
        UserError: there is no such cluster, or it can't be used from here.
    """
    os.environ.update(_QUIET)
    if address is None:
        os.environ.update(_LOOPBACK_ALONE)  # read when Ray is imported
    import ray

    if ray.is_initialized():
        return ray
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        options |= {"_node_ip_address": "127.0.0.1", "include_dashboard": False, "address": "local"}
    else:
        _knock(address)
        options["address"] = address
    try:
        ray.init(**options)
    except Exception as error:  # Ray raises many kinds of them
        what = "Ray could not be started here" if address is None else f"--ray-address {address} can't be reached"
        raise UserError(f"{what}: {in_a_line(error)}.") from error
    return ray


def _knock(address: str) -> None:
    """Raise ``UserError`` where nothing listens at an address; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return  # "auto" and the like
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"--ray-address {address} can't be reached ({error}): give the address that 'ray start --head' showed."
        ) from None


class RayExecutor:
    """Runs jobs on a Ray cluster.

    Args:
        plan: of the runs.
        request: what the user asked.
        nodes: of the cluster.
        share: what each slot asks for.
        count: the most slots.
    """

    def __init__(self, plan: Plan, request: Request, nodes: Nodes, share: Share, count: int) -> None:
        self._nodes, self._share, self._count = nodes, share, count
        out, token, scratch = plan.out, uuid4().hex, request.cluster.scratch
        self._waits = request.cluster.at_once is not None
        self._mark, self._token = out.joinpath(*CLAIMS, f"seen-{token}"), token
        self._options: dict[str, Any] = {
            "cpus": share.cpus,
            "memory": share.memory,
            "timeout": request.timeout,
            "scratch": None if scratch is None else str(scratch),
            "out": str(out),
            "mark": str(self._mark),
            "needs": _needs(plan),
            "token": token,
            "command": hash_json([this_machine().partition(" ")[0], str(out)])[:16],
        }
        asked = {"num_cpus": share.cpus, "num_gpus": share.gpus, "memory": share.memory}
        self._asked = {name: value for name, value in asked.items() if value is not None}

    def execute(
        self, jobs: Iterable[Job | None], control: Control, on_event: OnEvent
    ) -> Generator[tuple[Job, Ending], None, None]:
        """Do the jobs; see :class:`~benchmark.execution.executors.base.Executor`."""
        self._mark.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._mark, self._token)
        crew = Crew(self._nodes, self._share, self._start, self._count, control, on_event, self._waits)
        try:
            yield from crew.work(JobSource(jobs, control))
        finally:
            crew.close()
            self._mark.unlink(missing_ok=True)

    def _start(self) -> Any:
        """Ask Ray for a slot; it begins where and when there is room, on a node that was not left out."""
        asked = {**self._asked, **self._nodes.elsewhere()}
        actor = self._nodes.ray.remote(Slot).options(max_concurrency=4, max_restarts=0, **asked)
        return actor.remote(**self._options)
