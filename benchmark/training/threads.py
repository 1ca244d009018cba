"""How many threads compute one operation: all there are, unless other programs keep cores busy.

Threads of one operation wait for each other, so that one core taken away slows all of them: on two cores, one other
process of low priority took EfficientNet-Lite0 from 385 to 44 images a second with two threads, and to 249 with one.
On a quiet machine nothing is measured and nothing changes, results included: another number of threads may add the
same numbers up in another order.
"""

import time
from collections.abc import Callable, Sequence

import psutil

from benchmark.records.record import Epoch

_LOOK_SECONDS = 0.25
BUSY_CORES = 0.3  # taken by others: less is the system's own
_WORTH_CHANGING = 1.2  # so many times as fast must fewer threads be
_SLOWED = 1.7  # so many times the seconds of the fastest epoch

Counts = Sequence[int]


def cores_taken_by_others() -> float:
    """Return how many cores other processes keep busy, watched for a moment in which this one rests."""
    watch = Watch()
    time.sleep(_LOOK_SECONDS)
    return watch.cores_taken_by_others()


class Watch:
    """Watches from its making on how busy the machine is beside this process."""

    def __init__(self) -> None:
        self._busy, self._own, self._start = _busy_seconds(), time.process_time(), time.perf_counter()

    def cores_taken_by_others(self) -> float:
        """Return the mean number of cores that other processes kept busy since then."""
        wall = time.perf_counter() - self._start
        taken = _busy_seconds() - self._busy - (time.process_time() - self._own)
        return max(0.0, taken / wall) if wall > 0 else 0.0


def _busy_seconds() -> float:
    """Return the seconds that all cores together were busy since the machine started, low priority included."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    return float(sum(times[:8]) - idle)  # what follows on Linux is counted among the first already


def choose_threads(
    counts: Counts,
    asked: int | str,
    *,
    fixed: bool,
    set_threads: Callable[[int], None],
    pace: Callable[[], float],
    others: Callable[[], float] = cores_taken_by_others,
) -> str:
    """Return the number of threads with the reason for it, and leave the engine so set.

    Args:
        counts: among which to choose, the usual first.
        asked: the recipe's: ``auto``, or a number.
        fixed: whether arithmetic must be repeatable, and nothing may be measured.
        set_threads: sets the engine's.
        pace: measures the seconds of a training step, and leaves weights as they were.
        others: says how many cores other processes keep busy.
    """
    usual = counts[0]
    if asked != "auto":
        set_threads(int(asked))
        return f"{asked} (as asked)"
    if fixed or len(counts) == 1:
        set_threads(usual)
        return str(usual)
    taken = others()
    if taken < BUSY_CORES:
        set_threads(usual)
        return f"{usual} (nothing else keeps the processor busy)"
    seconds = {}
    for count in counts:
        set_threads(count)
        seconds[count] = pace()
    best = min(counts, key=lambda count: seconds[count])
    best = best if seconds[usual] >= _WORTH_CHANGING * seconds[best] else usual
    set_threads(best)
    measured = ", ".join(f"{1000 * seconds[count]:.0f} ms a step with {count}" for count in counts)
    return f"{best} (others kept {taken:.1f} cores busy: {measured})"


def has_slowed(history: Sequence[Epoch]) -> bool:
    """Return whether the last epoch took far longer than the fastest, so that the threads are to be chosen anew."""
    if len(history) < 2:
        return False
    return history[-1].seconds > _SLOWED * min(line.seconds for line in history[:-1])
