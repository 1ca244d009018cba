"""How fast a network reads spoilt test images, over ``infer_images_per_s``: the forward pass alone.

    python tests/performance/corruption_speed.py torch/baseline_cnn timm/tf_efficientnet_lite0 --size 64

Both are measured in turns in one process, on random pixels in grey; printed are the medians and the median ratio with
its range, by the clock and by the processor time of the process. The latter is the steadier one on a machine that has
other work, and counts all that reading spoilt images takes, its checks included. The pictures are made and kept
first, in a temporary folder; ``--fresh`` keeps none, so that a thread makes them while the network reads.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from backbones.registry import load_registry
from benchmark.data.dataset import DataSet, Split
from benchmark.draws.corruptions import CORRUPTIONS
from benchmark.engines import BuildSpec, Engine, create, engine_entry, engine_of
from benchmark.measurement.corruptions import predict_corrupted
from benchmark.measurement.throughput import measure
from benchmark.process_memory import hold_memory
from benchmark.recipe import load_recipe
from benchmark.training.feature_store import FeatureStore

_CALLS = 60


def images(count: int, size: int) -> tuple[DataSet, Split]:
    """Return grey random images, all of them for testing."""
    grey = np.random.default_rng(0).integers(0, 256, (count, size, size, 1), dtype=np.uint8)
    ids = np.arange(count)
    pixels = np.repeat(grey, 3, axis=-1)
    data = DataSet("random", pixels, ids % 4, ids.astype(str), ("a", "b", "c", "d"), "0", ids)
    none = np.arange(0)
    return data, Split("all", none, none, ids, "0")


def forward_cost(engine: Engine, data: DataSet, batch: int) -> float:
    """Return the processor seconds of the forward pass of one image."""
    inputs = engine.normalize(engine.upload(np.ascontiguousarray(data.pixels[:batch])))
    begun = time.process_time()
    for _ in range(_CALLS):
        engine.forward(inputs)
    engine.synchronize()
    return (time.process_time() - begun) / (_CALLS * batch)


def main() -> None:
    """Measure each network named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="+")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fresh", action="store_true")
    asked = parser.parse_args()
    data, split = images(asked.images, asked.size)
    recipe = load_recipe("default").with_values({"size": asked.size, "batch_size": asked.batch})
    for name in asked.networks:
        backbone = load_registry().get(name)
        if engine_entry(engine_of(backbone, "tensorflow")).holds_memory:
            hold_memory()  # as a worker does
        engine = create(engine_of(backbone, "tensorflow"), "cpu", tf32=False, deterministic=False)
        engine.build(BuildSpec(backbone, recipe.for_family(backbone.family), 4, asked.size, None, 0))
        with tempfile.TemporaryDirectory() as folder:
            store = None if asked.fresh else FeatureStore(Path(folder) / "kept", 10**10)
            speeds, costs = [], []
            for number in range(asked.rounds + 1):
                forward = measure(engine, data, split.test, asked.batch, report=lambda _: None).infer_images_per_s
                begun = time.process_time()
                facts, _ = predict_corrupted(
                    engine, data, split, tuple(CORRUPTIONS), resize=recipe.resize, batch_size=asked.batch,
                    store=store, report=lambda _: None,
                )  # fmt: skip
                cost = (time.process_time() - begun) / facts.pictures
                assert asked.fresh or not facts.not_kept, facts.not_kept
                if number == 0:
                    print(f"{name}: {facts.pictures} pictures made in {facts.made_s:.1f} s", flush=True)
                    continue
                speeds.append((float(forward or 0), float(facts.images_per_s or 0)))
                costs.append((forward_cost(engine, data, asked.batch), cost))
        ratios = sorted(ours / forward for forward, ours in speeds)
        medians = [statistics.median(each) for each in zip(*speeds, strict=True)]
        by_cost = sorted(forward / ours for forward, ours in costs)
        print(
            f"{name}: forward {medians[0]:.0f}, spoilt {medians[1]:.0f} images/s, "
            f"ratio {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f}); by processor time "
            f"{statistics.median(by_cost):.3f} ({by_cost[0]:.3f} to {by_cost[-1]:.3f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
