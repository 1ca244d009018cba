"""The common loop against a plain loop written by hand, same framework, layout, precision and compile choice.

    python tests/performance/loop_overhead.py torch torch/baseline_cnn timm/resnet50
    python tests/performance/loop_overhead.py tensorflow keras/baseline_cnn keras/resnet50

Both sides train the same network on the same images, in turns; a round times one epoch of each. Printed: images
per second of both sides (median) and the median of the rounds' ratios, ours over theirs.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np

from backbones import UNIT, Backbone
from backbones.registry import load_registry
from benchmark.data.dataset import DataSet, Split
from benchmark.recipe import Recipe, load_recipe
from benchmark.training.engines import Assignment, create
from benchmark.training.epochs import Loop

CLASSES = 4
Epoch = Callable[[], None]


def images(count: int, size: int) -> tuple[DataSet, Split]:
    """Return random images; the content does not matter to speed."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, size=(count + 8, size, size, 3), dtype=np.uint8)
    labels = generator.integers(0, CLASSES, size=count + 8)
    ids = np.array([f"{number}" for number in range(count + 8)])
    names = tuple("abcd"[:CLASSES])
    data = DataSet("random", pixels, labels, ids, names, "0" * 64, identical=np.arange(count + 8))
    rest = np.arange(count, count + 8)
    return data, Split("holdout", np.arange(count), rest[:4], rest[4:], hash="0" * 64)


def ours(engine_name: str, backbone: Backbone, recipe: Recipe, data: DataSet, split: Split) -> Epoch:
    """Return the harness's epoch."""
    engine = create(engine_name, "cpu", tf32=False, deterministic=False)
    engine.build(Assignment(backbone, recipe, CLASSES, data.size, None, seed=0))
    loop = Loop(engine, data, split, recipe, 0, lambda event: None)
    numbers = iter(range(1, 10**6))
    return lambda: void(loop.train_epoch(1 + next(numbers) % recipe.epochs))


def void(_: object) -> None:
    """Drop a value."""


def plain_torch(backbone: Backbone, recipe: Recipe, data: DataSet, split: Split) -> Epoch:
    """Return the epoch that a researcher writes in torch."""
    import torch
    from torch.nn import functional

    torch.set_flush_denormal(True)
    model = backbone.make(CLASSES, None, data.size).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    preprocessing = backbone.preprocessing or UNIT
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    pixels, labels = torch.from_numpy(data.pixels), torch.from_numpy(data.labels)

    def epoch() -> None:
        order = torch.from_numpy(np.random.default_rng().permutation(split.train))
        total = 0.0
        for batch in order.split(recipe.batch_size):
            inputs = pixels[batch].permute(0, 3, 1, 2).float().div_(255).sub_(mean).div_(std)
            loss = functional.cross_entropy(model(inputs), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()

    return epoch


def plain_tensorflow(backbone: Backbone, recipe: Recipe, data: DataSet, split: Split) -> Epoch:
    """Return the epoch that a researcher writes in TensorFlow: a tf.function step with Keras's AdamW."""
    import keras
    import tensorflow as tf

    model = backbone.make(CLASSES, None, data.size)
    optimizer = keras.optimizers.AdamW(1e-3, weight_decay=0.01)
    optimizer.build(model.trainable_variables)
    preprocessing = backbone.preprocessing or UNIT

    @tf.function
    def step(batch: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        inputs = tf.cast(batch, tf.float32) * preprocessing.scale
        if preprocessing.channel_order == "bgr":
            inputs = inputs[..., ::-1]
        inputs = (inputs - preprocessing.mean) / preprocessing.std
        with tf.GradientTape() as tape:
            logits = model(inputs, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    def epoch() -> None:
        order = np.random.default_rng().permutation(split.train)
        total = 0.0
        for start in range(0, len(order), recipe.batch_size):
            batch = order[start : start + recipe.batch_size]
            total += float(step(tf.constant(data.pixels[batch]), tf.constant(data.labels[batch])))

    return epoch


def compare(first: Epoch, second: Epoch, count: int, rounds: int) -> None:
    """Time both in turns and print medians and the median ratio."""
    for epoch in (first, second):
        epoch()
        epoch()
    seconds = np.zeros((rounds, 2))
    for number in range(rounds):
        turns = [(0, first), (1, second)]
        for column, epoch in turns if number % 2 else reversed(turns):
            start = time.perf_counter()
            epoch()
            seconds[number, column] = time.perf_counter() - start
    ratios = seconds[:, 1] / seconds[:, 0]
    mine, theirs = np.median(count / seconds, axis=0)
    print(
        f"ours {mine:.1f} img/s, plain loop {theirs:.1f} img/s, median ratio {np.median(ratios):.3f} "
        f"({ratios.min():.3f} to {ratios.max():.3f}, {rounds} rounds)",
        flush=True,
    )


def main() -> None:
    """Compare for each backbone named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=["torch", "tensorflow"])
    parser.add_argument("backbones", nargs="+")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    changes = {"size": options.size, "execution.compile": "off", "execution.precision": "float32", "epochs": 100}
    recipe = load_recipe("default").with_values(changes)
    count = options.batches * recipe.batch_size
    data, split = images(count, options.size)
    registry = load_registry()
    for name in options.backbones:
        backbone = registry.get(name)
        print(f"{name}, {options.size} px, batch {recipe.batch_size}: ", end="", flush=True)
        plain = plain_torch if options.engine == "torch" else plain_tensorflow
        compare(
            ours(options.engine, backbone, recipe, data, split),
            plain(backbone, recipe, data, split),
            count,
            options.rounds,
        )


if __name__ == "__main__":
    main()
