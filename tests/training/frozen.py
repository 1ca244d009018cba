"""What every engine promises where the outputs of frozen stages are kept: the same result, from one computation."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.data.dataset import DataSet, Split
from benchmark.engines import Network
from benchmark.recipe import Recipe
from benchmark.training.feature_cache import Caching
from benchmark.training.feature_store import FeatureStore
from benchmark.training.train import Training, train

CLASSES, COUNT = 3, 60
Built = tuple[Any, Network]

RECIPE: dict[str, Any] = {
    "epochs": 3, "batch_size": 9, "optimizer.learning_rate": 0.01, "schedule.name": "constant",
    "execution.precision": "float32", "execution.compile": "off", "execution.channels_last": "on",
}  # fmt: skip


def data(size: int = 16, **changes: Any) -> DataSet:
    """Return images of three classes that differ in brightness, with noise."""
    generator = np.random.default_rng(0)
    labels = np.arange(COUNT) % CLASSES
    noise = generator.normal(scale=40, size=(COUNT, size, size, 3))
    pixels = np.clip(60 + 40 * labels[:, None, None, None] + noise, 0, 255).astype(np.uint8)
    values: dict[str, Any] = {
        "name": "toy", "pixels": pixels, "labels": labels, "image_ids": np.array([f"{n:02d}" for n in range(COUNT)]),
        "class_names": ("a", "b", "c"), "fingerprint": "f" * 64, "identical": np.arange(COUNT),
    }  # fmt: skip
    return DataSet(**values | changes)


def split(shift: int = 0) -> Split:
    """Return a split of which each third plays another part for another ``shift``."""
    positions = np.arange(COUNT)
    first, second, third = (positions[(positions // CLASSES + shift) % 3 == part] for part in range(3))
    return Split("holdout", first, second, third, hash="0" * 64)


def recipe(**changes: Any) -> Recipe:
    return Recipe().with_values(RECIPE | {name.replace("__", "."): value for name, value in changes.items()})


def run(build: Callable[[Recipe], Built], folder: Path | None, chosen: Recipe, **options: Any) -> Training:
    """Train, with rows kept in ``folder`` where there is one.

    Args:
        build: makes an engine that has built the network for a recipe.
        folder: of the cache.
        chosen: the recipe.
        options: of the training; ``data``, ``split``, ``budget`` and ``origin`` too.
    """
    cache = None if folder is None else FeatureStore(folder, options.pop("budget", 10**9))
    caching = None if cache is None else Caching(cache, options.pop("origin", {}))
    defaults = {"report": lambda event: None, "checkpoints": None, "should_stop": lambda: False}
    engine, network = build(chosen)
    images, parts = options.pop("data", None), options.pop("split", None)
    return train(
        engine, network, images if images is not None else data(), parts or split(), chosen, 0,
        caching=caching, **{**defaults, **options},
    )  # fmt: skip


def same(first: Training, second: Training, tolerance: float = 1e-4) -> None:
    """Say that two trainings came to the same, in every epoch and for every image."""
    a, b = first.predictions, second.predictions
    np.testing.assert_array_equal(a.image_ids, b.image_ids)
    assert np.abs(a.probabilities - b.probabilities).max() < tolerance
    for one, other in zip(first.history, second.history, strict=True):
        assert abs(one.val_loss - other.val_loss) < tolerance
        assert abs(one.train_loss - other.train_loss) < tolerance


def exact_and_computed_once(build: Callable[[Recipe], Built], chosen: Recipe, folder: Path, through: str) -> None:
    """The same predictions without, from the run that keeps rows, and from the run that finds them."""
    plain = run(build, None, chosen)
    first, second = (run(build, folder, chosen) for _ in range(2))
    assert first.feature_cache["cached"], first.feature_cache
    assert first.feature_cache["through"].startswith(through), first.feature_cache
    assert (first.feature_cache["computed"], first.feature_cache["reused"]) == (COUNT, 0)
    assert (second.feature_cache["computed"], second.feature_cache["reused"]) == (0, COUNT)
    assert not plain.feature_cache["cached"]
    same(plain, first)
    same(first, second)
    assert len({line.train_loss for line in plain.history}) == len(plain.history), "nothing was learnt"
    assert (first.train_images_per_s, second.train_images_per_s) == (None, None)
    assert first.timings.prefix_s > 0 == plain.timings.prefix_s
