"""Checks one backbone in a process of its own, since a process may hold one framework only.

Started by :mod:`benchmark.conformance.examine`; prints one JSON line for each result on the real standard output,
whatever the backbone itself prints.
"""

import json
import os
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path

from backbones.registry import load_registry
from benchmark.conformance.checks import CHECKS, Check
from benchmark.conformance.report import Result
from benchmark.conformance.subject import Fault, Subject
from benchmark.outcomes import Outcome, RunFailure


def carry_out(check: Check, subject: Subject) -> Result:
    """Run one check; whatever the backbone raises becomes its result."""
    start = time.perf_counter()
    status, detail = "passed", ""
    try:
        check.run(subject)
    except Fault as fault:
        status, detail = "failed", str(fault)
    except RunFailure as failure:
        skipped = failure.outcome in (Outcome.UNSUPPORTED, Outcome.MISSING_DEPENDENCY)
        status, detail = "skipped" if skipped else "error", failure.reason
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        status, detail = (
            "error",
            f"{type(error).__name__}: {error} ({Path(place.filename).name}, line {place.lineno})",
        )
    return Result(subject.backbone.name, check.name, check.title, status, detail, time.perf_counter() - start)


def main() -> None:
    """Read one JSON argument (``backbone``, ``engine``, ``plugins``, ``only``) and carry out the checks."""
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    asked = json.loads(sys.argv[1])
    backbone = load_registry(tuple(Path(path) for path in asked["plugins"])).get(asked["backbone"])
    subject = Subject(backbone, asked["engine"])
    for check in CHECKS:
        if not asked["only"] or check.name in asked["only"]:
            events.write(json.dumps(asdict(carry_out(check, subject))) + "\n")


if __name__ == "__main__":
    main()
