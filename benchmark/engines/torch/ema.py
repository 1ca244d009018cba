"""The EMA of weights in torch."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from benchmark.engines.shared import EMA, SharedEma


class WeightEma(SharedEma):
    """The exponential moving average of tensors, and its exchange with them.

    Args:
        tensors: returns what is averaged, by name; those that are not of floating point are left alone.
    """

    def __init__(self, tensors: Callable[[], Mapping[str, Tensor]]) -> None:
        self._all = tensors
        self._means = {name: tensor.detach().clone() for name, tensor in self._floating().items()}

    def _floating(self) -> dict[str, Tensor]:
        return {name: tensor.detach() for name, tensor in self._all().items() if tensor.is_floating_point()}

    def _lists(self) -> tuple[list[Tensor], list[Tensor]]:
        return list(self._floating().values()), list(self._means.values())

    def update(self, decay: float) -> None:
        """Let the EMA follow by one step: ``decay`` of the old one and ``1 - decay`` of the tensors."""
        tensors, means = self._lists()
        torch._foreach_lerp_(means, tensors, 1 - decay)

    def _exchange(self) -> None:
        tensors, means = self._lists()
        trained = [tensor.clone() for tensor in tensors]
        torch._foreach_copy_(tensors, means)
        torch._foreach_copy_(means, trained)

    def slots(self) -> dict[str, Tensor]:
        """Return what a checkpoint keeps, by name."""
        return {EMA + name: mean for name, mean in self._means.items()}

    def restart(self) -> None:
        """Let the EMA be what the tensors are now."""
        tensors, means = self._lists()
        torch._foreach_copy_(means, tensors)

    def arrange(self, memory_format: torch.memory_format) -> None:
        """Keep averages of four dimensions in a memory format."""
        for name, mean in self._means.items():
            if mean.ndim == 4:
                self._means[name] = mean.contiguous(memory_format=memory_format)
