"""How many threads compute one operation: all on a quiet machine, the fastest number on a busy one."""

from typing import Any

import pytest

from benchmark.records.record import Epoch
from benchmark.training.threads import Watch, choose_threads, has_slowed


class Machine:
    """A processor on which a step takes so many seconds with each number of threads."""

    def __init__(self, seconds: dict[int, float], taken: float) -> None:
        self.seconds, self.taken, self.threads = seconds, taken, 0
        self.measured: list[int] = []

    def choose(self, asked: int | str = "auto", *, fixed: bool = False) -> str:
        def pace() -> float:
            self.measured.append(self.threads)
            return self.seconds[self.threads]

        def set_threads(count: int) -> None:
            self.threads = count

        return choose_threads(
            tuple(self.seconds), asked, fixed=fixed, set_threads=set_threads, pace=pace, others=lambda: self.taken
        )


def test_a_quiet_machine_measures_nothing_and_uses_all() -> None:
    machine = Machine({4: 1.0, 2: 0.5, 1: 0.1}, taken=0.1)
    assert machine.choose() == "4 (nothing else keeps the processor busy)"
    assert (machine.threads, machine.measured) == (4, [])


def test_a_busy_machine_uses_the_fastest_number() -> None:
    machine = Machine({2: 0.72, 1: 0.13}, taken=1.04)
    assert machine.choose() == "1 (others kept 1.0 cores busy: 720 ms a step with 2, 130 ms a step with 1)"
    assert machine.threads == 1


def test_a_small_gain_is_not_worth_other_sums() -> None:
    machine = Machine({2: 0.10, 1: 0.09}, taken=0.5)
    assert machine.choose().startswith("2 (others kept")
    assert machine.threads == 2


@pytest.mark.parametrize(("asked", "fixed", "threads"), [(1, False, 1), (1, True, 1), ("auto", True, 2)])
def test_a_number_that_is_asked_for_or_fixed_is_not_measured(asked: Any, fixed: bool, threads: int) -> None:
    machine = Machine({2: 0.72, 1: 0.13}, taken=1.0)
    machine.choose(asked, fixed=fixed)
    assert (machine.threads, machine.measured) == (threads, [])


def test_an_epoch_that_takes_far_longer_than_the_fastest_asks_anew() -> None:
    def lines(*seconds: float) -> list[Epoch]:
        return [
            Epoch(epoch=number, learning_rate=0.1, train_loss=1, val_loss=1, val_macro_f1=0, seconds=each)
            for number, each in enumerate(seconds, start=1)
        ]

    assert not has_slowed(lines(9.0))
    assert not has_slowed(lines(9.0, 5.0, 6.0))
    assert has_slowed(lines(9.0, 5.0, 10.0))


def test_a_watch_counts_what_others_take_and_not_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    busy, own, wall = [100.0], [10.0], [0.0]
    monkeypatch.setattr("benchmark.training.threads._busy_seconds", lambda: busy[0])
    monkeypatch.setattr("time.process_time", lambda: own[0])
    monkeypatch.setattr("time.perf_counter", lambda: wall[0])
    watch = Watch()
    busy[0], own[0], wall[0] = 119.0, 16.0, 10.0  # 19 seconds of cores in 10 seconds, 6 of them its own
    assert watch.cores_taken_by_others() == pytest.approx(1.3)
