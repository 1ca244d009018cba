"""The memory of a process that computes: held while it does, given back before a worker's next run, so that a used
process is as good as new.
"""

import contextlib
import ctypes
import gc
import platform
import sys
from pathlib import Path

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of glibc's mallopt


def hold_memory() -> None:
    """Let the process keep the memory that it frees, until :func:`give_memory_back` if ever; glibc only.

    Otherwise each large array that a step frees goes back to the system, which must clear every page of the next
    step's anew: up to half the time of a network in torch on the CPU. TensorFlow gains little. The peak
    of memory grows by up to a tenth.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_MAX, 0)
        libc.mallopt(_TRIM_THRESHOLD, -1)  # never by itself


def give_memory_back() -> None:
    """Free what a run that is over held in the process, and count the peak of memory anew.

    What its framework holds is the engine's to free, before.
    """
    gc.collect()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak is what is resident now
