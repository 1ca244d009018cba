"""Whether stages, composed, equal the whole module: shown by running both."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.engines.torch.stages.stage import Piece, run

# Composition calls the same kernels in the same order; a GPU may still choose another algorithm for the second call.
_TOLERANCE = {"cpu": 1e-5, "cuda": 1e-2}
# Gradients of larger networks (VGG16) take seconds. Their training step is compared without; equal logits and
# statistics in training mode, from the same modules, leave little room for other gradients.
_LARGEST = 60_000_000
_SEED = 2011


class _Unverified(Exception):
    """Carries why stages are not verified."""


@dataclass(frozen=True)
class _Step:
    """What one training step of a network computes: its logits, gradients, and running statistics afterwards."""

    logits: Tensor
    gradients: list[Tensor | None]
    buffers: list[Tensor]


def verify(whole: nn.Module, pieces: Sequence[Piece], example: Tensor) -> str:
    """Return why the composed pieces are not shown to equal ``whole``; empty where they are.

    Shown is: the same logits in inference mode; in training mode the same logits, running statistics and (of
    networks that are not huge) gradients; no parameter in two pieces; and no piece changes its input. In-place
    activations are switched off where they would. Weights, statistics and torch's random state are left as they
    were; all is left in inference mode.

    Args:
        whole: the module, in float32.
        pieces: sharing its parameters.
        example: an input of at least two images, which ``whole`` takes.
    """
    buffers = list(whole.buffers())
    before = [buffer.clone() for buffer in buffers]
    devices = [example.device] if example.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        try:
            _each_parameter_once(pieces)
            _same_in_inference(whole, pieces, example)
            _restore(buffers, before)
            _same_in_training(whole, pieces, example, buffers, before)
        except _Unverified as failure:
            return str(failure)
        finally:
            _restore(buffers, before)
            _set_mode(whole, pieces, training=False)
    return ""


def _each_parameter_once(pieces: Sequence[Piece]) -> None:
    times = Counter(id(parameter) for piece in pieces for parameter in piece.parameters.values())
    for piece in pieces:
        for name, parameter in piece.parameters.items():
            if times[id(parameter)] > 1:
                raise _Unverified(f"the weight {name} is in more than one stage")


def _same_in_inference(whole: nn.Module, pieces: Sequence[Piece], example: Tensor) -> None:
    _set_mode(whole, pieces, training=False)
    with torch.no_grad():
        expected = whole(example)
        x = example
        for piece in pieces:
            x = _output(piece, x)
    _compare([("logits", x, expected)], "in inference mode", _TOLERANCE[example.device.type])


def _output(piece: Piece, x: Tensor) -> Tensor:
    """Return a stage's output, and switch off those of its in-place activations that would overwrite its input.

    Only those: within a stage they save memory and change nothing.
    """
    version = x._version
    in_place = [module for module in piece.modules if getattr(module, "inplace", False) is True]
    handles = [module.register_forward_pre_hook(_switch_off_if_given(x)) for module in in_place]
    try:
        y = piece.forward(x)
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise _Unverified(f"the stage {piece.name} does not take the output before it ({first})") from error
    finally:
        for handle in handles:
            handle.remove()
    if not isinstance(y, Tensor):
        raise _Unverified(f"the stage {piece.name} gives {type(y).__name__}, not a tensor")
    if x._version != version:
        raise _Unverified(f"the stage {piece.name} changes its input in place")
    return y


def _switch_off_if_given(stage_input: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    storage = stage_input.untyped_storage().data_ptr()

    def switch(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs and isinstance(inputs[0], Tensor) and inputs[0].untyped_storage().data_ptr() == storage:
            module.inplace = False

    return switch


def _same_in_training(
    whole: nn.Module, pieces: Sequence[Piece], example: Tensor, buffers: list[Tensor], before: list[Tensor]
) -> None:
    parameters = [parameter for parameter in whole.parameters() if parameter.requires_grad]
    compared = parameters if sum(parameter.numel() for parameter in parameters) <= _LARGEST else []
    steps = []
    for forward in (whole, lambda x: run(pieces, x)):
        _set_mode(whole, pieces, training=True)
        steps.append(_step(forward, compared, buffers, example))
        _restore(buffers, before)
    first, second = steps
    pairs: list[tuple[str, Tensor | None, Tensor | None]] = [("logits", second.logits, first.logits)]
    pairs += [("gradients", b, a) for a, b in zip(first.gradients, second.gradients, strict=True)]
    pairs += [("running statistics", b, a) for a, b in zip(first.buffers, second.buffers, strict=True)]
    _compare(pairs, "in training mode", _TOLERANCE[example.device.type])


def _set_mode(whole: nn.Module, pieces: Sequence[Piece], *, training: bool) -> None:
    whole.train(training)
    for piece in pieces:
        for module in piece.modules:
            module.training = training


def _step(
    forward: Callable[[Tensor], Tensor], parameters: list[nn.Parameter], buffers: list[Tensor], example: Tensor
) -> _Step:
    torch.manual_seed(_SEED)
    gradients: list[Tensor | None] = [None] * len(parameters)
    with torch.set_grad_enabled(bool(parameters)):
        logits = forward(example)
        labels = torch.arange(len(logits), device=logits.device) % logits.shape[-1]
        loss = functional.cross_entropy(logits.float(), labels)
    if loss.requires_grad:
        gradients = list(torch.autograd.grad(loss, parameters, allow_unused=True))
    return _Step(logits.detach(), gradients, [buffer.clone() for buffer in buffers])


def _restore(buffers: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for buffer, value in zip(buffers, values, strict=True):
        buffer.copy_(value)


def _compare(pairs: Sequence[tuple[str, Tensor | None, Tensor | None]], when: str, tolerance: float) -> None:
    for what, actual, expected in pairs:
        if actual is None or expected is None:
            same = actual is expected
        elif actual.shape != expected.shape:
            same = False
        else:
            same = actual.equal(expected) or _close(actual, expected, tolerance)
        if not same:
            raise _Unverified(f"{when} the stages' {what} differ from the model's")


def _close(actual: Tensor, expected: Tensor, tolerance: float) -> bool:
    scale = max(float(expected.abs().max()), 1e-3)
    return float((actual - expected).abs().max()) <= tolerance * scale
