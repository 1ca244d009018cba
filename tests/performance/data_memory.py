"""Peak memory of preparing a large data set and of training on it. Needs 4 bytes a pixel of disk (20 GB).

    python tests/performance/data_memory.py [--images 100000] [--size 224] [--steps 200] [--batch-size 32]

Simulated slices. Anonymous memory is sampled while they are prepared, while the baseline CNN is trained on them, and
while they are split and audited; the same training on 512 images in memory tells what the framework takes by itself.
Mapped pages of the prepared file belong to the page cache and are not counted. Linux only.
"""

import argparse
import shutil
import statistics
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from benchmark.data.audit.audit import audit_data
from benchmark.data.preparation.prepare import open_dataset
from benchmark.data.sources.base import Item, Loaded, SourceFacts
from benchmark.data.splits.splits import SplitOptions, make_splits


class SimulatedSource:
    """As many slices as asked, each different, of four classes; made when they are loaded."""

    facts = SourceFacts("simulated", ("a", "b", "c", "d"), synthetic=True)

    def __init__(self, count, side):
        self.items = [Item(f"{k:06d}.png", "abcd"[k % 4], group=f"p{k // 8}") for k in range(count)]
        coarse = np.random.default_rng(0).integers(0, 256, (64, 24, 24), dtype=np.uint8)
        self.base = [np.asarray(Image.fromarray(image).resize((side, side))) for image in coarse]

    def signature(self):
        return f"simulated {len(self.items)} {len(self.base[0])}"

    def load(self, index):
        pixels = np.roll(self.base[index % 64], index // 64 % 200, axis=index % 2).copy()
        pixels[:4, :4] = np.frombuffer(index.to_bytes(16, "little"), np.uint8).reshape(4, 4)
        return Loaded(pixels)


@dataclass
class Peak:
    """The highest anonymous memory seen, in bytes."""

    value: int = 0


def anonymous_bytes():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not tell anonymous memory")


@contextmanager
def watched():
    """Sample anonymous memory every 20 ms."""
    peak, done = Peak(), threading.Event()

    def sample():
        while not done.wait(0.02):
            peak.value = max(peak.value, anonymous_bytes())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()
        peak.value = max(peak.value, anonymous_bytes())


def trained(data, steps, batch_size):
    """Train the baseline CNN for some steps on random batches of the whole data set; return the peak."""
    from backbones.registry import load_registry
    from benchmark.engines import BuildSpec, StepInput, create
    from benchmark.recipe import load_recipe
    from benchmark.training.prefetch import Feed

    engine = create("torch", "cpu", tf32=False, deterministic=False)
    recipe = load_recipe("default")
    engine.build(BuildSpec(load_registry().get("torch/baseline_cnn"), recipe, 4, data.size, None, seed=0))
    rng = np.random.default_rng(0)
    batches = [np.sort(rng.choice(len(data), batch_size, replace=False)) for _ in range(steps)]
    weights = np.full(batch_size, 1 / batch_size, np.float32)
    with watched() as peak:
        feed = Feed(engine, data.pixels, np.arange(len(data)))
        for step, (batch, images) in enumerate(zip(batches, feed.batches(batches), strict=True), start=1):
            loss = engine.train_step(StepInput(images, data.labels[batch], weights, 1e-3, step, seed=step))
        engine.fetch([loss])
    return peak.value


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=32)
    arguments = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="tumorboard-memory-"))
    gib = 2**30
    try:
        source = SimulatedSource(arguments.images, arguments.size)
        before = anonymous_bytes()
        start = time.perf_counter()
        with watched() as peak:
            data = open_dataset(source, size=arguments.size, cache=scratch)
        print(f"{len(data)} images, {data.pixels.nbytes / gib:.1f} GiB of pixels")
        print(
            f"prepare: {time.perf_counter() - start:.0f} s, peak {(peak.value - before) / gib:.2f} GiB anonymous",
            flush=True,
        )
        opened = []
        for _ in range(7):
            start = time.perf_counter()
            data = open_dataset(source, size=arguments.size, cache=scratch)
            opened.append(time.perf_counter() - start)
        print(f"open again: {statistics.median(opened):.3f} s, at most {max(opened):.3f} s", flush=True)
        absent = dict.fromkeys(("groups", "native_sizes", "hashes", "thumbnails"))
        few = {name: np.array(getattr(data, name)[:512]) for name in ("pixels", "labels", "image_ids", "identical")}
        small = replace(data, **few, **absent)
        own = trained(small, arguments.steps, arguments.batch_size)
        large = trained(data, arguments.steps, arguments.batch_size)
        print(
            f"train {arguments.steps} steps: peak {large / gib:.2f} GiB; on 512 images (the framework's own) "
            f"{own / gib:.2f} GiB: {(large - own) / gib:.2f} GiB above it",
            flush=True,
        )
        before = anonymous_bytes()
        start = time.perf_counter()
        with watched() as peak:
            split = make_splits(data, SplitOptions(kind="folds", folds=(1,)))[0]
            audit_data(data, split)
        print(
            f"split and audit: {time.perf_counter() - start:.0f} s, "
            f"peak {(peak.value - before) / gib:.2f} GiB anonymous",
            flush=True,
        )
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
