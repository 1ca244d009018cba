"""Tuning: learning rates tried one after the other within one run, and the one that is chosen on validation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmark.records.outcomes import Outcome, RunFailure
from benchmark.records.record import Epoch, Trial
from benchmark.training.checkpoints import Checkpoints, State
from benchmark.training.epoch import Loop
from benchmark.training.fit import Fitted, Progress, end_with_best


@dataclass(frozen=True)
class Attempt:
    """What training at one learning rate came to.

    Args:
        learning_rate: that was tried.
        history: of all epochs that were trained.
        final_epoch: number of the epoch whose weights it ends with; 0 where it diverged.
        state: these weights; ``None`` where it diverged.
        diverged: the reason, where it did.
    """

    learning_rate: float
    history: tuple[Epoch, ...]
    final_epoch: int
    state: State | None
    diverged: str = ""

    @property
    def val_loss(self) -> float:
        """Of the weights that it ends with; infinite where it diverged."""
        return self.history[self.final_epoch - 1].val_loss if self.final_epoch else float("inf")

    def trial(self, *, chosen: bool) -> Trial:
        """Return what the record says of it."""
        line = self.history[self.final_epoch - 1] if self.final_epoch else None
        return Trial(
            learning_rate=self.learning_rate,
            val_loss=None if line is None else line.val_loss,
            val_macro_f1=None if line is None else line.val_macro_f1,
            best_epoch=None if line is None else line.epoch,
            epochs=len(self.history),
            seconds=sum(epoch.seconds for epoch in self.history),
            chosen=chosen,
            reason=self.diverged,
        )


def best_of(learning_rates: Sequence[float], attempt: Callable[[int, float], Attempt]) -> tuple[Attempt, list[Trial]]:
    """Return the attempt of lowest validation loss, the earliest of equals, and what to record of all.

    The weights of no more than two attempts are held at a time.

    Args:
        learning_rates: at least one.
        attempt: trains at a learning rate, given its number from 1; may find that it is done already.

    Raises:
        RunFailure: ``diverged`` where all did.
    """
    best: Attempt | None = None
    lines: list[Trial] = []
    winner = 0
    for number, rate in enumerate(learning_rates, start=1):
        done = attempt(number, rate)
        lines.append(done.trial(chosen=False))
        if done.state is not None and (best is None or done.val_loss < best.val_loss):
            best, winner = done, number - 1
    if best is None:
        raise RunFailure(Outcome.DIVERGED, f"Every learning rate diverged; the last: {lines[-1].reason}")
    lines[winner] = best.trial(chosen=True)
    return best, lines


def tune(
    loop: Loop, fit: Callable[[Checkpoints | None, Mapping[str, str]], Fitted], checkpoints: Checkpoints | None
) -> tuple[Fitted, list[Trial]]:
    """Train at each learning rate from the same weights, and leave the engine with the best of all."""
    engine, recipe, rates = loop.engine, loop.recipe, loop.recipe.tuning.learning_rates
    initial = engine.state(optimizer=True)
    done: dict[float, Fitted] = {}

    def attempt(number: int, rate: float) -> Attempt:
        loop.report({"event": "note", "note": f"Learning rate {rate:g}, {number} of {len(rates)}."})
        loop.recipe = recipe.with_values({"optimizer.learning_rate": rate})
        engine.load_state(initial)
        own = None if checkpoints is None else replace(checkpoints, prefix=f"trial-{number}-")
        known = next((each.progress.choices for each in done.values()), {})
        try:
            done[rate] = fit(own, known)
        except RunFailure as failure:
            if failure.outcome is not Outcome.DIVERGED:
                raise
            history = _history(own)
            if own is not None:
                own.save_last(Progress(history=history, diverged=failure.reason).as_json(), {})
            return Attempt(rate, tuple(history), 0, None, failure.reason)
        final = end_with_best(loop, done[rate])
        return Attempt(rate, tuple(done[rate].progress.history), final, engine.state(optimizer=False))

    best, trials = best_of(rates, attempt)
    assert best.state is not None, "an attempt without weights is never the best"
    loop.recipe = recipe.with_values({"optimizer.learning_rate": best.learning_rate})
    engine.load_state(best.state)
    fitted = done[best.learning_rate]
    if checkpoints is not None:  # under the usual names, for whoever starts from these weights
        checkpoints.save_best(fitted.progress.best_epoch, best.state)
        checkpoints.save_last(fitted.progress.as_json(), engine.state(optimizer=True))
    return fitted, trials


def _history(checkpoints: Checkpoints | None) -> list[Epoch]:
    found = checkpoints.load_last() if checkpoints else None
    return [] if found is None else Progress.from_json(found[0]).history
