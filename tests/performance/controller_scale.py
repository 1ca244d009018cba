"""The controller's own time and memory over many runs, with workers that compute nothing.

    python -m tests.performance.controller_scale --runs 10000 --slots 1000

Records are real ones, of 30 epochs and 300 images; writing them is the workers' time and is not counted.
"""

import argparse
import resource
import tempfile
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import psutil

from benchmark.execution.controller import Controller
from benchmark.execution.executors.base import Control
from benchmark.execution.planning.request import Request
from benchmark.execution.progress import Display
from benchmark.records.record import Predictions
from tests.execution.fake_workers import FakeWorkers, a_plan
from tests.execution.samples import some_predictions


def predictions(images: int) -> Predictions:
    """Return predictions for so many images."""
    small = some_predictions()
    times = images // len(small.labels)
    values = {field.name: np.concatenate([getattr(small, field.name)] * times) for field in fields(Predictions)}
    names = np.array([f"image {number}.png" for number in range(times * len(small.labels))])
    return Predictions(**{**values, "image_ids": names})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--slots", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--profile", action="store_true", help="Print where the time goes.")
    asked = parser.parse_args()
    from rich.console import Console

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        plan = a_plan(out, asked.runs)
        memory = {0: psutil.Process().memory_info().rss}

        def look(ended: int) -> None:
            if ended % max(1, asked.runs // 10) == 0:
                memory[ended] = psutil.Process().memory_info().rss
                grown = (memory[ended] - memory[0]) / 2**20
                print(f"{ended:6} runs: {taken(ended)} a run, memory grown by {grown:.0f} MiB", flush=True)

        def taken(ended: int) -> str:
            whole, computing = 1000 * workers.controller_s / ended, 1000 * workers.controller_cpu_s / ended
            return f"{computing:.2f} ms of a processor, {whole:.2f} ms by the clock"

        workers = FakeWorkers(asked.slots, asked.epochs, predictions(asked.images), on_ended=look)
        began = time.perf_counter()
        with Path("/dev/null").open("w") as nowhere, Display(Console(file=nowhere), asked.runs) as display:
            controller = Controller(plan, Request(), workers, Control(), display)
            before = time.perf_counter() - began
            if asked.profile:
                import cProfile

                profile = cProfile.Profile()
                summary = profile.runcall(controller.carry_out)
                profile.print_stats("cumtime")
            else:
                summary = controller.carry_out()
        whole = time.perf_counter() - began
        assert len(summary.finished) == asked.runs
        assert summary.exit_code == 0
        print(
            f"{asked.runs} runs, {asked.slots} slots: the controller took {taken(asked.runs)} a run, and "
            f"{before:.1f} s before the first; {whole:.0f} s in all with the writing of records; peak "
            f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB, of which "
            f"{memory[0] / 2**20:.0f} were there at the beginning, with the plan"
        )


if __name__ == "__main__":
    main()
