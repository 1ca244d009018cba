"""Two sides or more of a comparison, timed in turns, so that a machine that slows down slows them alike."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

import numpy as np
import numpy.typing as npt

from backbones import Backbone
from benchmark.data.dataset import DataSet, Split
from benchmark.engines import BuildSpec, Network, create
from benchmark.recipe import Recipe, load_recipe
from benchmark.training.epoch import Loop

CLASSES = 4
Turn = Callable[[], float]  # does the work once and returns its seconds


def timed(work: Callable[[], object]) -> Turn:
    """Return a turn that does some work in this process."""

    def turn() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return turn


def take_turns(sides: Mapping[str, Turn], rounds: int, warm_up: int = 2) -> dict[str, npt.NDArray[np.float64]]:
    """Return the seconds of each side in each round; every other round goes through them backwards."""
    for turn in sides.values():
        for _ in range(warm_up):
            turn()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        turns = list(sides.items())
        for name, turn in turns if number % 2 else turns[::-1]:
            seconds[name].append(turn())
    return {name: np.array(taken) for name, taken in seconds.items()}


def ratio_in_words(mine: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> str:
    """Return how many times faster than ``other`` a side is: median of the rounds' ratios of seconds, and range."""
    ratios = other / mine
    return f"{np.median(ratios):.3f} ({ratios.min():.3f} to {ratios.max():.3f}, {len(ratios)} rounds)"


def random_images(count: int, size: int) -> tuple[DataSet, Split]:
    """Return ``count`` random training images and a few others; the content does not matter to speed."""
    generator = np.random.default_rng(0)
    whole = count + 8
    data = DataSet(
        name="random",
        pixels=generator.integers(0, 256, size=(whole, size, size, 3), dtype=np.uint8),
        labels=generator.integers(0, CLASSES, size=whole),
        image_ids=np.arange(whole).astype(str),
        class_names=tuple("abcd"[:CLASSES]),
        fingerprint="0" * 64,
        identical=np.arange(whole),
        groups=np.arange(whole).astype(str),  # else near-duplicates would be sought, which real data keeps
    )
    rest = np.arange(count, whole)
    return data, Split("holdout", np.arange(count), rest[:4], rest[4:], hash="0" * 64)


def recipe_of(size: int, batch: int) -> Recipe:
    """Return how full training is timed: the recipe ``default`` at a fixed rate, in float32, not compiled."""
    changes = {
        "size": size,
        "batch_size": batch,
        "epochs": 1000,
        "optimizer.learning_rate": 1e-4,
        "execution.precision": "float32",
        "execution.channels_last": "on",
        "execution.compile": "off",
    }
    return load_recipe("default").with_values(changes)


def our_loop(
    engine_name: str, backbone: Backbone, recipe: Recipe, data: DataSet, split: Split
) -> tuple[Loop, Network]:
    """Return the common loop on one engine, on a CPU, and what the engine built."""
    engine = create(engine_name, "cpu", tf32=False, deterministic=False)
    network = engine.build(BuildSpec(backbone, recipe, len(data.class_names), data.size, None, seed=0))
    engine.set_compile(recipe.execution.compile == "on")
    return Loop(engine, network, data, split, recipe, 0, lambda event: None), network


def our_epoch(
    engine_name: str, backbone: Backbone, recipe: Recipe, data: DataSet, split: Split
) -> Callable[[], object]:
    """Return the harness's own epoch of training."""
    loop, _ = our_loop(engine_name, backbone, recipe, data, split)
    done = iter(range(10**6))
    return lambda: loop.train_epoch(1 + next(done) % recipe.epochs)


class Process:
    """A side that lives in a process of its own, for frameworks that do not bear each other.

    Args:
        arguments: of this interpreter; the process must call :func:`answer`.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self) -> float:
        """Have it do its work once; return the seconds that it took there."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("{"):
                return float(json.loads(line)["seconds"])
        raise RuntimeError(f"a side of the comparison ended with code {self._process.wait()}")

    def __enter__(self) -> "Process":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def answer(work: Callable[[], object]) -> None:
    """Do the work for each line that comes, and say how long it took."""
    turn = timed(work)
    for _ in sys.stdin:
        print(json.dumps({"seconds": turn()}), flush=True)
