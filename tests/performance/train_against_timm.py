"""Full training against timm's own ``train.py``: same model, images, size, batch, layout, precision and optimiser.

    python tests/performance/train_against_timm.py path/to/timm/train.py resnet50 --size 64

timm's script is not part of its package: take it from its repository. Both sides read the same folder of JPEG files
that are of the size wanted, without augmentation; ours has decoded them to its cache, as it does for any run, timm's
decodes them anew in each epoch, in a worker process. Each side is a process of its own, in turns. The first epoch of
each is left out. timm's speed is printed as it says it, and with what it waited for data taken off, so that the
ratios of training alone are seen too. Each round's three speeds are shown as they come.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from turns import CLASSES, Process, answer, our_epoch, recipe_of

from backbones.registry import load_registry
from benchmark.data.dataset import Split
from benchmark.data.preparation.prepare import open_dataset

_EPOCHS = 3
# what timm prints for the last step of an epoch: mean seconds of a step, and those of them that it waited for data
_LINE = re.compile(r"Train: (\d+) \[.*\(100%\)\].*Time: [\d.]+s, +[\d.]+/s +\(([\d.]+)s,.*Data: [\d.]+ \(([\d.]+)\)")


def draw(folder: Path, count: int, size: int) -> None:
    """Write smooth random slices, alike in number for each class."""
    generator = np.random.default_rng(0)
    for number in range(count):
        target = folder / "train" / "abcd"[number % CLASSES] / f"{number:05d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(generator.integers(0, 256, (size // 8, size // 8, 3), dtype=np.uint8))
        coarse.resize((size, size), Image.Resampling.BICUBIC).save(target, quality=90)


def our_training(model: str, folder: Path, size: int, batch: int) -> Callable[[], object]:
    """Return our epoch over the images of a folder."""
    data = open_dataset(str(folder / "train"), size=size, cache=folder / "cache")
    everything = np.arange(len(data))
    split = Split("holdout", everything, everything[:4], everything[:4], hash="0" * 64)
    return our_epoch("torch", load_registry().get(f"timm:{model}"), recipe_of(size, batch), data, split)


def ours(model: str, folder: Path, size: int, batch: int, batches: int) -> float:
    """Return our images per second, over the same epochs as timm's."""
    command = [__file__, "-", model, f"--folder={folder}", f"--size={size}", f"--batch={batch}"]
    with Process(command) as side:
        seconds = [side() for _ in range(_EPOCHS)]
    return batch * batches * (_EPOCHS - 1) / sum(seconds[1:])


def timms(script: str, model: str, folder: Path, size: int, batch: int, workers: int) -> tuple[float, float]:
    """Return timm's images per second, and those that it would reach if it never waited for data."""
    command = [sys.executable, script, "--data-dir", str(folder), "--train-split", "train", "--val-split", "",
               "--model", model, "--num-classes", str(CLASSES), "--device", "cpu", "--channels-last",
               "--img-size", str(size), "-b", str(batch), "--no-aug", "--smoothing", "0", "--opt", "adamw",
               "--lr", "1e-4", "--warmup-epochs", "0", "--sched", "cosine", "--weight-decay", "0.01",
               "--epochs", str(_EPOCHS), "-j", str(workers), "--log-interval", "100000",
               "--output", str(folder / "output")]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    found = [
        (float(whole), float(data)) for epoch, whole, data in _LINE.findall(done.stderr + done.stdout) if epoch != "0"
    ]
    if done.returncode or len(found) != _EPOCHS - 1:
        sys.exit(f"timm's script said:\n{done.stderr[-2000:]}")
    whole, data = np.array(found).mean(axis=0)
    return batch / whole, batch / (whole - data)


def one_round(
    options: argparse.Namespace, model: str, folder: Path, *, ours_first: bool
) -> tuple[float, float, float]:
    """Return our images per second, timm's, and timm's without its waiting for data."""
    given = model, folder, options.size, options.batch
    here = ours(*given, options.batches) if ours_first else 0.0
    there = timms(options.script, *given, options.workers)
    return here or ours(*given, options.batches), *there


def main() -> None:
    """Compare each model named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("script")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--batches", type=int, default=8, help="in each epoch")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, default=1, help="timm's processes that decode images")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder:
        answer(our_training(options.models[0], options.folder, options.size, options.batch))
        return
    with tempfile.TemporaryDirectory(prefix="tumorboard-timm-") as scratch:
        folder = Path(scratch)
        draw(folder, options.batch * options.batches, options.size)
        for model in options.models:
            rounds = []
            for number in range(options.rounds):
                rounds.append(one_round(options, model, folder, ours_first=number % 2 == 0))
                print("  " + ", ".join(f"{speed:.1f}" for speed in rounds[-1]), flush=True)
            here, there, alone = np.array(rounds).T
            print(f"{model}, {options.size} px, batch {options.batch}: ours {np.median(here):.1f} img/s", flush=True)
            for what, speed in {"as it is": there, "had it never waited for data": alone}.items():
                ratios = here / speed
                print(
                    f"  timm's train.py {what}: {np.median(speed):.1f} img/s, ratio {np.median(ratios):.3f} "
                    f"({ratios.min():.3f} to {ratios.max():.3f}, {options.rounds} rounds)",
                    flush=True,
                )


if __name__ == "__main__":
    main()
