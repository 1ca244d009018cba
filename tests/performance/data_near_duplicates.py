"""How long the search for near-duplicates takes.

    python tests/performance/data_near_duplicates.py [FOLDER_OR_ZIP] [--images 50000] [--repeats 3]

With a source, its thumbnails are repeated with random shifts, brightness and noise until there are enough; without
one, random smooth images are. Images that look alike are what makes the search slow, so a real source is the test.
"""

import argparse
import time

import numpy as np
from PIL import Image

from benchmark.data.duplicates.near_duplicates import find_pairs
from benchmark.data.preparation.pixels import THUMBNAIL
from benchmark.data.preparation.prepare import open_dataset
from benchmark.data.preparation.threads import usable_cpus


def varied(base, count):
    """Return ``count`` thumbnails, each a changed one of ``base``."""
    rng = np.random.default_rng(0)
    chosen = base[rng.integers(0, len(base), count)].astype(np.float32)
    shifts = rng.integers(-4, 5, (count, 2))
    moved = np.stack([np.roll(image, shift, (0, 1)) for image, shift in zip(chosen, shifts, strict=True)])
    changed = moved * rng.uniform(0.6, 1.2, (count, 1, 1)) + rng.normal(0, 6, moved.shape)
    return changed.clip(0, 255).astype(np.uint8)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("source", nargs="?")
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.source:
        base = np.asarray(open_dataset(arguments.source, size=64).thumbnails)
    else:
        coarse = np.random.default_rng(1).integers(0, 256, (5000, 8, 8), dtype=np.uint8)
        base = np.stack([np.asarray(Image.fromarray(image).resize((THUMBNAIL, THUMBNAIL))) for image in coarse])
    thumbnails = varied(base, arguments.images)
    for _ in range(arguments.repeats):
        start = time.perf_counter()
        pairs = find_pairs(thumbnails, np.arange(len(thumbnails)))
        seconds = time.perf_counter() - start
        print(
            f"{arguments.images} images, {usable_cpus()} processors: {seconds:.1f} s, {len(pairs)} pairs", flush=True
        )


if __name__ == "__main__":
    main()
