"""Learning-rate schedules: the factor on ``optimizer.learning_rate`` as a function of the step."""

import math

from benchmark.recipe import Schedule


def factor(schedule: Schedule, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Return the factor for one step.

    Args:
        schedule: see :class:`benchmark.recipe.Schedule` for the formulas.
        step: from 0 to ``steps_per_epoch * epochs - 1``.
        steps_per_epoch: at least 1.
        epochs: planned, whether or not training stops early.
    """
    if schedule.name == "constant":
        return 1.0
    if schedule.name == "warmup_exponential":
        epoch = step // steps_per_epoch
        if epoch < schedule.warmup_epochs:
            return schedule.start_factor + (1 - schedule.start_factor) * epoch / schedule.warmup_epochs
        return float(schedule.decay ** (epoch - schedule.warmup_epochs))
    last = steps_per_epoch * epochs - 1
    peak = max(0.0, schedule.warmup * (last + 1) - 1)  # where torch's OneCycleLR has it
    if step < peak:
        share = step / peak
        rise = share if schedule.name == "cosine" else (1 - math.cos(math.pi * share)) / 2
        return schedule.start_factor + (1 - schedule.start_factor) * rise
    fall = (1 + math.cos(math.pi * (step - peak) / (last - peak))) / 2 if last > peak else 1.0
    return schedule.end_factor + (1 - schedule.end_factor) * fall
