"""Schedules: learning rates by step, and the decay of the weights' EMA by step."""

import math
from collections.abc import Sequence

from benchmark.recipe import Ema, Schedule


def factor(
    schedule: Schedule, step: int, steps_per_epoch: int, epochs: int, val_losses: Sequence[float] = ()
) -> float:
    """Return the factor on ``optimizer.learning_rate`` for one step.

    Args:
        schedule: see :class:`benchmark.recipe.Schedule` for the formulas.
        step: from 0 to ``steps_per_epoch * epochs - 1``.
        steps_per_epoch: at least 1.
        epochs: planned, whether or not training stops early.
        val_losses: of the epochs before, or of more, which are not looked at.
    """
    epoch = step // steps_per_epoch
    if schedule.name == "constant":
        return 1.0
    if schedule.name == "plateau":
        return _after_plateaus(schedule, val_losses[:epoch])
    if schedule.name == "warmup_exponential":
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


def _after_plateaus(schedule: Schedule, val_losses: Sequence[float]) -> float:
    """Return the factor that a history has led to, as Keras's ``ReduceLROnPlateau`` without cooldown.

    It is computed from the whole history each time, so that resuming needs to know nothing else.
    """
    rate_factor, lowest, waited = 1.0, math.inf, 0
    for loss in val_losses:
        if loss < lowest - schedule.plateau_min_delta:
            lowest, waited = loss, 0
            continue
        waited += 1
        if waited >= schedule.plateau_patience:
            rate_factor, waited = max(rate_factor * schedule.plateau_factor, schedule.end_factor), 0
    return rate_factor


def ema_decay(rule: Ema, step: int) -> float:
    """Return the share of the old EMA of the weights in the new one after a step, which counts from 1."""
    return min(rule.decay, (1 + step) / (10 + step)) if rule.warmup else rule.decay
