"""BatchNorm's running statistics as the recipe wants them, on every BatchNorm layer of a torch module."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmark.engines.shared import batch_norm_conventions
from benchmark.recipe import BatchNorm
from benchmark.records.outcomes import Outcome, RunFailure


def batch_norms(modules: Sequence[nn.Module]) -> list[_BatchNorm]:
    """Return the BatchNorm layers among ``modules`` that keep running statistics."""
    return [m for m in modules if isinstance(m, _BatchNorm) and m.track_running_stats and m.running_var is not None]


def set_batch_norm(module: nn.Module, rule: BatchNorm) -> dict[str, str]:
    """Give every BatchNorm layer the recipe's momentum; return the conventions, for the record."""
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    for layer in layers:
        layer.momentum = rule.momentum
    return batch_norm_conventions([layer.eps for layer in layers], rule)


class BiasedVariance:
    """Corrects running variances from unbiased, which torch keeps, to biased, which Keras keeps.

    With n values per channel torch does ``new = (1 - m) old + m u`` with the unbiased variance u; the biased one is
    ``u (n - 1) / n``, so that ``new (1 - 1/n) + old (1 - m) / n`` is what was wanted. One step corrects all layers
    with three kernels for lists of tensors, which costs less than a hook on each layer.

    Args:
        layers: those that are trained, at least one: torch takes no empty list of tensors.
    """

    def __init__(self, layers: Sequence[_BatchNorm]) -> None:
        self._layers = layers
        self._before = [torch.empty_like(layer.running_var) for layer in layers]
        self._factors: dict[int, tuple[list[float], list[float]]] = {}
        self._counts: dict[int, int] = {}
        self._batch_size = 0
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def begin_step(self, batch_size: int) -> None:
        """Remember the running variances; watch the layers once for each batch size to learn their n."""
        torch._foreach_copy_(self._before, [layer.running_var for layer in self._layers])
        self._batch_size = batch_size
        if batch_size not in self._factors:
            self._counts = {}
            self._handles = [layer.register_forward_pre_hook(self._count) for layer in self._layers]

    def _count(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if id(layer) in self._counts:
            raise RunFailure(
                Outcome.UNSUPPORTED,
                "A BatchNorm layer is used twice in one step, and then batch_norm.variance = 'biased' can't be kept.",
            )
        self._counts[id(layer)] = inputs[0].numel() // inputs[0].shape[1]

    def end_step(self) -> None:
        """Correct the running variances."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        if self._batch_size not in self._factors:
            # a layer that was not called has kept its variance: factors 1 and 0
            counts = [self._counts.get(id(layer)) for layer in self._layers]
            self._factors[self._batch_size] = (
                [1 - 1 / n if n else 1.0 for n in counts],
                [
                    (1 - (layer.momentum or 0.0)) / n if n else 0.0
                    for layer, n in zip(self._layers, counts, strict=True)
                ],
            )
        of_new, of_old = self._factors[self._batch_size]
        variances = [layer.running_var for layer in self._layers]
        torch._foreach_mul_(variances, of_new)
        torch._foreach_mul_(self._before, of_old)
        torch._foreach_add_(variances, self._before)
