"""Choices that only a measurement can make, resolved before the first epoch and kept with the checkpoint."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice

import numpy as np

from benchmark.engines.base import Engine, StepInput
from benchmark.records.outcomes import Outcome, RunFailure
from benchmark.training.epoch import Loop
from benchmark.training.threads import choose_threads

# A measurement of both layouts takes some twenty steps, which fewer than this would hardly repay.
STEPS_WORTH_LAYOUT = 400
# Compiling costs about this much on the machines tried (torch.compile of a ResNet50 on two cores: 60 to 100 s).
# Training that would not take several times as long can't repay it, and is not even asked.
WORTH_ASKING_SECONDS = 600.0
_ESTIMATED, _MEASURED = 2, 7


def choose(loop: Loop, choices: dict[str, str]) -> None:
    """Make the choices that a measurement makes, or set those that were made before an interruption.

    Args:
        loop: before its first epoch, or where it was interrupted.
        choices: each with the measurement that decided; filled where empty.
    """
    engine, network, total = loop.engine, loop.network, loop.recipe.epochs * loop.steps_per_epoch
    if choices:
        measure_threads(loop, choices)
        if "channels_last" in choices:
            engine.set_channels_last(choices["channels_last"].startswith("on"))
        engine.set_compile(choices["compile"].startswith("on"))
        return
    loop.report({"event": "phase", "phase": "choosing"})
    steps = partial(loop.step_inputs, 1)
    measured: dict[str, str] = {}
    measure_threads(loop, measured)
    if network.layout_is_free and loop.features is None:  # steps from features say nothing of the network's layout
        measured["channels_last"] = resolve_channels_last(engine, network.execution["channels_last"], total, steps)
    measured["compile"] = resolve_compile(engine, loop.recipe.execution.compile, total, steps)
    choices |= measured  # all or none: where memory was too small, all are measured anew


def measure_threads(loop: Loop, choices: dict[str, str]) -> None:
    """Choose the number of threads for the machine as it is now, and put it among the choices."""
    engine, counts, execution = loop.engine, loop.network.thread_counts, loop.recipe.execution
    if not counts:
        return
    choices["threads"] = choose_threads(
        counts, execution.threads, fixed=execution.deterministic,
        set_threads=engine.set_threads,
        pace=lambda: _seconds_per_step(engine, loop.step_inputs(1), _ESTIMATED)[0],
    )  # fmt: skip


def _seconds_per_step(engine: Engine, steps: Iterator[StepInput], count: int) -> tuple[float, float]:
    """Return the median seconds of ``count`` steps after a first, and the seconds of the first, which compiles.

    Weights and optimizer are as before afterwards.
    """
    before, taken = engine.state(optimizer=True), []
    try:
        for step in islice(steps, 1 + count):
            start = time.perf_counter()
            engine.train_step(step)
            engine.synchronize()
            taken.append(time.perf_counter() - start)
    finally:
        engine.load_state(before)
    return float(np.median(taken[1:] or taken)), taken[0]


def resolve_channels_last(
    engine: Engine, usual: str, total_steps: int, steps: Callable[[], Iterator[StepInput]]
) -> str:
    """Return ``on`` or ``off`` with the measurement that decided, and leave the engine so set.

    Args:
        engine: built; its layout is free.
        usual: ``on`` or ``off``, as it is now.
        total_steps: optimisation steps that are planned.
        steps: gives the first steps of training, anew at each call.
    """
    if total_steps < STEPS_WORTH_LAYOUT:
        return f"{usual} (training has {total_steps} steps: too few to repay a measurement)"
    taken = {}
    for layout in ("on", "off"):
        engine.set_channels_last(layout == "on")
        taken[layout], _ = _seconds_per_step(engine, steps(), _MEASURED)
    faster = "on" if taken["on"] <= taken["off"] else "off"
    engine.set_channels_last(faster == "on")
    return f"{faster} ({1000 * taken['on']:.1f} ms a step with it, {1000 * taken['off']:.1f} ms without)"


def resolve_compile(engine: Engine, asked: str, total_steps: int, steps: Callable[[], Iterator[StepInput]]) -> str:
    """Return ``on`` or ``off`` with the measurement that decided, and leave the engine so set.

    Args:
        engine: built.
        asked: ``on``, ``off`` or ``auto``.
        total_steps: optimisation steps that are planned.
        steps: gives the first steps of training, anew at each call.
    """
    if asked != "auto":
        engine.set_compile(asked == "on")
        return asked
    engine.set_compile(False)
    plain, _ = _seconds_per_step(engine, steps(), _ESTIMATED)
    if plain * total_steps >= WORTH_ASKING_SECONDS:
        plain, _ = _seconds_per_step(engine, steps(), _MEASURED)
    if plain * total_steps < WORTH_ASKING_SECONDS:
        return f"off (training takes about {plain * total_steps:.0f} s: too short to repay compiling)"
    try:
        engine.set_compile(True)
        compiled, first = _seconds_per_step(engine, steps(), _MEASURED)
    except RunFailure as failure:
        if failure.outcome is not Outcome.UNSUPPORTED:
            raise
        engine.set_compile(False)
        return f"off ({failure.reason})"
    pays = compiled * total_steps + first < plain * total_steps
    engine.set_compile(pays)
    speeds = f"{1000 * plain:.1f} ms a step plain, {1000 * compiled:.1f} ms compiled after {first:.0f} s"
    return f"{'on' if pays else 'off'} ({speeds})"
