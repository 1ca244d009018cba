"""Training while one other process keeps a core busy, against training on a quiet machine.

    python tests/performance/busy_machine.py torch timm/tf_efficientnet_lite0
    python tests/performance/busy_machine.py tensorflow keras/efficientnet_lite0

The other process is paused and continued in turns; a round times one epoch of each. Where the engine can change its
number of threads, the number that a run would choose beside the other process is a third side. Printed: images per
second (median), and the median of the rounds' ratios to the quiet machine.
"""

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
from turns import our_loop, random_images, ratio_in_words, recipe_of, take_turns, timed

from backbones.registry import load_registry
from benchmark.engines.one_framework import shut_out_other_framework
from benchmark.training.autotune import measure_threads

_SETTLE_SECONDS = 0.5


def main() -> None:
    """Compare for each backbone named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine")
    parser.add_argument("backbones", nargs="+")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batches", type=int, default=8, help="of 32 images, in each epoch")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    shut_out_other_framework(options.engine)
    recipe = recipe_of(options.size, 32)
    count = options.batches * recipe.batch_size
    data, split = random_images(count, options.size)
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        for name in options.backbones:
            backbone = load_registry().get(name)
            loop, network = our_loop(options.engine, backbone, recipe, data, split)
            choices: dict[str, str] = {}
            other.send_signal(signal.SIGCONT)
            time.sleep(_SETTLE_SECONDS)
            measure_threads(loop, choices)
            print(f"{name}, {options.size} px; chosen beside the other process: {choices.get('threads', 'nothing')}")
            every = network.thread_counts[:1] or (0,)
            sides = {"quiet": (signal.SIGSTOP, every[0]), "beside": (signal.SIGCONT, every[0])}
            if choices:
                sides["beside, chosen"] = (signal.SIGCONT, int(choices["threads"].partition(" ")[0]))

            def turn(switch: signal.Signals, threads: int, loop=loop) -> Callable[[], float]:  # type: ignore[no-untyped-def]
                work = timed(lambda: loop.train_epoch(1))

                def ready() -> float:
                    other.send_signal(switch)
                    time.sleep(_SETTLE_SECONDS)
                    if threads:
                        loop.engine.set_threads(threads)
                    return work()

                return ready

            seconds = take_turns({side: turn(*how) for side, how in sides.items()}, options.rounds)
            for side, taken in seconds.items():
                ratio = ratio_in_words(taken, seconds["quiet"])
                print(f"  {side}: {count / np.median(taken):.1f} img/s, of the quiet pace {ratio}", flush=True)
    finally:
        other.kill()
        other.wait()


if __name__ == "__main__":
    main()
