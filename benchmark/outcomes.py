"""How a run can end."""

from enum import StrEnum


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
