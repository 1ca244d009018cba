"""Small torch networks, and an engine built around one."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from backbones import Backbone
from benchmark.draws.augmentation import draw_batch
from benchmark.engines import BuildSpec, Network, StepInput, create
from benchmark.recipe import Augmentation, Recipe

SIZE = 16
CLASSES = 3


def convolutions(num_classes: int) -> Any:
    """Two convolutions with BatchNorm, and a head with dropout."""
    from torch import nn

    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(8 * 16, num_classes)),
    )


def plain(num_classes: int) -> Any:
    """One convolution and a dense layer: nothing differs between training and inference."""
    from torch import nn

    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 5, stride=4), nn.Tanh(), nn.Flatten()), nn.Linear(36, num_classes)
    )


def built(build: Callable[..., Any] = convolutions, *, seed: int = 0, size: int = SIZE, **changes: Any) -> Any:
    """Return an engine that has built a network, and what it says of it.

    Args:
        build: the adapter's function, or a whole adapter.
        seed, size: of the assignment.
        changes: recipe fields, ``__`` for the dot.
    """
    backbone = build if isinstance(build, Backbone) else Backbone(name="own/small", framework="torch", build=build)
    weights = changes.pop("weights", None)
    values = {"execution.precision": "float32", **{name.replace("__", "."): value for name, value in changes.items()}}
    engine = create("torch", "cpu", tf32=False, deterministic=False)
    network: Network = engine.build(BuildSpec(backbone, Recipe().with_values(values), CLASSES, size, weights, seed))
    return engine, network


def images(count: int = 6, size: int = SIZE, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def train(
    engine: Any,
    steps: int = 2,
    first: int = 1,
    *,
    rate: float = 1e-2,
    count: int = 6,
    seed: int = 5,
    parts: int = 1,
    ema_decay: float = 0.0,
    varied: Augmentation | None = None,
) -> list[float]:
    """Train on a few images, ``varied`` where that is given; return the losses."""
    losses = []
    for step in range(first, first + steps):
        labels = np.arange(count) % CLASSES
        weights = np.full(count, 1 / count, dtype=np.float32)
        pixels = engine.upload(images(count, seed=step))
        if varied is not None and varied.active:
            numbers = np.arange(count, dtype=np.uint64)
            pixels = engine.augment(pixels, draw_batch(varied, numbers, seed, step, SIZE))
        given = StepInput(pixels, labels, weights, rate, step, seed + step, parts, ema_decay)
        losses.append(engine.train_step(given))
    return [float(loss) for loss in engine.fetch(losses)]


def logits(engine: Any, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = engine.fetch([engine.forward(engine.normalize(engine.upload(pixels)))])[0]
    return found


def changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """Return the names of the weights that differ in any bit."""
    return {name for name in before if not np.array_equal(before[name], after[name])}
