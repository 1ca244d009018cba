"""Fitting: epochs until the last or until patience is over, kept in checkpoints, within the memory there is.

A run resumed from a checkpoint goes on exactly as if it had never stopped.
"""

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from benchmark.engines.base import Engine, Network, StepInput
from benchmark.recipe import Recipe
from benchmark.records.outcomes import Outcome, RunFailure
from benchmark.records.record import Epoch
from benchmark.training.autotune import resolve_channels_last, resolve_compile
from benchmark.training.checkpoints import Checkpoints, State
from benchmark.training.epoch import Loop

_T = TypeVar("_T")


@dataclass
class Progress:
    """What the loop must know to go on after an epoch; kept in the header of the last checkpoint."""

    history: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = math.inf
    choices: dict[str, str] = field(default_factory=dict)
    parts: int = 0
    diverged: str = ""
    seconds: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "history": [epoch.model_dump() for epoch in self.history],
            "best_epoch": self.best_epoch,
            "best_loss": self.best_loss,
            "choices": self.choices,
            "parts": self.parts,
            "diverged": self.diverged,
            "seconds": self.seconds,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Progress":
        return cls(**{**values, "history": [Epoch(**epoch) for epoch in values["history"]]})


@dataclass(frozen=True)
class Fitted:
    """What training left: the progress, the weights of the best epoch where they are restored, where it began."""

    progress: Progress
    best: State | None
    resumed_from: int


def fit(
    loop: Loop,
    network: Network,
    should_stop: Callable[[], bool],
    shrink: bool,
    checkpoints: Checkpoints | None,
    choices: Mapping[str, str],
) -> Fitted:
    """Train from the engine's state, or from where an earlier try has come to.

    Args:
        shrink: whether batches are cut into more parts where memory is too small.
        choices: those that are measured, where they are known already.
    """
    engine, recipe, clock = loop.engine, loop.recipe, loop.clock
    progress, best = _resume(engine, checkpoints)
    resumed_from = len(progress.history)
    loop.val_losses = [line.val_loss for line in progress.history]
    loop.parts = max(loop.parts, progress.parts)
    if progress.diverged:
        raise RunFailure(Outcome.DIVERGED, progress.diverged)
    progress.choices = progress.choices or dict(choices)
    with clock("choices"):
        within_memory(loop, shrink, lambda: _choose(loop, network, progress))

    for epoch in range(resumed_from + 1, recipe.epochs + 1):
        if _patience_is_over(recipe, progress):
            break
        start = time.perf_counter()
        with clock("harness"):
            train_loss, val_loss, val_f1 = within_memory(loop, shrink, partial(_epoch, loop, epoch))
            line = Epoch(
                epoch=epoch,
                learning_rate=loop.rate(epoch * loop.steps_per_epoch - 1),
                train_loss=train_loss,
                val_loss=val_loss,
                val_macro_f1=val_f1,
                seconds=time.perf_counter() - start,
            )
            progress.history.append(line)
            progress.parts = loop.parts
            loop.val_losses.append(val_loss)
            improved = val_loss < progress.best_loss
            if improved:
                progress.best_epoch, progress.best_loss = epoch, val_loss
            with clock("checkpoint"):
                if improved and recipe.early_stopping.restore_best:
                    best = engine.state(optimizer=False)
                    if checkpoints:
                        checkpoints.save_best(epoch, best)
                if checkpoints:
                    progress.seconds = dict(clock.seconds)
                    checkpoints.save_last(progress.as_json(), engine.state(optimizer=True))
        loop.report({"event": "epoch", **line.model_dump(), "epochs": recipe.epochs})
        if should_stop() and epoch < recipe.epochs:
            raise RunFailure(
                Outcome.INTERRUPTED, f"Stopped after epoch {epoch}; the same command goes on from there."
            )
    return Fitted(progress, best, resumed_from)


def _epoch(loop: Loop, epoch: int) -> tuple[float, float, float]:
    """Train and validate one epoch; return both losses and macro-F1."""
    train_loss = loop.train_epoch(epoch)
    loop.engine.assert_frozen()
    return train_loss, *loop.validate(epoch)


def _choose(loop: Loop, network: Network, progress: Progress) -> None:
    """Make the choices that a measurement makes, or those that were made before an interruption."""
    engine, total = loop.engine, loop.recipe.epochs * loop.steps_per_epoch
    chosen = progress.choices
    if chosen:
        if "channels_last" in chosen:
            engine.set_channels_last(chosen["channels_last"].startswith("on"))
        engine.set_compile(chosen["compile"].startswith("on"))
        return
    loop.report({"event": "phase", "phase": "choosing"})

    def steps() -> Iterator[StepInput]:
        return loop.step_inputs(1)

    if network.layout_is_free and loop.features is None:  # steps behind kept rows say nothing of the network's layout
        chosen["channels_last"] = resolve_channels_last(engine, network.execution["channels_last"], total, steps)
    chosen["compile"] = resolve_compile(engine, loop.recipe.execution.compile, total, steps)


def within_memory(loop: Loop, shrink: bool, action: Callable[[], _T]) -> _T:
    """Return what an action gives; where memory is too small and that is allowed, do it anew in smaller parts.

    The engine is put back to where it was before the action.
    """
    before = loop.engine.state(optimizer=True) if shrink else None
    while True:
        try:
            return action()
        except RunFailure as failure:
            if before is None or failure.outcome is not Outcome.OOM or loop.parts >= loop.recipe.batch_size:
                raise
        gc.collect()  # what was raised holds on to what the step had allocated
        loop.parts = min(2 * loop.parts, loop.recipe.batch_size)
        loop.first_steps.clear()
        loop.engine.load_state(before)
        loop.report({"event": "note", "note": f"Out of memory: batch {batch_in_words(loop)} from here on."})


def batch_in_words(loop: Loop) -> str:
    asked, parts = loop.recipe.batch_size, loop.parts
    return f"{asked}" if parts == 1 else f"{asked}, computed in {parts} parts of at most {-(-asked // parts)}"


def end_with_best(loop: Loop, fitted: Fitted) -> int:
    """Put the weights of the best epoch back where they are wanted; return the number of the epoch they are of."""
    last = len(fitted.progress.history)
    if loop.recipe.early_stopping.restore_best and fitted.best is not None and fitted.progress.best_epoch != last:
        loop.engine.load_state(fitted.best)
        return fitted.progress.best_epoch
    return last


def _resume(engine: Engine, checkpoints: Checkpoints | None) -> tuple[Progress, State | None]:
    """Return the progress and best weights of an earlier try, its state loaded, or a fresh start."""
    found = checkpoints.load_last() if checkpoints else None
    if checkpoints is None or found is None:
        return Progress(), None
    progress = Progress.from_json(found[0])
    if progress.diverged:
        return progress, None
    engine.load_state(found[1])
    return progress, checkpoints.load_best(progress.best_epoch)


def _patience_is_over(recipe: Recipe, progress: Progress) -> bool:
    patience = recipe.early_stopping.patience
    return patience is not None and len(progress.history) - progress.best_epoch >= patience
