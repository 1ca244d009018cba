"""A suite of heads on one frozen backbone, against training each by a framework's own way.

    python tests/performance/suite_speed.py [--images 3000] [--size 128]

Ours is a command as a user gives it: ``python -m benchmark --suite FILE``, five folds x three seeds x four recipes of
heads on ``timm/resnet50``, of which all but the head is frozen, from one file of weights. Its 60 runs share a worker
and what the frozen stages give. The images are drawn by this script, four to a patient, and the cache is empty. The
runs are whole: checkpoints, predictions, records, speeds; only Grad-CAM is left out (``--cam none``), which the other
side does not do either.

The other side is not trained 60 times. An epoch with its validation is timed, as in ``prefix_speed.py``: a plain timm
loop that runs the frozen part without gradients, and ``keras.Model.fit`` after ``trainable = False``, from images in
memory. The seconds of an image are multiplied by the images of an epoch, the epochs and the runs. Both are timed
before and after ours.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from prefix_speed import keras_fit, timm_loop
from turns import CLASSES, Process, answer, random_images

from benchmark.engines.one_framework import shut_out_other_framework
from benchmark.records.outcomes import Outcome
from benchmark.records.record import Record, Timings
from benchmark.records.store import RecordStore

_SIDES = {"timm": "torch", "keras": "tensorflow"}
_TIMED = 248  # training images of an epoch that is timed
_TURNS = 3  # before ours, and again after it
_ONE_FILE_OF_WEIGHTS = (
    "import sys, timm, safetensors.torch as st\n"
    "st.save_file(timm.create_model('resnet50').state_dict(), sys.argv[1])\n"
)
_SUITE = """
about = "Heads on one frozen backbone"
backbones = ["timm/resnet50"]
recipes = ["probe"]
seeds = [0, 1, 2]
folds = "all"
weights = "{weights}"
changes = {{ size = {size}, epochs = {epochs}, batch_size = {batch}, execution.compile = "off" }}

[[entries]]
name = "linear"

[[entries]]
name = "linear, dropout"
changes = {{ head.dropout = 0.3 }}

[[entries]]
name = "dense"
changes = {{ head.kind = "dense256" }}

[[entries]]
name = "dense, dropout"
changes = {{ head.kind = "dense256", head.dropout = 0.3 }}
"""


def draw(folder: Path, count: int, size: int) -> Path:
    """Write images of four classes that differ in brightness, four to a patient; return the manifest."""
    rng = np.random.default_rng(0)
    lines = ["path,label,group"]
    for number in range(count):
        label = number // 4 % CLASSES
        coarse = rng.normal(70 + 30 * label, 40, (8, 8)).clip(0, 255).astype(np.uint8)
        picture = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number}.png", compress_level=1)
        lines.append(f"{number}.png,class-{label},patient-{number // 4}")
    table = folder / "images.csv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table


def epoch_of_other(side: str, size: int, batch: int) -> None:
    """Answer with the seconds of an epoch, in a process of its own."""
    shut_out_other_framework(_SIDES[side])
    data, split = random_images(_TIMED, size)
    epoch = (timm_loop if side == "timm" else keras_fit)("head", data, split, batch)[0]
    epoch()
    answer(epoch)


@dataclass(frozen=True)
class Done:
    """The suite, done: its records, and seconds of the command before the first run, in the runs, after the last."""

    records: list[Record]
    before: float
    runs: float
    after: float


def run_suite(scratch: Path, options: argparse.Namespace) -> Done:
    """Draw the images and the weights, and do the suite on them."""
    images, weights, suite = scratch / "images", scratch / "resnet50.safetensors", scratch / "heads.toml"
    images.mkdir()
    table = draw(images, options.images, options.size)
    subprocess.run([sys.executable, "-c", _ONE_FILE_OF_WEIGHTS, str(weights)], check=True)
    filled = {"weights": weights, "size": options.size, "epochs": options.epochs, "batch": options.batch}
    suite.write_text(_SUITE.format(**filled), encoding="utf-8")
    words = ["--suite", str(suite), "--data", str(table), "--out", str(scratch / "out"), "--cam", "none"]
    environment = {**os.environ, "TUMORBOARD_CACHE": str(scratch / "cache"), "PYTHONUNBUFFERED": "1"}
    begun = time.perf_counter()
    started = ended = None
    said = []
    command = [sys.executable, "-m", "benchmark", *words]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if line.startswith("Run 1 of"):
                started = time.perf_counter()
            if ": ok, macro-F1" in line:
                ended = time.perf_counter()
    if process.returncode or started is None or ended is None:
        raise SystemExit(f"{''.join(said[-30:])}\nThe suite ended with {process.returncode}.")
    records = [record for record, _ in RecordStore(scratch / "out").read_all()]
    imports = sum(record.timings.import_s for record in records)
    return Done(records, started - begun + imports, ended - started - imports, time.perf_counter() - ended)


def main() -> None:
    """Time the suite, and the other side's epochs around it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--keep", type=Path, help="folder for the results, of which nothing is deleted")
    parser.add_argument("--side", choices=list(_SIDES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        epoch_of_other(options.side, options.size, options.batch)
        return
    given = [f"--size={options.size}", f"--batch={options.batch}"]
    seconds: dict[str, list[float]] = {side: [] for side in _SIDES}

    def time_others() -> None:
        for side, taken in seconds.items():
            with Process([__file__, *given, f"--side={side}"]) as process:
                taken.extend(process() for _ in range(_TURNS))

    with tempfile.TemporaryDirectory() as folder:
        scratch = options.keep or Path(folder)
        scratch.mkdir(parents=True, exist_ok=True)
        time_others()
        done = run_suite(scratch, options)
        time_others()
    report(done, seconds, options)


def report(done: Done, seconds: Mapping[str, list[float]], options: argparse.Namespace) -> None:
    """Print the parts of ours, and how many times longer each other side would take."""
    records = done.records
    assert all(record.outcome is Outcome.OK for record in records)
    workers = sum(not record.provenance["runs_before_in_process"] for record in records)
    computed = sum(record.provenance["frozen_prefix"]["computed"] for record in records)
    print(
        f"{len(records)} runs on timm/resnet50 at {options.size} px, {options.images} images, batch {options.batch}, "
        f"{options.epochs} epochs, head only; workers: {workers}; images through the frozen stages: {computed}"
    )
    each = sorted(record.timings.total_s - record.timings.import_s for record in records)
    print(f"  the runs: {done.runs:.1f} s, {np.median(each):.2f} s each but the first, which fills the cache")
    parts = {name: sum(getattr(record.timings, name) for record in records) for name in Timings.model_fields}
    print("    of which " + ", ".join(f"{name.removesuffix('_s')} {part:.1f}" for name, part in parts.items()))
    print(f"  apart: start-up (images, plan, imports) {done.before:.1f} s, leaderboard {done.after:.1f} s")
    images = sum(record.data.n_train + record.data.n_validation for record in records)
    for side, taken in seconds.items():
        one = float(np.median(taken)) / (_TIMED + 4)
        whole = one * images * options.epochs
        print(
            f"  {side}: an epoch takes {1000 * one:.2f} ms an image (of {_TIMED}: median of {len(taken)} "
            f"{np.median(taken):.2f} s, {min(taken):.2f} to {max(taken):.2f}); multiplied, not run: {whole:.0f} s"
        )
        whole_command = done.before + done.runs + done.after
        print(f"    {whole / done.runs:.0f} times the runs, {whole / whole_command:.0f} times the whole command")


if __name__ == "__main__":
    main()
