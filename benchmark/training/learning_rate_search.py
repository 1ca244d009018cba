"""Learning rates tried one after the other within one run, and the one that is chosen on the validation images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from benchmark.records.outcomes import Outcome, RunFailure
from benchmark.records.record import Epoch, Trial
from benchmark.training.checkpoints import Checkpoints, Fitted, Progress, State
from benchmark.training.epoch import Loop

Fit = Callable[[Checkpoints | None, Mapping[str, str]], Fitted]


def search(loop: Loop, fit: Fit, checkpoints: Checkpoints | None) -> tuple[Fitted, list[Trial]]:
    """Train at each of the recipe's learning rates from the same weights, and leave the engine with the best.

    The best has the lowest validation loss, the earliest of equals. The weights of no more than two are held.

    Args:
        loop: of the training; its recipe has the chosen learning rate afterwards.
        fit: trains from the engine's state, given checkpoints of its own and choices that were measured before.
        checkpoints: of the run; each learning rate has its own, under names of its number.

    Raises:
        RunFailure: ``diverged`` where all did.
    """
    engine, recipe, rates = loop.engine, loop.recipe, loop.recipe.tuning.learning_rates
    initial = engine.state(optimizer=True)
    trials: list[Trial] = []
    choices: Mapping[str, str] = {}
    best: tuple[int, Fitted, State] | None = None
    for number, rate in enumerate(rates, start=1):
        loop.note(f"Learning rate {rate:g}, {number} of {len(rates)}.")
        loop.recipe = recipe.with_values({"optimizer.learning_rate": rate})
        engine.load_state(initial)
        own = None if checkpoints is None else replace(checkpoints, prefix=f"trial-{number}-", keeps_end=True)
        try:
            fitted = fit(own, choices)
        except RunFailure as failure:
            if failure.outcome is not Outcome.DIVERGED:
                raise
            trials.append(_diverged(rate, own, failure.reason))
            continue
        choices = choices or fitted.progress.choices
        history = fitted.progress.history
        trials.append(_trial(rate, history, history[fitted.final_epoch - 1]))
        if best is None or _loss(trials[-1]) < _loss(trials[best[0]]):
            best = number - 1, fitted, engine.state(optimizer=False)
    if best is None:
        raise RunFailure(Outcome.DIVERGED, f"Every learning rate diverged; the last: {trials[-1].reason}")
    chosen, fitted, weights = best
    trials[chosen] = trials[chosen].model_copy(update={"chosen": True})
    side = edge(rates, rates[chosen])
    if side:
        loop.note(f"The learning rate {rates[chosen]:g} is {side} that was tried.")
    loop.recipe = recipe.with_values({"optimizer.learning_rate": rates[chosen]})
    engine.load_state(weights)
    if checkpoints is not None:  # under the usual names, for whoever starts from these weights
        checkpoints.save(fitted.progress, engine.state(optimizer=True), weights)
    return fitted, trials


def edge(rates: Sequence[float], chosen: float) -> str:
    """Return at which end of a grid a learning rate lies: ``the lowest``, ``the highest`` or empty.

    Beyond the end there may be a better one, unless all rates that follow there diverged.
    """
    if len(rates) < 2 or min(rates) < chosen < max(rates):
        return ""
    return "the lowest" if chosen == min(rates) else "the highest"


def _diverged(rate: float, checkpoints: Checkpoints | None, reason: str) -> Trial:
    """Return the line of a learning rate at which training diverged, and remember that it did."""
    history: Sequence[Epoch] = ()
    if checkpoints is not None:
        last = checkpoints.load_last()
        history = last[0].history if last else ()
        checkpoints.save(Progress(history=list(history), diverged=reason), {}, None)
    return _trial(rate, history, None, reason)


def _trial(rate: float, history: Sequence[Epoch], final: Epoch | None, reason: str = "") -> Trial:
    """Return the line of a learning rate; ``final`` is that of the epoch whose weights it ends with."""
    return Trial(
        learning_rate=rate,
        val_loss=None if final is None else final.val_loss,
        val_macro_f1=None if final is None else final.val_macro_f1,
        best_epoch=None if final is None else final.epoch,
        epochs=len(history),
        seconds=sum(line.seconds for line in history),
        chosen=False,
        reason=reason,
    )


def _loss(trial: Trial) -> float:
    return float("inf") if trial.val_loss is None else trial.val_loss
