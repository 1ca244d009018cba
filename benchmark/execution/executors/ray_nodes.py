"""The nodes of a Ray cluster: what is installed on each is looked at, and those that are not fit are left out."""

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmark.execution.executors.node import Installation, installation
from benchmark.execution.planning.cluster import Cluster
from benchmark.text import plain

LOOK_SECONDS = 120.0  # for which the first nodes are waited for to say what is installed there
AGAIN_SECONDS = 5.0  # between two looks for nodes that came
_MOST_FAILURES = 2  # of a look at a node that is there, after which it is left out


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


class Nodes:
    """Which nodes of a cluster may do runs: those whose Python, TumorBoard and libraries are those of the command.

    Args:
        ray: the module, connected.
    """

    def __init__(self, ray: Any) -> None:
        self.ray, self._here = ray, installation()
        self._seen: set[str] = set()  # Ray's names of the nodes that were asked
        self._asked: dict[Any, tuple[str, str]] = {}  # by Ray's reference to the answer: the node, and its machine
        self._failures: Counter[str] = Counter()
        self._untold: list[str] = []
        self._looked_at = -math.inf
        self.left_out: dict[str, str] = {}  # why, by Ray's name of the node

    def look(self, seconds: float = 0.0) -> None:
        """Ask nodes that came what is installed there, and take note of what they answer.

        Args:
            seconds: for which answers are waited for; without waiting it looks every few seconds only.
        """
        if seconds or time.monotonic() - self._looked_at >= AGAIN_SECONDS:
            self._looked_at = time.monotonic()
            self._ask()
        if self._asked:
            answered, _ = self.ray.wait(list(self._asked), num_returns=len(self._asked), timeout=seconds)
            for ref in answered:
                self._take(ref)

    def news(self) -> list[str]:
        """Return a sentence for each node that was left out since the last question."""
        sentences, self._untold = self._untold, []
        return sentences

    def _ask(self) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        for node in self.ray.nodes():
            name = node["NodeID"]
            if node["Alive"] and node["Resources"].get("CPU", 0) >= 1 and name not in self._seen:
                where = NodeAffinitySchedulingStrategy(node_id=name, soft=False)
                look = self.ray.remote(_look).options(num_cpus=0, max_retries=0, scheduling_strategy=where)
                self._asked[look.remote()] = name, node["NodeManagerHostname"]
                self._seen.add(name)

    def _take(self, ref: Any) -> None:
        """Take note of an answer."""
        node, machine = self._asked.pop(ref)
        try:
            self.is_fit(node, Installation(**self.ray.get(ref)))
        except self.ray.exceptions.RayError as error:
            self._failures[node] += 1
            if isinstance(error, self.ray.exceptions.RayTaskError) or self._failures[node] >= _MOST_FAILURES:
                self.leave_out(node, f"The node {machine} can't be used: {in_a_line(error)}.")
            else:  # it is lost, and Ray has not noticed yet; if it is there, it is asked again
                self._seen.discard(node)

    def is_fit(self, node: str, there: Installation) -> bool:
        """Return whether a node may do runs, by what is installed there; leave it out where it may not."""
        different = self._here.different_on(there)
        if different:
            self.leave_out(node, different)
        return not different

    def leave_out(self, node: str, why: str) -> None:
        """Place no run on a node any more.

        Args:
            node: Ray's name of it.
            why: a sentence.
        """
        if node not in self.left_out:
            self.left_out[node] = plain(why)
            self._untold.append(f"{plain(why)} It is left out: no run is placed there.")

    def fit(self) -> list[Mapping[str, float]]:
        """Return what each node has that is there and was not left out."""
        nodes = self.ray.nodes()
        return [node["Resources"] for node in nodes if node["Alive"] and node["NodeID"] not in self.left_out]

    def room(self, share: Share) -> int:
        """Return how many slots these have room for."""
        return sum(share.fits(node) for node in self.fit())

    def elsewhere(self) -> dict[str, Any]:
        """Return Ray's option that places something on another node than those that were left out."""
        if not self.left_out:
            return {}
        return {"label_selector": {"ray.io/node-id": f"!in({', '.join(self.left_out)})"}}


def _look() -> dict[str, Any]:
    return asdict(installation())


def in_a_line(error: BaseException) -> str:
    """Return what an error says in one clause; of what was raised on a node, what was raised and not where."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    raised_there = any(line.startswith(("Traceback", "ray::")) or "ray::" in line for line in lines)
    return plain(lines[-1 if raised_there else 0]).rstrip(".:")
