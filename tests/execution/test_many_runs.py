"""A plan of many runs on many slots: each is done once, and what is held of each stays small."""

import gc
import tracemalloc
from pathlib import Path

from benchmark.execution.controller import Controller
from benchmark.execution.executors.base import Control
from benchmark.execution.planning.request import Request
from benchmark.records.outcomes import Outcome
from benchmark.records.results_folder import CLAIMS
from benchmark.records.store import RecordStore
from tests.execution.fake_workers import FakeWorkers, Silent, a_plan


def carry_out(out: Path, count: int, workers: FakeWorkers) -> Controller:
    controller = Controller(a_plan(out, count), Request(), workers, Control(), Silent())  # type: ignore[arg-type]
    controller.carry_out()
    return controller


def test_every_run_is_done_once_on_as_many_slots_as_there_are(tmp_path: Path) -> None:
    workers = FakeWorkers(40, fails=lambda job: job.run.seed % 50 == 7)
    done = carry_out(tmp_path, 200, workers)
    assert (workers.ended, workers.most, len(done.finished)) == (200, 40, 200)
    assert [run.outcome for run in done.finished.values()].count(Outcome.CRASHED) == 4
    assert len(RecordStore(tmp_path).read_all()) == 200
    assert not list(tmp_path.joinpath(*CLAIMS).glob("*.claim"))
    again = FakeWorkers(40)
    kept = carry_out(tmp_path, 200, again)
    assert again.ended == 4  # those that had failed
    assert sum(run.kept for run in kept.finished.values()) == 196


def test_of_a_run_that_is_done_next_to_nothing_is_held(tmp_path: Path) -> None:
    tracemalloc.start()
    held: list[int] = []

    def look(ended: int) -> None:
        if ended in (60, 260):
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])

    try:
        carry_out(tmp_path, 300, FakeWorkers(20, epochs=50, on_ended=look))
    finally:
        tracemalloc.stop()
    assert (held[1] - held[0]) / 200 < 1000  # bytes a run; a record of 50 epochs has 20,000


def test_models_are_measured_against_the_best_row_whose_seeds_are_all_done(tmp_path: Path) -> None:
    given: list[float] = []
    workers = FakeWorkers(1, on_job=lambda job: given.append(job.keep_model_from))
    carry_out(tmp_path, 10, workers)
    assert given[:5] == [0.0] * 5
    (best,) = set(given[5:])
    assert 0 < best < 1
