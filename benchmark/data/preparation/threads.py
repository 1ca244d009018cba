"""Threads for work that frees the interpreter (decoding, resizing, hashing, NumPy on large arrays)."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Given = TypeVar("Given")
Result = TypeVar("Result")


def usable_cpus() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def thread_map(function: Callable[[Given], Result], values: Iterable[Given]) -> list[Result]:
    """Return ``function`` of each value, in order, computed on all processors."""
    with ThreadPoolExecutor(usable_cpus()) as pool:
        return list(pool.map(function, values))
