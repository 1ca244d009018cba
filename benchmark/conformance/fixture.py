"""What is checked: a backbone, with the means to build and train it small."""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from backbones import Backbone
from backbones.registry import load_registry
from benchmark.child_process import take_standard_streams
from benchmark.draws.randomness import step_seed
from benchmark.engines import BuildSpec, Engine, Network, StepInput, create
from benchmark.engines.one_framework import shut_out_other_framework
from benchmark.recipe import Recipe

Weights = dict[str, npt.NDArray[Any]]

# Small enough that a large network trains in seconds, large enough that five halvings leave a feature map.
CHECK_SIZE = 64
_BATCH = 8


class Fault(Exception):
    """A check failed. The message says what was seen and what to do about it."""


@dataclass(frozen=True)
class Built:
    """A built network with its engine."""

    engine: Engine
    network: Network

    def logits(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return logits of shape (B, num_classes) in inference mode."""
        handle = self.engine.forward(self.engine.normalize(self.engine.upload(images)))
        return self.engine.fetch([handle])[0]

    def train(self, images: npt.NDArray[np.uint8], steps: int, rate: float, first: int = 1) -> list[float]:
        """Train on one batch, images of class 0, 1, 0, 1 ..., from step ``first`` on; return each step's loss."""
        labels = np.arange(len(images), dtype=np.int64) % 2
        return self.train_on(images, labels, rate, {k: step_seed(0, k) for k in range(first, first + steps)})

    def train_on(
        self, images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], rate: float, seeds: Mapping[int, int]
    ) -> list[float]:
        """Train on one batch, the steps of these numbers with their seeds; return each step's loss."""
        weights = np.full(len(images), 1 / len(images), dtype=np.float32)
        losses = []
        for step, seed in seeds.items():
            step_input = StepInput(self.engine.upload(images), labels, weights, rate, step, seed)
            losses.append(float(self.engine.fetch([self.engine.train_step(step_input)])[0]))
        return losses


@dataclass(frozen=True)
class Subject:
    """A backbone under examination.

    Args:
        backbone: the adapter.
        engine: ``torch`` or ``tensorflow``, the same for the whole process.
    """

    backbone: Backbone
    engine: str

    @property
    def size(self) -> int:
        """Side of the images that the training checks use, in pixels."""
        return min(CHECK_SIZE, self.backbone.input_size)

    def recipe(self, **changes: Any) -> Recipe:
        """Return a deterministic recipe without weight decay, so that only gradients move weights."""
        base: dict[str, Any] = {
            "optimizer.name": "adam",
            "optimizer.weight_decay": 0.0,
            "execution.precision": "float32",
            "execution.channels_last": "off",
            "execution.compile": "off",
            "execution.deterministic": True,
        }
        return Recipe().with_values({**base, **{name.replace("__", "."): value for name, value in changes.items()}})

    def build(self, *, classes: int = 2, size: int | None = None, seed: int = 0, **changes: Any) -> Built:
        """Build anew: an engine of its own, random weights."""
        engine = create(self.engine, "cpu", tf32=False, deterministic=True)
        spec = BuildSpec(self.backbone, self.recipe(**changes), classes, size or self.size, None, seed)
        return Built(engine, engine.build(spec))

    def images(self, count: int = _BATCH, size: int | None = None) -> npt.NDArray[np.uint8]:
        """Return uint8 images of shape (count, S, S, 3): even ones bright on the left, odd ones on the right.

        Noise and a colour cast make them distinct, so that channels and images can't be mistaken for each other.
        """
        side = size or self.size
        generator = np.random.default_rng(0)
        images = generator.integers(0, 90, size=(count, side, side, 3))
        for number in range(count):
            half = slice(0, side // 2) if number % 2 == 0 else slice(side // 2, side)
            images[number, :, half] += (120, 80, 40)
        return images.astype(np.uint8)


def subject_asked_for() -> tuple[Subject, dict[str, Any], BinaryIO]:
    """In a process of its own, return what is to be examined, the process's argument, and the stream for answers.

    The argument is a JSON object with ``backbone``, ``engine``, ``plugins`` and whatever else the process is told.
    The framework that the engine does not use can't be imported from then on.
    """
    _, answers = take_standard_streams()
    asked = json.loads(sys.argv[1])
    registry = load_registry(tuple(Path(path) for path in asked["plugins"]))
    shut_out_other_framework(asked["engine"])
    return Subject(registry.get(asked["backbone"]), asked["engine"]), asked, answers


def differing(before: Weights, after: Weights) -> Iterator[str]:
    """Yield the names of the arrays that differ in any bit."""
    for name, array in before.items():
        if not np.array_equal(array, after[name]):
            yield name
