"""Full training on every engine against ``keras.Model.fit``: same network, images, precision, batch and optimiser.

    python tests/performance/train_against_keras_fit.py keras/baseline_cnn torch/baseline_cnn --size 128
    python tests/performance/train_against_keras_fit.py keras/resnet50 --size 64

Ours is an epoch of the common loop, from uint8 images in memory to the last update. Fit gets what costs it least:
float32 images that were normalised beforehand, in memory. It runs compiled by XLA, as it does by default, and
without; ours is not compiled, and in torch keeps the memory that it frees, as workers do. Each side is a process of
its own; a round times one epoch of each, in turns.
"""

import argparse
import contextlib
from collections.abc import Callable, Mapping

import numpy as np
from turns import Process, answer, our_epoch, random_images, ratio_in_words, recipe_of, take_turns

from backbones import UNIT
from backbones.registry import load_registry
from benchmark.data.dataset import DataSet, Split
from benchmark.engines.one_framework import shut_out_other_framework
from benchmark.process_memory import hold_memory

_FIT: Mapping[str, object] = {"keras.fit": "auto", "keras.fit without XLA": False}


def fit(name: str, data: DataSet, split: Split, batch: int, xla: object) -> Callable[[], object]:
    """Return Keras's epoch."""
    import keras

    backbone = load_registry().get(name)
    wanted = backbone.preprocessing or UNIT
    pixels, labels = data.pixels[split.train], data.labels[split.train]
    channels = pixels[..., ::-1] if wanted.channel_order == "bgr" else pixels
    inputs = ((channels * wanted.scale - np.array(wanted.mean)) / np.array(wanted.std)).astype(np.float32)
    model = backbone.make(len(data.class_names), None, data.size)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.AdamW(1e-4, weight_decay=0.01)
    model.compile(optimizer=optimizer, loss=loss, jit_compile=xla)
    return lambda: model.fit(inputs, labels, batch_size=batch, verbose=0)


def epoch_of(side: str, name: str, size: int, batch: int, count: int) -> Callable[[], object]:
    """Return what one side does in a round."""
    data, split = random_images(count, size)
    backbone = load_registry().get(name)
    engine = "tensorflow" if side in _FIT else side.removeprefix("ours, ")
    shut_out_other_framework(engine)
    if side in _FIT:
        return fit(name, data, split, batch, _FIT[side])
    if engine == "torch":
        hold_memory()  # as a worker does
    return our_epoch(engine, backbone, recipe_of(size, batch), data, split)


def main() -> None:
    """Compare the network named, and the same in torch where that is named too."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backbone", help="a Keras one")
    parser.add_argument("in_torch", nargs="?", help="the same network in torch")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--batches", type=int, default=8, help="in each epoch")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    options = parser.parse_args()
    count = options.batches * options.batch
    if options.side:
        answer(epoch_of(options.side, options.backbone, options.size, options.batch, count))
        return
    given = [f"--size={options.size}", f"--batch={options.batch}", f"--batches={options.batches}"]
    names = dict.fromkeys(["ours, tensorflow", *_FIT], options.backbone)
    if options.in_torch:
        names["ours, torch"] = options.in_torch
    print(f"{options.backbone}, {options.size} px, batch {options.batch}:", flush=True)
    with contextlib.ExitStack() as stack:
        sides = {
            side: stack.enter_context(Process([__file__, name, *given, f"--side={side}"]))
            for side, name in names.items()
        }
        seconds = take_turns(sides, options.rounds)
    for side, taken in seconds.items():
        print(f"  {side}: {count / np.median(taken):.1f} img/s")
    for side in names:
        for other in _FIT if side not in _FIT else ():
            print(f"  {side} over {other}: {ratio_in_words(seconds[side], seconds[other])}")


if __name__ == "__main__":
    main()
