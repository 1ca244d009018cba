"""Whether stages, composed, equal the whole module: shown by running both."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.training.stages.torch_graph import Piece, run

# Composition calls the same kernels in the same order; a GPU may still choose another algorithm for the second call.
_TOLERANCE = {"cpu": 1e-5, "cuda": 1e-2}
# Gradients of larger networks (VGG16) take seconds. Their training step is compared without; equal logits and
# statistics in training mode, from the same modules, leave little room for other gradients.
_LARGEST = 60_000_000
_SEED = 2011


@dataclass(frozen=True)
class _Step:
    """What one training step of a network computes: its logits, gradients, and running statistics afterwards."""

    logits: Tensor
    gradients: list[Tensor | None]
    buffers: list[Tensor]


def _switch_off_if_given(stage_input: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    storage = stage_input.untyped_storage().data_ptr()

    def switch(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs and isinstance(inputs[0], Tensor) and inputs[0].untyped_storage().data_ptr() == storage:
            module.inplace = False  # type: ignore[assignment]

    return switch


def proven(whole: nn.Module, pieces: Sequence[Piece], example: Tensor) -> bool:
    """Return whether the composed pieces equal ``whole``.

    That is: the same logits in inference mode; in training mode the same logits, running statistics and (of
    networks that are not huge) gradients; each parameter in exactly one piece, unless the step does not use it; and no piece changes its
    input. In-place activations are switched off where they would. Weights, statistics and torch's random state are
    left as they were; ``whole`` is left in inference mode.

    Args:
        whole: the module, in float32.
        pieces: sharing its parameters.
        example: an input of at least two images.
    """
    owned = [parameter for piece in pieces for parameter in piece.parameters.values()]
    if len({id(parameter) for parameter in owned}) < len(owned):
        return False
    tolerance = _TOLERANCE[example.device.type]
    parameters = [parameter for parameter in whole.parameters() if parameter.requires_grad]
    compared = parameters if sum(parameter.numel() for parameter in parameters) <= _LARGEST else []
    buffers = list(whole.buffers())
    before = [buffer.clone() for buffer in buffers]
    devices = [example.device] if example.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            _set_mode(whole, pieces, training=False)
            with torch.no_grad():
                expected = whole(example)
                found = _checked(pieces, example)
            if found is None or not _equal(found, expected, tolerance):
                return False
            steps = []
            for forward in (whole, lambda x: run(pieces, x)):
                _set_mode(whole, pieces, training=True)
                steps.append(_step(forward, compared, buffers, example))
                _restore(buffers, before)
    finally:
        _restore(buffers, before)
        _set_mode(whole, pieces, training=False)
    first, second = steps
    unowned = {id(parameter) for parameter in parameters} - {id(parameter) for parameter in owned}
    unused = {id(p) for p, gradient in zip(compared, first.gradients, strict=True) if gradient is None}
    pairs = [
        (first.logits, second.logits),
        *zip(first.gradients, second.gradients, strict=True),
        *zip(first.buffers, second.buffers, strict=True),
    ]
    return unowned <= unused and all(_equal(b, a, tolerance) for a, b in pairs)


def _set_mode(whole: nn.Module, pieces: Sequence[Piece], *, training: bool) -> None:
    whole.train(training)
    for piece in pieces:
        for module in piece.modules:
            module.training = training


def _checked(pieces: Sequence[Piece], x: Tensor) -> Tensor | None:
    """Return the composition, or ``None`` where a piece gives no tensor or changes its input.

    In-place activations that would overwrite their stage's input, which others may still need, are switched off;
    only those, because within a stage they save memory and change nothing.
    """
    for piece in pieces:
        version = x._version
        in_place = [module for module in piece.modules if getattr(module, "inplace", False) is True]
        handles = [module.register_forward_pre_hook(_switch_off_if_given(x)) for module in in_place]
        y = piece.forward(x)
        for handle in handles:
            handle.remove()
        if not isinstance(y, Tensor) or x._version != version:
            return None
        x = y
    return x


def _step(
    forward: Callable[[Tensor], Tensor], parameters: list[nn.Parameter], buffers: list[Tensor], example: Tensor
) -> _Step:
    torch.manual_seed(_SEED)
    gradients: list[Tensor | None] = []
    with torch.set_grad_enabled(bool(parameters)):
        logits = forward(example)
        labels = torch.arange(len(logits), device=logits.device) % logits.shape[-1]
        loss = functional.cross_entropy(logits.float(), labels)
    if parameters:
        gradients = list(torch.autograd.grad(loss, parameters, allow_unused=True))
    return _Step(logits.detach(), gradients, [buffer.clone() for buffer in buffers])


def _restore(buffers: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for buffer, value in zip(buffers, values, strict=True):
        buffer.copy_(value)


def _equal(found: Tensor | None, expected: Tensor | None, tolerance: float) -> bool:
    if found is None or expected is None:
        return found is expected
    if found.shape != expected.shape:
        return False
    if found.equal(expected):
        return True
    scale = float(expected.abs().max())
    return float((found - expected).abs().max()) <= tolerance * max(scale, 1e-3)
