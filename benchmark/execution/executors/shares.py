"""Which runs go into one job of a queue."""

from collections.abc import Sequence

from benchmark.execution.executors.worker_process import worker_key
from benchmark.execution.worker.job import Job


def shares(jobs: Sequence[Job], at_once: int | None) -> list[tuple[Job, ...]]:
    """Return the runs of each job of an array: those that can share a worker, each behind the one from which it
    continues. More jobs than can be done at once are made only where workers can't be shared.

    Args:
        jobs: in the order of the plan.
        at_once: how many jobs may go on at a time; ``None`` where there is no such bound.
    """
    roots: dict[str, str] = {}
    chains: dict[str, list[Job]] = {}
    for job in jobs:
        parent = job.run.init_from
        roots[job.key] = root = job.key if parent is None or parent not in roots else roots[parent]
        chains.setdefault(root, []).append(job)
    groups: dict[tuple[object, ...], list[list[Job]]] = {}
    for chain in chains.values():
        groups.setdefault(worker_key(chain[0]), []).append(chain)
    parts = max(1, (at_once or 0) // len(groups)) if groups else 1
    made = []
    for group in groups.values():
        for first in range(min(parts, len(group))):
            made.append(tuple(job for chain in group[first::parts] for job in chain))
    return made


def ancestors(share: Sequence[Job], planned: Sequence[Job]) -> list[Job]:
    """Return the runs outside a share from which its runs continue, each behind its own.

    Args:
        share: the runs of one job of the queue.
        planned: all runs of the plan.
    """
    by_key, inside = {job.key: job for job in planned}, {job.key for job in share}
    found: dict[str, Job] = {}
    for job in share:
        line = []
        parent = by_key.get(job.run.init_from or "")
        while parent is not None and parent.key not in inside:
            line.append(parent)
            parent = by_key.get(parent.run.init_from or "")
        found |= {each.key: each for each in reversed(line)}
    return list(found.values())
