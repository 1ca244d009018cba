"""The head that a recipe puts in place of a torch network's own."""

import torch
from torch import Tensor, nn

from benchmark.draws.initialization import glorot_uniform
from benchmark.recipe import Head

_HIDDEN = 256


class Pooling(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """Feature maps or tokens to one vector an image.

    Args:
        kind: ``average``, ``max`` or ``flatten`` (rows, columns, channels: Keras's order).
        channels_first: whether maps are (B, C, H, W) rather than (B, H, W, C).
        prefix_tokens: class and register tokens, which stand for no place in the image and are left out.
    """

    def __init__(self, kind: str, *, channels_first: bool, prefix_tokens: int) -> None:
        super().__init__()
        self.kind = kind
        self.channels_first = channels_first
        self.prefix_tokens = prefix_tokens

    def forward(self, x: Tensor) -> Tensor:
        """Return shape (B, C), or (B, N * C) for ``flatten``, of maps, tokens (B, N, C) or vectors (B, C)."""
        if x.ndim == 4 and self.channels_first:
            x = x.permute(0, 2, 3, 1)
        if x.ndim == 3:
            x = x[:, self.prefix_tokens :]
        if x.ndim == 2 or self.kind == "flatten":
            return x.flatten(1)
        places = tuple(range(1, x.ndim - 1))
        return x.mean(places) if self.kind == "average" else x.amax(places)


def new_head(head: Head, pooling: Pooling, features: Tensor, num_classes: int, seed: int) -> nn.Sequential:
    """Return pooling, dropout and a dense layer, or pooling, dense 256, ReLU, dropout and a dense layer.

    Kernels are Glorot uniform, biases zero, drawn by NumPy from the run's seed.

    Args:
        head: ``linear`` or ``dense256``, with its dropout.
        pooling: of the features.
        features: an output of the stage before, on its device.
        num_classes, seed: of the run.
    """
    with torch.no_grad():
        inputs = pooling(features).shape[1]
    layers: list[nn.Module] = [pooling]
    if head.kind == "dense256":
        layers += [_dense("dense", inputs, _HIDDEN, seed), nn.ReLU()]
        inputs = _HIDDEN
    if head.dropout:
        layers.append(nn.Dropout(head.dropout))
    layers.append(_dense("logits", inputs, num_classes, seed))
    return nn.Sequential(*layers).to(features.device)


def _dense(name: str, inputs: int, outputs: int, seed: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(glorot_uniform(seed, name, (inputs, outputs)).T))
        layer.bias.zero_()
    return layer
