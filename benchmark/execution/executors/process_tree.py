"""Processes that a backbone's code starts and leaves behind: found wherever they hid, and ended."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

ATTEMPT_VARIABLE = "TUMORBOARD_ATTEMPT"
_ADOPT_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER, linux/prctl.h
_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG
_ROUNDS = 10  # a process that forks while it is being ended is looked for again


def adopt_orphans() -> None:
    """Become the parent of descendants whose parents die, so that a daemon stays findable; on Linux, else nothing."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_ADOPT_ORPHANS, 1, 0, 0, 0)


def go_on_without_parent() -> None:
    """Let the kernel wake this process where its parent dies while it is paused: it then sees that, and ends. On
    Linux, else nothing.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, int(signal.SIGCONT), 0, 0, 0)


def be_first_to_go() -> None:
    """Let the kernel choose this process and its children where memory runs out, and not the harness or others."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def descendants(pid: int | None = None) -> list[psutil.Process]:
    """Return all that a process, by default this one, started and that still has it as an ancestor."""
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def with_attempt(attempt: str) -> list[psutil.Process]:
    """Return the processes whose environment names an attempt, whoever their parents are."""
    named = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get(ATTEMPT_VARIABLE) == attempt:
                named.append(process)
    return named


def end_tree(process: "subprocess.Popen[bytes]", attempt: str, spared: Callable[[], set[int]]) -> int:
    """End a process with all that it started, what bears its attempt's name, and orphans that were adopted; return
    its exit code.

    Args:
        process: started for the attempt.
        attempt: the id of the attempt, which the environment of the process and of its children has.
        spared: tells the ids of this process's descendants that are not the attempt's.
    """
    started = descendants(process.pid) if process.poll() is None else []
    process.kill()
    code = process.wait()
    for _ in range(_ROUNDS):
        processes = descendants()
        others = spared()  # asked after that list, so that what was started meanwhile is among them
        orphans = [each for each in processes if each.pid not in others]
        running = list({each.pid: each for each in (*started, *orphans, *with_attempt(attempt))}.values())
        if not running:
            break
        for each in running:
            with contextlib.suppress(psutil.Error):
                each.kill()
        psutil.wait_procs(running, timeout=5)
        started = []
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    return code
