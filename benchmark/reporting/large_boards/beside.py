"""A copy of this process, which shares its memory until one of the two writes there, and works beside it."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from benchmark.data.preparation.threads import usable_cpus

# Libraries whose threads a copy of the process would miss.
_WITH_THREADS = ("mlflow", "ray", "tensorflow", "torch", "wandb")
_PR_SET_PDEATHSIG = 1  # of prctl(2): the signal that a process gets when the one that started it ends


def can_work_beside() -> bool:
    """Return whether this process can be copied, and a processor is free for the copy."""
    return sys.platform == "linux" and usable_cpus() > 1 and not any(name in sys.modules for name in _WITH_THREADS)


def start_copy(work: Callable[[], object]) -> int | None:
    """Start a copy of this process that does something and ends; return its number, ``None`` where it can't start.

    Args:
        work: is done there; nothing that it prints is seen.
    """
    try:
        child = os.fork()
    except OSError:  # no room for another process
        return None
    if child:
        return child
    code = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        with Path(os.devnull).open("w") as nowhere:
            # the locks of the old ones may have been held by a thread that the copy has not
            sys.stdout = sys.stderr = nowhere
            work()
            code = 0
    finally:
        os._exit(code)  # nothing of the caller's goes on in the copy


def end_copy(child: int) -> None:
    """End a copy, where it has not ended, and wait for it."""
    with suppress(ProcessLookupError, ChildProcessError):  # it has ended, and was waited for
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
