"""Averaged weights in torch."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_PREFIX = "ema/"


class Average:
    """The exponential moving average of tensors, and its exchange with them.

    Args:
        tensors: returns what is averaged, by name; those that are not of floating point are left alone.
    """

    def __init__(self, tensors: Callable[[], Mapping[str, Tensor]]) -> None:
        self._all = tensors
        self._means = {name: tensor.detach().clone() for name, tensor in self._floating().items()}
        self._shown = False

    def _floating(self) -> dict[str, Tensor]:
        return {name: tensor.detach() for name, tensor in self._all().items() if tensor.is_floating_point()}

    def update(self, decay: float) -> None:
        """Let the average follow by one step: ``decay`` of the old one and ``1 - decay`` of the tensors."""
        torch._foreach_lerp_(list(self._means.values()), list(self._floating().values()), 1 - decay)

    def show(self, wanted: bool) -> None:
        """Put the averages in the place of the tensors, or the tensors back into theirs."""
        if wanted == self._shown:
            return
        tensors, means = list(self._floating().values()), list(self._means.values())
        kept = [tensor.clone() for tensor in tensors]
        torch._foreach_copy_(tensors, means)
        torch._foreach_copy_(means, kept)
        self._shown = wanted

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return copies of the averages, which must not be shown."""
        return {_PREFIX + name: np.array(mean.cpu().contiguous().numpy()) for name, mean in self._means.items()}

    def load_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Put back what :meth:`state` returned."""
        for name, mean in self._means.items():
            mean.copy_(torch.from_numpy(np.array(state[_PREFIX + name])))

    def restart(self) -> None:
        """Let the average be what the tensors are now."""
        torch._foreach_copy_(list(self._means.values()), list(self._floating().values()))

    def arrange(self, memory_format: torch.memory_format) -> None:
        """Keep averages of four dimensions in a memory format."""
        for name, mean in self._means.items():
            if mean.ndim == 4:
                self._means[name] = mean.contiguous(memory_format=memory_format)
