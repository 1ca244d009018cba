"""The functions of a torch network that a step and a prediction compute, made of its stages."""

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmark.errors import nearest
from benchmark.outcomes import Outcome, RunFailure
from benchmark.recipe import Loss
from benchmark.training.engines.torch_loss import image_losses
from benchmark.training.engines.torch_network import TorchStage


def precision_context(device: str, autocast: torch.dtype | None) -> contextlib.AbstractContextManager[Any]:
    return torch.autocast(device, autocast) if autocast is not None else contextlib.nullcontext()


def step_functions(
    stages: Sequence[TorchStage], first: int, autocast: torch.dtype | None, device: str, wanted: Loss
) -> tuple[Callable[[Tensor, Tensor, Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Return the training loss of inputs, labels and loss weights, and the logits of inputs in inference mode."""
    calls = [stage.call for stage in stages]
    frozen, trained = calls[:first], calls[first:]
    precision = functools.partial(precision_context, device, autocast)

    def loss(x: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        with precision():
            if frozen:
                with torch.no_grad():
                    for call in frozen:
                        x = call(x, False)
            for call in trained:
                x = call(x, True)
        return (image_losses(x.float(), labels, wanted) * weights).sum()

    def logits(x: Tensor) -> Tensor:
        with precision():
            for call in calls:
                x = call(x, False)
        return x.float()

    return loss, logits


def first_trainable(wanted: str, names: Sequence[str]) -> int:
    """Return the number of the first stage that a recipe's ``trainable_from`` leaves trainable.

    ``layer4`` is the first of the stages ``layer4.0``, ``layer4.1`` ...

    Raises:
        RunFailure: ``unsupported`` where there is no such stage, named with those that there are.
    """
    if wanted == "all":
        return 0
    if wanted == "head":
        return len(names) - 1
    for number, name in enumerate(names):
        if name == wanted or name.startswith(f"{wanted}."):
            return number
    raise RunFailure(
        Outcome.UNSUPPORTED,
        f"There is no stage '{wanted}' to train from.{nearest(wanted, list(names))} There are {', '.join(names)}.",
    )
