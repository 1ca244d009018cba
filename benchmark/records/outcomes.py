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
