"""Copies of this process, which do something beside it: they share its memory until one of the two writes there."""

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
    """Start a copy of this process that does something and ends, with exit code 0 unless that raises.

    It prints nothing, and ends with this process, however that ends.

    Returns:
        The number of its process; ``None`` where it can't start.
    """
    parent = os.getpid()
    # none may be handled in the copy before it is cut off from what the caller does
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        child = os.fork()
    except OSError:  # no room for another process
        child = None
    if child != 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return child
    code = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it has ended already
            return None
        with Path(os.devnull).open("w") as nowhere:
            # the locks of the old ones may have been held by a thread that the copy has not
            sys.stdout = sys.stderr = nowhere
            work()
            code = 0
    finally:
        os._exit(code)  # nothing of the caller's goes on in the copy


def end_copy(child: int) -> None:
    """End a copy whose work is not needed any more."""
    with suppress(ProcessLookupError, ChildProcessError):  # it has ended, and was waited for
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
