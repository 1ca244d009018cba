"""Checks one backbone in a process of its own, since a process may hold one framework only.

Started by :mod:`benchmark.conformance.runner`; prints one JSON line for each result on the real standard output,
whatever the backbone itself prints.
"""

import inspect
import time
import traceback
from dataclasses import asdict
from pathlib import Path

from backbones import Backbone
from benchmark.child_process import send
from benchmark.conformance.checks import CHECKS, Check
from benchmark.conformance.fixture import Fault, Subject, subject_asked_for
from benchmark.conformance.report import CheckResult
from benchmark.dependencies import how_to_install
from benchmark.engines import engine_entry
from benchmark.records.outcomes import Outcome, RunFailure, outcome_of

_SKIPPED = (Outcome.UNSUPPORTED, Outcome.MISSING_DEPENDENCY)


def carry_out(check: Check, subject: Subject) -> CheckResult:
    """Run one check; whatever the backbone raises becomes its result."""
    start = time.perf_counter()
    status, detail = "passed", ""
    try:
        detail = check.run(subject) or ""
    except Fault as fault:
        status, detail = "failed", str(fault)
    except RunFailure as failure:
        status, detail = ("skipped" if failure.outcome in _SKIPPED else "error"), failure.reason
    except Exception as error:
        _, reason = outcome_of(error, shut_out=engine_entry(subject.engine).excludes)
        status = "error"
        detail = (
            f"{reason.rstrip('.')} ({_place(error, subject.backbone)}): let it build, predict and train at "
            f"{subject.size} px and at its declared size, or say with `unsupported` why it can't here"
        )
    return CheckResult(subject.backbone.name, check.name, check.title, status, detail, time.perf_counter() - start)


def _place(error: Exception, backbone: Backbone) -> str:
    """Return where an exception arose, for people: in the backbone's own file where it came by there."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == inspect.getsourcefile(backbone.build)]
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name}, line {frame.lineno}"


def why_not(backbone: Backbone) -> str:
    """Return why a backbone can't be checked here, empty where it can: what it says itself, or lacks."""
    missing = backbone.missing_modules()
    if missing:
        return f"not installed: {', '.join(missing)}; {how_to_install(missing)} and check again"
    return (backbone.unsupported() if backbone.unsupported else None) or ""


def main() -> None:
    """Read one JSON argument (``backbone``, ``engine``, ``plugins``, ``only``) and carry out the checks."""
    subject, asked, events = subject_asked_for()
    reason = why_not(subject.backbone)
    for check in CHECKS:
        if not asked["only"] or check.name in asked["only"]:
            skipped = CheckResult(subject.backbone.name, check.name, check.title, "skipped", reason)
            send(events, asdict(skipped if reason else carry_out(check, subject)))


if __name__ == "__main__":
    main()
