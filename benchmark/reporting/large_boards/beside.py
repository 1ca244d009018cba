"""Work that is done in a process of its own while this one goes on: drawing keeps the interpreter to itself."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmark.data.preparation.threads import usable_cpus

# Libraries whose threads a copy of the process would miss.
_WITH_THREADS = ("mlflow", "ray", "tensorflow", "torch", "wandb")
_PR_SET_PDEATHSIG = 1  # of prctl(2): the signal that a process gets when the one that started it ends


def can_work_beside() -> bool:
    """Return whether this process can be copied, and a processor is free for the copy."""
    return sys.platform == "linux" and usable_cpus() > 1 and not any(name in sys.modules for name in _WITH_THREADS)


@contextmanager
def done_beside(work: Callable[[], object], *, beside: bool) -> Iterator[None]:
    """Have something done while the block goes on, at the latest when it ends.

    A copy of this process does it, which shares its memory until one of the two writes there, and leaves nothing but
    the files that it writes. Where that fails for whatever reason it is done here, so that errors are raised here.

    Args:
        work: what is to be done; it prints nothing.
        beside: whether a copy may do it; else it is done here, after the block.
    """
    child = start_copy(work) if beside else None
    try:
        yield
        done = child is not None and os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    except BaseException:
        if child is not None:
            end_copy(child)
        raise
    if not done:
        work()


def start_copy(work: Callable[[], object]) -> int | None:
    """Start a copy of this process that does something and ends; return its number, ``None`` where it can't start."""
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
    """End a copy whose work is not wanted any more."""
    with suppress(ProcessLookupError, ChildProcessError):  # it has ended, and was waited for
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
