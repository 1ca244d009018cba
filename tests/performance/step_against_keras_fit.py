"""The TensorFlow engine's training step against ``keras.Model.fit`` on the same network, images and optimiser.

    python tests/performance/step_against_keras_fit.py keras/baseline_cnn keras/resnet50 --size 128

Fit gets what costs it least: float32 images, normalised beforehand, in memory. It runs without XLA and, with
``--xla``, also as it does by default. Sides take turns; a round times one epoch of each. Printed: images per second
(median) and the median of the rounds' ratios, ours over theirs.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np

from backbones import UNIT, Backbone
from backbones.registry import load_registry
from benchmark.execution.worker import shut_out_other_framework
from benchmark.recipe import Recipe
from benchmark.training.engines import Assignment, StepInput, create

CLASSES = 4
Epoch = Callable[[], None]


def ours(backbone: Backbone, pixels: np.ndarray, labels: np.ndarray, batch: int) -> Epoch:  # type: ignore[type-arg]
    """Return the engine's epoch: upload, step, one wait at the end."""
    engine = create("tensorflow", "cpu", tf32=False, deterministic=False)
    recipe = Recipe().with_values({"execution.precision": "float32"})
    engine.build(Assignment(backbone, recipe, CLASSES, pixels.shape[1], None, 0))
    weights = np.full(batch, 1 / batch, dtype=np.float32)
    steps = iter(range(1, 10**6))

    def epoch() -> None:
        losses = []
        for start in range(0, len(pixels), batch):
            step, part = next(steps), slice(start, start + batch)
            given = StepInput(engine.upload(pixels[part]), labels[part], weights, 1e-4, step, step)
            losses.append(engine.train_step(given))
        engine.fetch(losses)

    return epoch


def fit(backbone: Backbone, pixels: np.ndarray, labels: np.ndarray, batch: int, xla: object) -> Epoch:  # type: ignore[type-arg]
    """Return Keras's epoch."""
    import keras

    wanted = backbone.preprocessing or UNIT
    channels = pixels[..., ::-1] if wanted.channel_order == "bgr" else pixels
    inputs = ((channels * wanted.scale - np.array(wanted.mean)) / np.array(wanted.std)).astype(np.float32)
    model = backbone.make(CLASSES, None, pixels.shape[1])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.AdamW(1e-4, weight_decay=0.01)
    model.compile(optimizer=optimizer, loss=loss, jit_compile=xla)
    return lambda: void(model.fit(inputs, labels, batch_size=batch, verbose=0))


def void(_: object) -> None:
    """Drop a value."""


def compare(sides: dict[str, Epoch], count: int, rounds: int) -> None:
    """Time all sides in turns and print medians and median ratios."""
    for epoch in sides.values():
        epoch()
        epoch()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        turns = list(sides.items())
        for name, epoch in turns if number % 2 else turns[::-1]:
            start = time.perf_counter()
            epoch()
            seconds[name].append(time.perf_counter() - start)
    for name, taken in seconds.items():
        ratios = np.array(taken) / np.array(seconds["ours"])
        print(f"  {name}: {count / np.median(taken):.1f} img/s, ours over this {np.median(ratios):.3f}", flush=True)


def main() -> None:
    """Compare for each backbone named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backbones", nargs="+")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--xla", action="store_true", help="also fit as Keras does by default, compiled by XLA")
    options = parser.parse_args()
    shut_out_other_framework("tensorflow")
    generator = np.random.default_rng(0)
    count = options.batches * options.batch
    pixels = generator.integers(0, 256, size=(count, options.size, options.size, 3), dtype=np.uint8)
    labels = generator.integers(0, CLASSES, size=count)
    for name in options.backbones:
        backbone = load_registry().get(name)
        print(f"{name}, {options.size} px, batch {options.batch}:", flush=True)
        sides = {"ours": ours(backbone, pixels, labels, options.batch)}
        sides["keras.fit without XLA"] = fit(backbone, pixels, labels, options.batch, xla=False)
        if options.xla:
            sides["keras.fit"] = fit(backbone, pixels, labels, options.batch, xla="auto")
        compare(sides, count, options.rounds)


if __name__ == "__main__":
    main()
