"""How long ``leaderboard DIR`` takes on many rows, and how much memory.

    python tests/performance/board_speed.py make DIR [--rows 1000] [--seeds 1] [--images 1000] [--first-row 0]
    python tests/performance/board_speed.py time DIR [--profile FILE]

``make`` writes records of simulated runs through the record store, valid and with their arrays, into a results
folder: for each row a backbone of its own, seven of twelve pretrained, so that there are two blocks. Given again with
more rows or seeds it adds what is not there yet. ``time`` runs the command in a process of its own and prints its
seconds, its peak memory and the sizes of what it wrote; what is in the user's cache is found there, so name an empty
one (``TUMORBOARD_CACHE``) to have all computed. With ``--profile`` it runs under cProfile and prints the
functions that take most.
"""

import argparse
import os
import pstats
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "reporting"))
from simulated import TWELVE, Reader, Study

from benchmark.records.store import RecordStore, short

SHOWN = 60  # functions of a profile


def reader(number: int) -> Reader:
    """Return the simulated backbone of a row: a network of its own, as good as the draw has it."""
    kind = TWELVE[number % len(TWELVE)]
    own = np.random.default_rng(number)
    return replace(
        kind,
        name=f"{kind.name}_{number:04d}",
        skill=float(np.clip(kind.skill - 0.4 + own.normal(0, 0.6), 0.8, 9.0)),
        infer=kind.infer * float(np.exp(own.normal(0, 0.3))),
        memory_mb=kind.memory_mb * float(np.exp(own.normal(0, 0.2))),
    )


def make(out: Path, rows: range, seeds: int, images: int) -> None:
    """Write the records of rows that are not there yet."""
    study, store = Study(patients=images, slices=1, grouped=False), RecordStore(out)
    for number in rows:
        for seed in range(seeds):
            record, predictions = study.run(reader(number), seed)
            if not (store.folder / short(record.key)).is_dir():
                store.write(record, predictions)


def watch_memory(pid: int, memory: list[float], ended: threading.Event) -> None:
    """Note in MiB what a process and its children hold together, what they share counted once, until it has ended."""
    while not ended.wait(0.5):
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            texts = [Path(f"/proc/{each}/smaps_rollup").read_text() for each in (str(pid), *children)]
        except OSError:  # one has ended meanwhile, or this is no Linux
            continue
        lines = [line for text in texts for line in text.splitlines() if line.startswith("Pss:")]
        memory.append(sum(int(line.split()[1]) for line in lines) / 1024)


def timed(out: Path, profile: Path | None) -> None:
    """Run the command on a results folder, and print what it took and what it wrote."""
    before = time.time()
    under = [] if profile is None else ["-m", "cProfile", "-o", str(profile)]
    child = subprocess.Popen([sys.executable, *under, "-m", "benchmark", "leaderboard", str(out)])
    memory: list[float] = [0.0]
    ended = threading.Event()
    watch = threading.Thread(target=watch_memory, args=(child.pid, memory, ended))
    watch.start()
    _, status, used = os.wait4(child.pid, 0)
    took = time.time() - before
    ended.set()
    watch.join()
    print(f"{took:.1f} s, {used.ru_utime + used.ru_stime:.1f} s of processor, peak {used.ru_maxrss / 1024:.0f} MiB "
          f"of a process, {max(memory):.0f} MiB of all, exit code {os.waitstatus_to_exitcode(status)}")  # fmt: skip
    for path in sorted(out.iterdir()):
        if path.is_file() and path.stat().st_mtime >= before - 1:
            print(f"{path.stat().st_size / 1e6:8.2f} MB  {path.name}")
    if profile is not None:
        pstats.Stats(str(profile)).sort_stats("tottime").print_stats(SHOWN)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["make", "time"])
    parser.add_argument("out", type=Path, metavar="DIR")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--first-row", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--profile", type=Path, metavar="FILE")
    options = parser.parse_args()
    if options.what == "make":
        rows = range(options.first_row, options.first_row + options.rows)
        make(options.out, rows, options.seeds, options.images)
    else:
        timed(options.out, options.profile)


if __name__ == "__main__":
    main()
