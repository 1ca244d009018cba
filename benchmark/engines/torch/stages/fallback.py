"""Stages of a torch module whose graph can't be read: features and head, or the whole."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.engines.torch.stages.stage import HEAD, Piece


def two_methods(model: Any, example: Tensor) -> Iterator[list[Piece]]:
    """Yield ``forward_features`` and ``forward_head``, where a gradient can say which parameters each one uses."""
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    called: set[nn.Module] = set()
    try:
        features = model.forward_features(example)
        used = torch.autograd.grad(features.float().sum(), list(named.values()), allow_unused=True)
        handles = [m.register_forward_pre_hook(lambda module, _x: called.add(module)) for m in model.modules()]
        model.forward_head(features.detach())
    except Exception:  # not timm's protocol after all
        return
    for handle in handles:
        handle.remove()
    of_features = {name for name, gradient in zip(named, used, strict=True) if gradient is not None}
    yield [
        Piece(
            "features",
            model.forward_features,
            tuple(module for module in model.modules() if module not in called),
            {name: named[name] for name in named if name in of_features},
        ),
        Piece(
            HEAD,
            model.forward_head,
            tuple(module for module in model.modules() if module in called),
            {name: named[name] for name in named if name not in of_features},
        ),
    ]


def around_classifier(model: nn.Module, example: Tensor) -> list[Piece]:
    """Return all but the last dense layer, and that layer, where its output is the model's; else the whole.

    The first is correct by construction, and takes the model apart: it can't be compared with the whole after.
    """
    outputs: dict[str, Any] = {}
    handles = [
        module.register_forward_hook(lambda _m, _x, y, name=name: outputs.__setitem__(name, y))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        with torch.no_grad():
            result = model(example)
    finally:
        for handle in handles:
            handle.remove()
    for name, output in outputs.items():
        if output is result and name:
            named = dict(model.named_parameters())
            classifier = model.get_submodule(name)
            model.set_submodule(name, nn.Identity())
            kept = {key: value for key, value in named.items() if not key.startswith(f"{name}.")}
            own = {key: value for key, value in named.items() if key.startswith(f"{name}.")}
            return [
                Piece("features", model.forward, tuple(model.modules()), kept),
                Piece(HEAD, classifier.forward, tuple(classifier.modules()), own),
            ]
    return _whole(model)


def _whole(model: nn.Module) -> list[Piece]:
    return [Piece(HEAD, model.forward, tuple(model.modules()), dict(model.named_parameters()))]
