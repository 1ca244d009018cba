"""How fast a data set is prepared, beside a plain Pillow loop in one thread over the same files.

    python tests/performance/data_decoding.py [FOLDER_OR_ZIP] [--size 128] [--rounds 7]

Without a source, 3,000 slices of 512 x 512 pixels are drawn and stored as JPEG. Each round times both, one after
the other; preparing includes hashing, thumbnails and writing to disk. Also says how long opening it again takes.
"""

import argparse
import io
import shutil
import statistics
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmark.data.preparation.prepare import open_dataset
from benchmark.data.preparation.threads import usable_cpus


def drawn(folder: Path, count: int = 3000, side: int = 512) -> Path:
    """Write random smooth slices of two classes."""
    rng = np.random.default_rng(0)
    for k in range(count):
        target = folder / ("glioma" if k % 2 else "notumor") / f"{k:05d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (32, 32), dtype=np.uint8))
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(target, quality=90)
    return folder


def stored(source: Path) -> list[bytes]:
    """Return the bytes of all images, so that neither side is timed on a cold disk."""
    if source.is_dir():
        return [path.read_bytes() for path in sorted(source.rglob("*")) if path.suffix.lower() in (".jpg", ".png")]
    with zipfile.ZipFile(source) as archive:
        return [archive.read(name) for name in archive.namelist() if name.lower().endswith((".jpg", ".png"))]


def plain_loop(files: list[bytes], size: int) -> float:
    """Decode and resize one image after the other, into one array in memory."""
    start = time.perf_counter()
    pixels = np.empty((len(files), size, size, 3), np.uint8)
    for k, data in enumerate(files):
        with Image.open(io.BytesIO(data)) as image:
            pixels[k] = np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC))
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("source", nargs="?")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="tumorboard-decoding-"))
    try:
        source = Path(arguments.source) if arguments.source else drawn(scratch / "drawn")
        files = stored(source)
        ratios, prepared, plain, opened = [], [], [], []
        for number in range(arguments.rounds):
            cache = scratch / f"cache{number}"
            start = time.perf_counter()
            open_dataset(str(source), size=arguments.size, cache=cache)
            prepared.append(time.perf_counter() - start)
            start = time.perf_counter()
            open_dataset(str(source), size=arguments.size, cache=cache)
            opened.append(time.perf_counter() - start)
            plain.append(plain_loop(files, arguments.size))
            ratios.append(plain[-1] / prepared[-1])
            shutil.rmtree(cache)
    finally:
        shutil.rmtree(scratch)
    n = len(files)
    print(f"{n} images to {arguments.size} px, {usable_cpus()} processors, {arguments.rounds} rounds")
    print(f"prepare      {statistics.median(prepared):6.2f} s  {n / statistics.median(prepared):7.0f} images/s")
    print(f"plain loop   {statistics.median(plain):6.2f} s  {n / statistics.median(plain):7.0f} images/s")
    print(f"open again   {statistics.median(opened):6.3f} s")
    print(f"ratio        {statistics.median(ratios):6.2f}   ({', '.join(f'{ratio:.2f}' for ratio in ratios)})")


if __name__ == "__main__":
    main()
