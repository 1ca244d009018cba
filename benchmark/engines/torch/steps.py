"""The functions of a torch network that a step and a prediction compute, made of its stages."""

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmark.engines.torch.loss import image_losses
from benchmark.engines.torch.network import TorchStage
from benchmark.recipe import Loss


def precision_context(device: str, autocast: torch.dtype | None) -> contextlib.AbstractContextManager[Any]:
    return torch.autocast(device, autocast) if autocast is not None else contextlib.nullcontext()


def step_functions(
    stages: Sequence[TorchStage], start: int, first: int, autocast: torch.dtype | None, device: str, wanted: Loss
) -> tuple[Callable[[Tensor, Tensor, Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Return the training loss of inputs, labels and loss weights, and the logits of inputs in inference mode.

    Args:
        stages: of the network.
        start: number of the stage whose input the inputs are.
        first: number of the first stage that is trained.
        autocast, device: of the arithmetic.
        wanted: kind of loss.
    """
    calls = [stage.call for stage in stages[start:]]
    frozen, trained = calls[: first - start], calls[first - start :]
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
