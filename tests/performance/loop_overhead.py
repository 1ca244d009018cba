"""The common loop against a plain loop written by hand, same framework, layout, precision and compile choice.

    python tests/performance/loop_overhead.py torch torch/baseline_cnn timm/resnet50
    python tests/performance/loop_overhead.py tensorflow keras/baseline_cnn keras/resnet50

Both sides train the same network on the same images, in turns; a round times one epoch of each. Printed: images
per second of both sides (median) and the median of the rounds' ratios, ours over theirs.
"""

import argparse
from collections.abc import Callable

import numpy as np
from turns import our_epoch, random_images, ratio_in_words, take_turns, timed

from backbones import UNIT, Backbone
from backbones.registry import load_registry
from benchmark.data.dataset import DataSet, Split
from benchmark.engines.one_framework import shut_out_other_framework
from benchmark.recipe import Recipe, load_recipe

Epoch = Callable[[], None]


def plain_torch(backbone: Backbone, recipe: Recipe, data: DataSet, split: Split) -> Epoch:
    """Return the epoch that a researcher writes in torch."""
    import torch
    from torch.nn import functional

    torch.set_flush_denormal(True)
    model = backbone.make(len(data.class_names), None, data.size).to(memory_format=torch.channels_last).train()
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

    model = backbone.make(len(data.class_names), None, data.size)
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


def main() -> None:
    """Compare for each backbone named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=["torch", "tensorflow"])
    parser.add_argument("backbones", nargs="+")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batches", type=int, default=8, help="of 32 images, in each epoch")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    shut_out_other_framework(options.engine)
    changes = {
        "size": options.size,
        "execution.compile": "off",
        "execution.channels_last": "on",
        "execution.precision": "float32",
        "epochs": 100,
    }
    recipe = load_recipe("default").with_values(changes)
    count = options.batches * recipe.batch_size
    data, split = random_images(count, options.size)
    plain = plain_torch if options.engine == "torch" else plain_tensorflow
    for name in options.backbones:
        backbone = load_registry().get(name)
        print(f"{name}, {options.size} px, batch {recipe.batch_size}: ", end="", flush=True)
        sides = {
            "ours": timed(our_epoch(options.engine, backbone, recipe, data, split)),
            "plain": timed(plain(backbone, recipe, data, split)),
        }
        seconds = take_turns(sides, options.rounds)
        mine, theirs = (count / np.median(seconds[side]) for side in sides)
        ratio = ratio_in_words(seconds["ours"], seconds["plain"])
        print(f"ours {mine:.1f} img/s, plain loop {theirs:.1f} img/s, ratio {ratio}", flush=True)


if __name__ == "__main__":
    main()
