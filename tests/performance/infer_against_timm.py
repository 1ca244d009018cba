"""``infer_images_per_s`` against timm's own ``benchmark.py``, same model, size, batch, layout and precision.

    python tests/performance/infer_against_timm.py path/to/timm/benchmark.py resnet50 tf_efficientnet_lite0

timm's script is not part of its package: take it from the repository of the version that is installed. Each side
runs in a process of its own, in turns; printed are both speeds of each round, the medians and the median ratio, ours
over timm's.
"""

import argparse
import json
import subprocess
import sys

import numpy as np

_OURS = """
import json, sys
import numpy as np
from backbones.registry import load_registry
from benchmark.data.dataset import DataSet
from benchmark.measurement.throughput import measure
from benchmark.recipe import load_recipe
from benchmark.engines import BuildSpec, create
name, size, batch = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
recipe = load_recipe("default").with_values({"size": size, "batch_size": batch, "execution.precision": "float32",
    "execution.channels_last": "on", "execution.compile": "off"})
pixels = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), dtype=np.uint8)
ids = np.arange(batch)
data = DataSet("random", pixels, ids * 0, ids.astype(str), ("a", "b"), "0", ids)
engine = create("torch", "cpu", tf32=False, deterministic=False)
engine.build(BuildSpec(load_registry().get("timm:" + name), recipe, 1000, size, None, 0))
engine.set_compile(False)
print(json.dumps(measure(engine, data, np.arange(batch), batch, report=lambda event: None).infer_images_per_s))
"""


def ours(name: str, size: int, batch: int) -> float:
    """Return our figure, images per second."""
    command = [sys.executable, "-c", _OURS, name, str(size), str(batch)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def timms(script: str, name: str, size: int, batch: int) -> float:
    """Return timm's figure, images per second."""
    command = [sys.executable, script, "--model", name, "--bench", "inference", "--device", "cpu", "--channels-last",
               "--precision", "float32", "-b", str(batch), "--img-size", str(size), "--num-bench-iter", "40",
               "--num-warm-iter", "5"]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result = json.loads(done.stdout[done.stdout.index("--result") + len("--result") :])
    return float(result["infer_samples_per_sec"])


def main() -> None:
    """Compare each model named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("script")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    for name in options.models:
        pairs = []
        for number in range(options.rounds):
            if number % 2:
                there = timms(options.script, name, options.size, options.batch_size)
                here = ours(name, options.size, options.batch_size)
            else:
                here = ours(name, options.size, options.batch_size)
                there = timms(options.script, name, options.size, options.batch_size)
            pairs.append((here, there))
            print(f"  {here:.1f}, {there:.1f}", flush=True)
        mine, theirs = np.array(pairs).T
        ratios = mine / theirs
        print(
            f"{name}, {options.size} px, batch {options.batch_size}: ours {np.median(mine):.1f} img/s, timm "
            f"{np.median(theirs):.1f} img/s, median ratio {np.median(ratios):.3f} ({ratios.min():.3f} to "
            f"{ratios.max():.3f}, {options.rounds} rounds)",
            flush=True,
        )


if __name__ == "__main__":
    main()
