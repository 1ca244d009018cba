"""What is told of a torch network that was built: its cost, its first layer's input, its weights."""

import hashlib
from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmark.engines.torch.network import TorchNetwork

Normalize = Callable[[Tensor], Tensor]


def count_macs(logits: Callable[[Tensor], Tensor], normalize: Normalize, size: int, place: torch.device) -> int:
    """Return the multiply-accumulates of convolutions and matrix products for one image.

    Gradients stay on: without them some layers take a fused path that the counter can't look into.
    """
    images = torch.zeros((1, size, size, 3), dtype=torch.uint8, device=place)
    counter = FlopCounterMode(display=False)
    with counter, torch.enable_grad():
        logits(normalize(images))
    return int(counter.get_total_flops()) // 2


def first_layer_input(
    network: TorchNetwork, normalize: Normalize, size: int, place: torch.device
) -> tuple[float, float] | None:
    """Return mean and standard deviation of what reaches the first kernel, for evenly spread pixel values."""
    pixels = torch.arange(size * size, device=place).remainder(256).to(torch.uint8)
    images = pixels.reshape(1, size, size, 1).expand(1, size, size, 3)
    with torch.no_grad():
        reached = network.first_kernel_input(normalize(images))
    if reached is None:
        return None
    return float(reached.double().mean()), float(reached.double().std(unbiased=False))


def hash_of_values(tensors: Iterable[Tensor]) -> str:
    """Return the SHA-256 over the values of tensors, in order."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().numpy())
    return digest.hexdigest()
