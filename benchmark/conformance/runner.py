"""Examines backbones: a process each, results as they come."""

import json
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from backbones import Backbone
from benchmark.child_process import end, messages, start
from benchmark.conformance.report import CheckResult
from benchmark.engines import engine_of

# The slowest check of the largest built-in takes a tenth of this on two cores.
TIMEOUT_SECONDS = 1800


def usable_engine(backbone: Backbone, keras_backend: str) -> str:
    """Return the engine that runs a backbone, on another Keras backend where it does not run on this one."""
    backends = backbone.keras_backends
    return engine_of(backbone, keras_backend if keras_backend in backends else backends[0])


def examine(
    backbone: Backbone,
    plugins: Sequence[Path],
    *,
    keras_backend: str = "tensorflow",
    only: Sequence[str] = (),
    report: Callable[[CheckResult], None] = lambda result: None,
) -> list[CheckResult]:
    """Carry out the checks on one backbone in a new process.

    Args:
        backbone: declared.
        plugins: files from which the process can load it.
        keras_backend: what runs a Keras network that runs on both.
        only: names of checks; all where empty.
        report: gets each result as it comes.

    Returns:
        A result for each check; one ``error`` more where the process died.
    """
    engine = usable_engine(backbone, keras_backend)
    names = [str(path) for path in plugins]
    asked = {"backbone": backbone.name, "engine": engine, "plugins": names, "only": list(only)}
    results: list[CheckResult] = []

    def keep(result: CheckResult) -> None:
        results.append(result)
        report(result)

    with tempfile.TemporaryFile("w+") as log:
        process = start("benchmark.conformance.worker", json.dumps(asked), stdout=subprocess.PIPE, stderr=log)
        watchdog = threading.Timer(TIMEOUT_SECONDS, process.kill)
        watchdog.start()
        try:
            assert process.stdout is not None
            for result in messages(process.stdout):
                keep(CheckResult(**result))
            status = process.wait()
        finally:
            watchdog.cancel()
            end(process)
        log.seek(0)
        last = "; ".join(log.read().strip().splitlines()[-2:])
    if status != 0:
        title = "the process that checks it stays alive"
        ended = f"it ended with exit status {status}; let it neither exit nor crash, and read its last words"
        keep(CheckResult(backbone.name, "stays_alive", title, "error", f"{ended}: {last}"))
    return results
