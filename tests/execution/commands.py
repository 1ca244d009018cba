"""Commands as a user types them, on images and backbones that are made here."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.data.options import DataOptions
from benchmark.execution.planning.request import Request
from benchmark.records.results_folder import INTERNAL, MOVED, PROGRESS
from benchmark.records.settings import Settings

# A backbone that is sound, and small enough that a run is mostly the framework's import.
GOOD = '''
"""Backbones to test with."""
import ctypes, os, pathlib, resource, signal, subprocess, sys, time

from backbones import MissingWeights, backbone

if "TESTS_WITHOUT_PICTURES" in os.environ:  # see Bench
    if sys.argv[0].endswith("__main__.py"):  # the command
        from benchmark.reporting.documents import gallery
        from benchmark.reporting.figures import cams, montage, plots
        gallery.write_gallery = cams.write_cam_plots = montage.write_montage = plots.write_plots = lambda *_: []
    else:  # a worker
        from benchmark.measurement import throughput
        throughput._WINDOW_SECONDS, throughput._MOST = 0.02, 3

HERE = pathlib.Path(__file__).parent


def tiny(num_classes):
    from torch import nn
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 8), nn.ReLU(), nn.Linear(8, num_classes))


@backbone("test/good", framework="torch", input_size=16)
def good(num_classes):
    return tiny(num_classes)
'''
# Two whose epochs take about a second each, until somebody hurries them (Bench.hurry); every build is noted.
SLOW = """
def slow(num_classes):
    from torch import nn

    class Slow(nn.Module):
        def forward(self, x):
            if self.training and not (HERE / "hurry").exists():
                time.sleep(0.15)
            return x

    with (HERE / "builds").open("a") as stream:
        stream.write(f"{os.getpid()}\\n")
    return nn.Sequential(Slow(), *tiny(num_classes))


@backbone("test/slow", framework="torch", input_size=16)
def first(num_classes):
    return slow(num_classes)


@backbone("test/slow_too", framework="torch", input_size=16)
def second(num_classes):
    return slow(num_classes)
"""

WORDS = ("--recipe", "quick", "--size", "16", "--batch-size", "8", "--device", "cpu", "--checkpoint-every", "0")
# precision, layout and compilation chosen, so that arithmetic repeats bit for bit
EXACT = (
    "--set", "execution.channels_last=off", "--set", "execution.compile=off", "--set", "execution.deterministic=true",
)  # fmt: skip
PATIENCE = 240.0


def make_images(folder: Path, per_class: int = 12) -> Path:
    """Write a small data set in Kaggle's layout; one class has a bright square."""
    from PIL import Image

    random = np.random.default_rng(0)
    for part, count in (("Training", 2 * per_class), ("Testing", per_class)):
        for name in ("glioma", "notumor"):
            home = folder / part / name
            home.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 90, (24, 24), dtype=np.uint8)
                if name == "glioma":
                    pixels[6:14, 6:14] += 120
                Image.fromarray(pixels).save(home / f"{number}.jpg", quality=95)
    return folder


def request_on(images: Path, folder: Path, plugin: str, **changes: Any) -> Request:
    """Return a request for ``test/good`` of a plug-in that is written into ``folder``."""
    file = folder / "plugin.py"
    file.write_text(plugin)
    return Request(
        backbones=("test/good",), settings=Settings(plugins=(file,)), data=DataOptions(str(images)), recipe="quick",
        changes=changes, device="cpu", out=folder / "out",
    )  # fmt: skip


def as_an_earlier_version_left_it(out: Path) -> Path:
    """Move what stands below ``internal/`` to the top of a results folder, where it was before there was any."""
    for place in MOVED:
        if out.joinpath(*place).exists():
            out.joinpath(*place).rename(out / place[-1])
    shutil.rmtree(out.joinpath(*PROGRESS), ignore_errors=True)
    out.joinpath(*INTERNAL).rmdir()
    return out


@dataclass(frozen=True)
class Bench:
    """A folder of images, a plug-in, a results folder: all that a command needs.

    Args:
        drawn: whether its commands draw the board's pictures, and measure speeds for as long as any. Most tests
            look at neither, and they take much of a command's time: plug-ins that begin with ``GOOD`` leave them out.
    """

    images: Path
    plugin: Path
    out: Path
    drawn: bool = field(default=False, kw_only=True)

    @classmethod
    def of(cls, folder: Path, plugin: str, images: Path | None = None, *, drawn: bool = False) -> "Bench":
        """Write a plug-in into a folder, and images beside it where none are given."""
        file = folder / "plugin.py"
        file.write_text(plugin)
        return cls(images or make_images(folder / "images"), file, folder / "out", drawn=drawn)

    def hurry(self) -> None:
        """Let the epochs of ``SLOW`` take no time from now on."""
        self.plugin.with_name("hurry").touch()

    def command(self, *words: str) -> list[str]:
        """Return the words of a command on this data, plug-in and results folder; of seed 0 where none is named."""
        own = ("--data", str(self.images), "--plugin", str(self.plugin), "--out", str(self.out))
        own += () if {"--seed", "--suite"} & set(words) else ("--seed", "0")
        # one worker, whatever memory other tests leave; a cluster has its own
        alone = () if "--executor" in words else ("--workers", "1")
        return [sys.executable, "-m", "benchmark", *own, *WORDS, *alone, *words]

    def environment(self) -> dict[str, str]:
        """Return the variables of a command; one thread, as another number adds the same numbers in another order."""
        one = {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"}
        left_out = {} if self.drawn else {"TESTS_WITHOUT_PICTURES": "1"}
        return {**os.environ, "TUMORBOARD_CACHE": str(self.images.parent / "cache"), **one, **left_out}

    def run(self, *words: str, timeout: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        """Do a command to its end."""
        return subprocess.run(
            self.command(*words), capture_output=True, text=True, timeout=timeout, env=self.environment(), check=False
        )

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Start a command whose output can be followed."""
        return subprocess.Popen(
            self.command(*words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.environment()
        )

    def rows(self) -> dict[str, dict[str, str]]:
        """Return runs.csv by backbone."""
        with (self.out / "runs.csv").open(encoding="utf-8") as stream:
            return {row["backbone"]: row for row in csv.DictReader(stream)}


def follow_until(process: "subprocess.Popen[str]", text: str) -> str:
    """Read a command's output until a line has ``text``; return all that was read."""
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if text in line:
            return "".join(seen)
    raise AssertionError(f"{text!r} never came:\n{''.join(seen)}")


def gone(pids: Sequence[int], seconds: float = 10.0) -> bool:
    """Return whether none of the processes lives, waiting for them to go."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(_alive(pid) for pid in pids):
            return True
        time.sleep(0.1)
    return False


def _alive(pid: int) -> bool:
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def interrupt(process: "subprocess.Popen[str]") -> None:
    """Press Ctrl-C in the terminal of a command (the command alone gets it: a worker has its own session)."""
    process.send_signal(signal.SIGINT)
