"""Training and predicting in a process that keeps the memory it frees, as workers do, against one that does not.

    python tests/performance/held_memory.py torch timm/resnet50 torch/baseline_cnn
    python tests/performance/held_memory.py tensorflow keras/resnet50 keras/baseline_cnn

Both sides are processes of their own that do the same, in turns: an epoch of training, or its images predicted.
Printed: images per second of both (median) and the median of the rounds' ratios, held over not held; by each side,
as it ends, its peak of memory.
"""

import argparse
import contextlib
import sys

import numpy as np
from turns import Process, answer, our_loop, random_images, ratio_in_words, recipe_of, take_turns

from backbones.registry import load_registry
from benchmark.engines.one_framework import shut_out_other_framework
from benchmark.host import peak_bytes
from benchmark.process_memory import hold_memory

SIDES = ("held", "not held")


def serve(engine: str, name: str, size: int, batches: int, does: str, side: str) -> None:
    """Be one side."""
    shut_out_other_framework(engine)
    if side == "held":
        hold_memory()
    recipe = recipe_of(size, 32)
    data, split = random_images(batches * recipe.batch_size, size)
    loop, _ = our_loop(engine, load_registry().get(name), recipe, data, split)
    if does == "train":
        answer(lambda: loop.train_epoch(1))
    else:
        answer(lambda: loop.predict(split.train))
    print(f"{name}, {does}, {side}: peak {peak_bytes() / 2**20:.0f} MiB", file=sys.stderr)


def main() -> None:
    """Compare, network by network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine")
    parser.add_argument("backbones", nargs="+")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batches", type=int, default=4, help="in each turn")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--does", help=argparse.SUPPRESS)
    options = parser.parse_args()
    given = [f"--size={options.size}", f"--batches={options.batches}"]
    if options.side:
        serve(options.engine, options.backbones[0], options.size, options.batches, options.does, options.side)
        return
    for name in options.backbones:
        for does in ("train", "predict"):
            with contextlib.ExitStack() as stack:
                sides = {
                    side: stack.enter_context(
                        Process([__file__, options.engine, name, *given, f"--does={does}", f"--side={side}"])
                    )
                    for side in SIDES
                }
                seconds = take_turns(sides, options.rounds)
            speeds = {side: 32 * options.batches / np.median(taken) for side, taken in seconds.items()}
            ratio = ratio_in_words(seconds["held"], seconds["not held"])
            print(
                f"{name}, {does}: {', '.join(f'{s} {v:.0f} img/s' for s, v in speeds.items())}; {ratio}", flush=True
            )


if __name__ == "__main__":
    main()
