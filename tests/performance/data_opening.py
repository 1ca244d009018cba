"""How long it takes to open a prepared data set, as a folder, a zip file and a manifest of many images.

    python tests/performance/data_opening.py [--images 100000] [--repeats 7]

The images are small, because opening reads none of them; preparing decodes each once and is not timed. Each opening
is also timed in a process of its own, less the time that a process needs to import the harness.
"""

import argparse
import io
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmark.data.preparation.prepare import open_dataset

ONCE = """
import sys, time
from pathlib import Path
from benchmark.data.preparation.prepare import open_dataset
import benchmark.data.preparation.prepare
start = time.perf_counter()
open_dataset(sys.argv[1], size=8, cache=Path(sys.argv[2]))
print(time.perf_counter() - start)
"""


def pictures(count: int) -> list[tuple[str, bytes]]:
    """Return paths below a folder and the bytes of small PNGs, each different, of two classes."""
    rng = np.random.default_rng(0)
    found = []
    for k in range(count):
        stream = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(stream, "PNG")
        found.append((f"{'glioma' if k % 2 else 'notumor'}/{k:06d}.png", stream.getvalue()))
    return found


def sources(count: int, scratch: Path) -> dict[str, Path]:
    """Write the same images as a folder, an archive and a manifest; return where each is."""
    folder, archive = scratch / "folder", scratch / "archive.zip"
    images = pictures(count)
    with zipfile.ZipFile(archive, "w") as stream:
        for name, data in images:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            stream.writestr(name, data)
    table = scratch / "table.csv"
    rows = [f"folder/{name},{name.partition('/')[0]},p{k // 8}" for k, (name, _) in enumerate(images)]
    table.write_text("\n".join(["path,label,group", *rows]) + "\n")
    return {"folder": folder, "zip": archive, "manifest": table}


def opened(path: Path, cache: Path) -> float:
    """Return the seconds that one opening takes in this process."""
    start = time.perf_counter()
    open_dataset(str(path), size=8, cache=cache)
    return time.perf_counter() - start


def opened_afresh(path: Path, cache: Path) -> float:
    """Return the seconds that one opening takes in a process of its own."""
    command = [sys.executable, "-c", ONCE, str(path), str(cache)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="tumorboard-opening-"))
    try:
        for name, path in sources(arguments.images, scratch).items():
            cache = scratch / "cache"
            opened(path, cache)
            here = [opened(path, cache) for _ in range(arguments.repeats)]
            afresh = [opened_afresh(path, cache) for _ in range(arguments.repeats)]
            print(
                f"{name:9} {arguments.images} images: {statistics.median(here):.3f} s (at most {max(here):.3f}), "
                f"in a new process {statistics.median(afresh):.3f} s (at most {max(afresh):.3f})",
                flush=True,
            )
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
