"""How a run can end; and from what went wrong to an outcome and one sentence that says what to do."""

import errno
import re
import signal
from collections.abc import Sequence
from enum import StrEnum

from backbones import MissingWeights
from benchmark.dependencies import how_to_install

# Names are compared, not classes: naming the classes would import their frameworks.
_MEMORY_ERRORS = ("MemoryError", "OutOfMemoryError", "ResourceExhaustedError")
_MEMORY_WORDS = re.compile(r"out of memory|can't allocate memory|cannot allocate memory|failed to allocate", re.I)
_NO_NETWORK = re.compile(
    r"URL fetch failure|couldn't connect|connection error|name resolution|offline mode|urlopen error|max retries",
    re.I,
)
_DISK_FULL = re.compile(r"no space left on device|disk quota exceeded", re.I)  # safetensors only says so
_LONGEST = 300

_OOM_ADVICE = "use a smaller --batch-size or --size"


class Outcome(StrEnum):
    """The end of a run. Only ``OK`` counts as done: every other outcome is shown and tried again."""

    OK = "ok"
    ERROR = "error"  # an exception
    CRASHED = "crashed"  # a signal, or a process that left without a word
    OOM = "oom"
    TIMEOUT = "timeout"
    DIVERGED = "diverged"
    MISSING_DEPENDENCY = "missing_dependency"
    MISSING_WEIGHTS = "missing_weights"
    BAD_DATA = "bad_data"
    UNSUPPORTED = "unsupported"
    INTERRUPTED = "interrupted"

    @property
    def advice(self) -> str:
        """What to do about it, one sentence; empty for ``ok``."""
        return _ADVICE.get(self, "")


_ADVICE = {
    Outcome.ERROR: "Mend what the last lines of its log name, and give the same command again.",
    Outcome.CRASHED: "Its code or a library ended the process: see the last lines of its log, and try it alone.",
    Outcome.OOM: "Give a smaller --batch-size or --size.",
    Outcome.TIMEOUT: "Give the same command again to go on from the last epoch, or a longer --timeout.",
    Outcome.DIVERGED: "Give a lower --learning-rate, or look at what the network makes of its input.",
    Outcome.MISSING_DEPENDENCY: "Install what is missing and give the same command again.",
    Outcome.MISSING_WEIGHTS: "Give --weights none or a file, or --allow-scratch; or mend the run that it continues.",
    Outcome.BAD_DATA: "Look at the images with 'python -m benchmark data SOURCE --audit'.",
    Outcome.UNSUPPORTED: "It does not apply here; leave it out.",
    Outcome.INTERRUPTED: "Give the same command again to go on from the last epoch.",
}


class RunFailure(Exception):
    """Ends a run with a known outcome and a one-sentence reason.

    Args:
        outcome: any outcome but ``ok``.
        reason: one sentence that goes into the run's row.
    """

    def __init__(self, outcome: Outcome, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.reason = reason


def outcome_of(error: BaseException, shut_out: Sequence[str] = ()) -> tuple[Outcome, str]:
    """Return the outcome and the reason for what was raised during a run.

    Args:
        error: what was raised.
        shut_out: the packages that must not be imported in this process.
    """
    if isinstance(error, RunFailure):
        return error.outcome, error.reason
    name, message = type(error).__name__, _first_line(error)
    if isinstance(error, MissingWeights):
        return Outcome.MISSING_WEIGHTS, message
    if isinstance(error, SystemExit):
        return Outcome.CRASHED, f"The backbone's code ended the process (SystemExit: {error.code})."
    if name in _MEMORY_ERRORS or (isinstance(error, RuntimeError) and _MEMORY_WORDS.search(str(error))):
        return Outcome.OOM, f"Out of memory ({message or name}); {_OOM_ADVICE}."
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        if package in shut_out:
            return (
                Outcome.ERROR,
                f"The backbone's code imports {package} beside the other framework; import one only.",
            )
        mend = how_to_install([error.name])
        return Outcome.MISSING_DEPENDENCY, f"The module {error.name} is not installed; {mend} and try again."
    if isinstance(error, ImportError):
        return Outcome.MISSING_DEPENDENCY, f"An import failed ({message}); mend the installation and try again."
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or _DISK_FULL.search(str(error)):
        return Outcome.ERROR, f"The disk is full ({message}); free some space and give the same command again."
    return Outcome.ERROR, f"{name}: {message}" if message else f"{name}, without a message"


def unreachable(error: BaseException) -> bool:
    """Return whether an error says that the network could not be reached."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    return any(isinstance(link, ConnectionError) or _NO_NETWORK.search(str(link)) for link in chain)


def outcome_of_exit(code: int, oom_killed: bool) -> tuple[Outcome, str]:
    """Return the outcome of a worker that ended without leaving a record.

    Args:
        code: exit code, negative for a signal (as :mod:`subprocess` has it).
        oom_killed: whether the kernel killed some process for want of memory meanwhile.
    """
    if code >= 0:
        return Outcome.CRASHED, f"The worker left without a word (exit code {code})."
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if name == "SIGKILL" and oom_killed:
        return Outcome.OOM, f"The system ran out of memory and killed the worker (SIGKILL); {_OOM_ADVICE}."
    if name == "SIGKILL":
        return Outcome.CRASHED, f"The worker was killed (SIGKILL), likely for want of memory; {_OOM_ADVICE}."
    return Outcome.CRASHED, f"The worker was ended by {name}; see its log."


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    first = re.sub(r"[\x00-\x1f\x7f]", " ", lines[0]) if lines else ""
    return first if len(first) <= _LONGEST else first[: _LONGEST - 1] + "…"
