"""The Ray executor: worker processes on the nodes of a Ray cluster, or on this machine's GPUs through Ray.

Each slot of the cluster (:mod:`~benchmark.execution.executors.ray_slot`) does one run after another; the crew of a
command (:mod:`~benchmark.execution.executors.ray_crew`) is its slots.
"""

import logging
import os
import socket
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from benchmark.atomic_files import write_atomically
from benchmark.errors import UserError
from benchmark.execution.executors.base import Control, Ending, OnEvent
from benchmark.execution.executors.node import Installation, installation
from benchmark.execution.executors.ray_crew import Crew, in_a_line
from benchmark.execution.executors.ray_slot import Slot
from benchmark.execution.planning.cluster import Cluster
from benchmark.execution.worker.job import Job
from benchmark.hashing import hash_json
from benchmark.host import this_machine
from benchmark.records.results_folder import CLAIMS

if TYPE_CHECKING:
    from benchmark.execution.planning.plan import Plan
    from benchmark.execution.planning.request import Request

_KNOCK_SECONDS = 10.0
_LOOK_SECONDS = 120.0  # for which a node is waited for that does not say what is installed there
# Ray listens on all interfaces where it thinks of a cluster, whatever address it is given.
_LOOPBACK_ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_NO_REPORTS = {"RAY_USAGE_STATS_ENABLED": "0"}


@dataclass(frozen=True)
class Share:
    """What a slot asks for.

    Args:
        cpus, gpus: how many.
        memory: bytes, ``None`` for no claim.
    """

    cpus: int
    gpus: int
    memory: int | None

    @classmethod
    def of(cls, cluster: Cluster, nodes: Sequence[Mapping[str, float]], *, on_gpu: bool) -> "Share":
        """Return what each slot asks for: what the user said, else an even share of the smallest node."""
        gpus = int(on_gpu) if cluster.gpus is None else cluster.gpus
        cores = [int(node.get("CPU", 0)) // max(1, int(node.get("GPU", 0)) * gpus) for node in nodes
                 if node.get("CPU", 0) >= 1 and node.get("GPU", 0) >= gpus]  # fmt: skip
        return cls(cluster.cpus or max(1, min(cores, default=1)), gpus, cluster.memory)

    def fits(self, node: Mapping[str, float]) -> int:
        """Return how many such slots a node has room for."""
        asked = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory or 0}
        return min(int(node.get(name, 0) // count) for name, count in asked.items() if count)

    def __str__(self) -> str:
        words = [f"{self.cpus} core{'s' * (self.cpus != 1)}"] + ["1 GPU"] * self.gpus
        return " and ".join(words + ([f"{self.memory / 1e9:.3g} GB"] if self.memory else []))


def ray_executor(plan: "Plan", request: "Request") -> "RayExecutor":
    """Return the executor of a plan's runs on a Ray cluster, connected, its nodes looked at.

    Raises:
        UserError: the cluster can't be reached, no node has room for a run, or a node has other versions.
    """
    cluster = request.cluster
    ray = _connect(cluster.ray_address)
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    share = Share.of(cluster, nodes, on_gpu=any(job.run.device_kind == "cuda" for job in plan.jobs))
    room = sum(share.fits(node) for node in nodes)
    if not room and cluster.at_once is None:
        raise UserError(
            f"No node of the Ray cluster has {share}, which a run asks for: ask for less in a file for --cluster, or "
            f"give at_once there if nodes will come."
        )
    count = cluster.at_once or room
    _check_nodes(ray)
    return RayExecutor(ray, plan.out, cluster, share, min(count, len(plan.jobs)), request.timeout, _needs(plan))


def _needs(plan: "Plan") -> list[str]:
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
    os.environ.update(_NO_REPORTS)
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


def _check_nodes(ray: Any) -> None:
    """Raise ``UserError`` where what is installed on a node is not what is installed here."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here, asked = installation(), {}
    for node in ray.nodes():
        if node["Alive"] and node["Resources"].get("CPU", 0) >= 1:
            where = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
            look = ray.remote(_look).options(num_cpus=0, max_retries=0, scheduling_strategy=where)
            asked[look.remote()] = node["NodeManagerHostname"]
    for answer, name in asked.items():
        try:
            different = here.different_on(Installation.of(ray.get(answer, timeout=_LOOK_SECONDS)))
        except ray.exceptions.RayTaskError as error:
            raise UserError(f"The node {name} can't be used: {in_a_line(error)}.") from error
        except ray.exceptions.RayError:
            continue  # it is lost, and Ray has not noticed yet; each slot looks again where it begins
        if different:
            raise UserError(different)


def _look() -> dict[str, Any]:
    return installation().values()


class RayExecutor:
    """Runs jobs on a Ray cluster.

    Args:
        ray: the module, connected.
        out: the results folder.
        cluster: what the user said of it.
        share: what each slot asks for.
        count: the most slots.
        timeout: the most seconds that one run may take, ``None`` for no limit.
        needs: what a node must see beside the results folder to work in it: images, plug-ins, weights.
    """

    def __init__(
        self,
        ray: Any,
        out: Path,
        cluster: Cluster,
        share: Share,
        count: int,
        timeout: float | None,
        needs: Sequence[str],
    ) -> None:
        self._ray, self._out, self._count = ray, out, count
        token = uuid4().hex
        self._mark, self._token = out.joinpath(*CLAIMS, f"seen-{token}"), token
        self._options: dict[str, Any] = {
            "cpus": share.cpus if cluster.cpus else None,
            "memory": cluster.memory,
            "timeout": timeout,
            "scratch": None if cluster.scratch is None else str(cluster.scratch),
            "out": str(out),
            "mark": str(self._mark),
            "needs": needs,
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
        crew = Crew(self._ray, self._start, self._count, control, on_event)
        try:
            yield from crew.work(iter(jobs))
        finally:
            crew.close()
            self._mark.unlink(missing_ok=True)

    def _start(self) -> Any:
        """Ask Ray for a slot; it begins where and when there is room."""
        actor = self._ray.remote(Slot).options(max_concurrency=4, max_restarts=0, **self._asked)
        return actor.remote(**self._options)
