"""Initial weights of a torch network that a recipe has drawn by one rule for every framework."""

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from benchmark.draws.initialization import glorot_uniform, he_normal, in_words

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm)


def draw_initial_weights(model: nn.Module, example: Tensor, scale: float, seed: int) -> str:
    """Draw kernels, biases and norms by the rule of :mod:`benchmark.draws.initialization`.

    Layers count in the order in which a forward pass first calls them; those that it never calls come after them.

    Args:
        model: without pretrained weights, on its device, in inference mode.
        example: an input of the model, float32, shape (B, 3, S, S).
        scale: of the inputs, by which the first kernel is divided.
        seed: the run's.

    Returns:
        What was drawn, for the record.
    """
    called, flattened = _called(model, example)
    rest = [module for module in model.modules() if module not in called]
    kernels = [module for module in (*called, *rest) if _has_kernel(module)]
    norms = [module for module in (*called, *rest) if isinstance(module, _NORMS)]
    with torch.no_grad():
        for number, module in enumerate(kernels):
            _draw(module, seed, number, flattened.get(module), last=number == len(kernels) - 1)
            if number == 0:
                module.weight.div_(scale)
        for norm in norms:
            if norm.weight is not None:
                norm.weight.fill_(1)
            if norm.bias is not None:
                norm.bias.zero_()
    drawn = {id(p) for module in (*kernels, *norms) for p in (module.weight, module.bias) if p is not None}
    return in_words(len(kernels), len(norms), sum(id(p) not in drawn for p in model.parameters()))


def draw_classifier(model: nn.Module, example: Tensor, seed: int) -> None:
    """Draw the last dense layer that a forward pass calls, which is new, as that of a new head.

    Args:
        model: with pretrained weights before it, in inference mode.
        example: an input of the model, float32, shape (B, 3, S, S).
        seed: the run's.
    """
    called, flattened = _called(model, example)
    dense = [module for module in called if isinstance(module, nn.Linear)]
    if dense:
        with torch.no_grad():
            _draw(dense[-1], seed, 0, flattened.get(dense[-1]), last=True)


def _has_kernel(module: nn.Module) -> bool:
    """Return whether a module's ``weight`` is a kernel of shape (out, in) or (out, in, *sides)."""
    return isinstance(module, _ConvNd | nn.Linear) and not isinstance(module, _ConvTransposeNd)


def _called(model: nn.Module, example: Tensor) -> tuple[dict[nn.Module, None], dict[nn.Module, tuple[int, ...]]]:
    """Return modules in the order of their first call, and the (C, H, W) of the map that a dense layer sees flat."""
    called: dict[nn.Module, None] = {}
    flattened: dict[nn.Module, tuple[int, ...]] = {}
    last_map: list[tuple[int, ...]] = []

    def before(module: nn.Module, inputs: tuple[object, ...]) -> None:
        called.setdefault(module)
        x = inputs[0] if inputs else None
        if isinstance(module, nn.Linear) and isinstance(x, Tensor) and x.ndim == 2 and last_map:
            shape = last_map[-1]
            if math.prod(shape) == x.shape[1] and math.prod(shape[1:]) > 1:
                flattened.setdefault(module, shape)

    def after(_module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            last_map[:] = [tuple(output.shape[1:])]

    handles = [module.register_forward_pre_hook(before) for module in model.modules()]
    handles += [module.register_forward_hook(after) for module in model.modules()]
    try:
        with torch.no_grad():
            model(example)
    finally:
        for handle in handles:
            handle.remove()
    return called, flattened


def _draw(module: nn.Module, seed: int, number: int, flattened: tuple[int, ...] | None, *, last: bool) -> None:
    """Fill one layer's kernel and its bias."""
    outputs, inputs, *sides = module.weight.shape
    if last and not sides:
        kernel = glorot_uniform(seed, "logits", (inputs, outputs))
    else:
        kernel = he_normal(seed, number, (*sides, inputs, outputs), module.weight[0].numel())
    if flattened is not None:  # Keras flattens channels last, torch channels first
        channels, height, width = flattened
        kernel = kernel.reshape(height, width, channels, outputs).transpose(2, 0, 1, 3).reshape(inputs, outputs)
    axes = (kernel.ndim - 1, kernel.ndim - 2, *range(len(sides)))
    module.weight.copy_(torch.from_numpy(kernel.transpose(axes).copy()))
    if module.bias is not None:
        module.bias.zero_()
