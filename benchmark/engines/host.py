"""The machine that an engine runs on, without any framework."""

import platform
import sys
from pathlib import Path

import psutil


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


def memory_bytes() -> int:
    """Return the memory of the machine."""
    return int(psutil.virtual_memory().total)


def peak_bytes() -> int:
    """Return the process's peak resident memory."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) * (1 if sys.platform == "darwin" else 1024)
