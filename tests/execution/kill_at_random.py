"""Kill a command at random moments, give it again, and compare the end with an uninterrupted run's, bit for bit.

    python -m tests.execution.kill_at_random --kills 100

Each kill is SIGKILL to the command's whole process group; every second one takes the worker's group too, in the
same moment. Two of three are counted from the start of a training, so that most fall inside one; it goes on until as
many as are asked for fell inside TensorFlow's. Whenever the four runs (two on torch, two on TensorFlow) are done
before the kills are, they are compared and a fresh results folder is begun.
"""

import argparse
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil

from benchmark.records.store import RecordStore
from tests.execution.commands import Bench, make_images

PLUGIN = """
import time
from backbones import backbone


@backbone("test/torch", framework="torch", input_size=16)
def in_torch(num_classes):
    from torch import nn
    class Slow(nn.Module):
        def forward(self, x):
            if self.training:
                time.sleep(0.01)
            return x
    return nn.Sequential(Slow(), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, num_classes))


@backbone("test/keras", framework="keras", input_size=16)
def in_keras(num_classes):
    import keras
    return keras.Sequential([
        keras.Input((16, 16, 3)), keras.layers.Conv2D(64, 3, activation="relu"), keras.layers.Flatten(),
        keras.layers.Dense(64, activation="relu"), keras.layers.Dense(num_classes),
    ])
"""
WORDS = (
    "--backbone", "test/keras", "test/torch", "--seed", "0", "1", "--epochs", "150",
    "--set", "execution.channels_last=on", "--set", "execution.compile=off", "--set", "execution.deterministic=true",
)  # fmt: skip


class Moment:
    """Follows a command's output, to know in which moment it was killed."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.where = "planning"
        self._framework = ""
        self._thread = threading.Thread(target=self._follow, args=(process,), daemon=True)
        self._thread.start()

    def _follow(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("Run "):
                self._framework = "TensorFlow" if "test/keras" in line else "torch"
                self.where = f"starting {self._framework}"
            elif line.lstrip().startswith("training"):  # notes have the word too
                self.where = f"training in {self._framework}"
            elif "ok, macro-F1" in line:
                self.where = "between runs"


def predictions(out: Path) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    """Return the probabilities of all runs by key."""
    return {record.key: found.probabilities for record, found in RecordStore(out).read_all() if found is not None}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:  # type: ignore[type-arg]
    """Return whether two results are equal bit for bit."""
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


def start(bench: Bench) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        bench.command(*WORDS), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=bench.environment(),
        start_new_session=True,
    )  # fmt: skip


def kill(process: "subprocess.Popen[str]", worker_too: bool) -> None:
    groups = [process.pid]
    if worker_too:
        with suppress(psutil.NoSuchProcess):
            groups += [child.pid for child in psutil.Process(process.pid).children()]
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    process.wait()


def main() -> int:
    """Do the kills; return 0 when every result equals the uninterrupted one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument(
        "--in-tensorflow", type=int, default=30, help="of them inside TensorFlow's training, at least"
    )
    parser.add_argument("--longest", type=float, default=16.0, help="seconds until a kill, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=math.inf, help="no more kills after so long")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    home = Path(tempfile.mkdtemp(prefix="kills-"))
    (home / "plugin.py").write_text(PLUGIN)
    images = make_images(home / "images")
    whole = Bench(images, home / "plugin.py", home / "whole")
    done = whole.run(*WORDS)
    if done.returncode:
        print(done.stdout, done.stderr)
        return 1
    expected = predictions(whole.out)
    moments: Counter[str] = Counter()
    wrong, rounds, kills = 0, 0, 0

    last = time.monotonic() + 60 * options.minutes

    def enough() -> bool:
        if time.monotonic() > last:
            return True
        return kills >= options.kills and moments["training in TensorFlow"] >= options.in_tensorflow

    while not enough():
        bench = Bench(images, home / "plugin.py", home / f"killed-{rounds}")
        while True:
            process = start(bench)
            moment = Moment(process)
            if kills % 3:
                while not moment.where.startswith("training") and process.poll() is None:
                    time.sleep(0.02)
                deadline = time.monotonic() + chance.uniform(0.0, options.longest / 4)
            else:
                deadline = time.monotonic() + chance.uniform(0.3, options.longest)
            while not enough() and time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.02)
            if enough():
                process.wait()
            if process.poll() is not None:
                break
            moments[moment.where] += 1
            kill(process, worker_too=kills % 2 == 1)
            kills += 1
            print(f"kill {kills}: {moment.where}", flush=True)
        rounds += 1
        equal = process.returncode == 0 and same(predictions(bench.out), expected)
        wrong += not equal
        print(f"round {rounds}: exit code {process.returncode}, {'equal' if equal else 'NOT EQUAL'}", flush=True)
    print(
        f"{kills} kills in {rounds} rounds, {wrong} of them not equal; "
        + ", ".join(f"{count} {where}" for where, count in moments.most_common())
    )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
