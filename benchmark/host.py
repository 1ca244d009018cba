"""This machine: its name, whether a process of it still lives, its processor and memory, which libraries it has."""

import os
import platform
import sys
import uuid
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

_CLOCK_STEP = 1.0  # seconds by which a process's start may seem to move when the clock is set


def this_machine() -> str:
    """Return a name that two processes share only where each can see whether the other lives.

    A host's name is not enough: machines are cloned, and containers of one host see their own processes only. On
    Linux the boot and the process namespace are part of it.
    """
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts if len(parts) == 3 else [platform.node(), f"{uuid.getnode():x}"])


def started_at(pid: int | None = None) -> float:
    """Return when a process of this machine began, by default this one, in seconds since 1970; 0 where it is gone."""
    try:
        process = psutil.Process(os.getpid() if pid is None else pid)
        return 0.0 if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return 0.0


def lives(pid: int, began: float) -> bool | None:
    """Return whether a process of this machine lives; ``None`` where another may have got its number since."""
    started = started_at(pid)
    if not started:
        return False
    return True if abs(started - began) <= _CLOCK_STEP else None


def installed_versions(libraries: Iterable[str]) -> dict[str, str]:
    """Return the version of each of some distributions that is installed."""
    versions = {}
    for name in libraries:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def processor() -> str:
    """Return the processor's model, as the system calls it."""
    return _of_processor("model name") or platform.processor() or platform.machine()


def multiplies_bfloat16() -> bool:
    """Return whether the processor multiplies in bfloat16 natively: AVX512-BF16 or AMX, as Linux tells it."""
    flags = _of_processor("flags").split()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _of_processor(field: str) -> str:
    """Return a field of the first processor as Linux tells it, empty where it does not."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")


def halvings(count: int) -> tuple[int, ...]:
    """Return ``count`` and its halves down to 1."""
    return (count, *(halvings(count // 2) if count > 1 else ()))


def peak_bytes() -> int:
    """Return the process's peak resident memory."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) * (1 if sys.platform == "darwin" else 1024)
