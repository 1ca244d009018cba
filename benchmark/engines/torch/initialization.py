"""Kernels of a torch network that a recipe draws anew."""

from collections.abc import Sequence

import torch
from torch import nn

from benchmark.draws.initialization import he_normal
from benchmark.engines.torch.stages.stage import Piece


def draw_kernels(pieces: Sequence[Piece], seed: int) -> None:
    """Give convolutions and dense layers He's kernels and zero biases, as on every framework, but those of the head.

    Args:
        pieces: of a network without pretrained weights, the head last.
        seed: of the run.
    """
    modules = dict.fromkeys(
        module for piece in pieces[:-1] for module in piece.modules if isinstance(module, nn.Conv2d | nn.Linear)
    )
    with torch.no_grad():
        for number, module in enumerate(modules):
            outputs, inputs, *sides = module.weight.shape
            kernel = he_normal(seed, number, (*sides, inputs, outputs), module.weight[0].numel())
            axes = (kernel.ndim - 1, kernel.ndim - 2, *range(len(sides)))
            module.weight.copy_(torch.from_numpy(kernel.transpose(axes)))
            if module.bias is not None:
                module.bias.zero_()
