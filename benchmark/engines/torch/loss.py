"""The loss of each image in torch."""

import torch
from torch import Tensor
from torch.nn import functional

from benchmark.recipe import Loss

# (1 - p) is kept from zero, where the slope of a power below 1 has no bound.
_SMALLEST_COMPLEMENT = 1e-7


def image_losses(logits: Tensor, labels: Tensor, rule: Loss) -> Tensor:
    """Return each image's loss, float32 of shape (B,), before class weights.

    Args:
        logits: float32, shape (B, num_classes).
        labels: int64, shape (B,).
        rule: smoothing mixes the label with the uniform distribution; focal loss multiplies by ``(1 - p)^gamma``.
    """
    losses = functional.cross_entropy(logits, labels, reduction="none", label_smoothing=rule.label_smoothing)
    if rule.focal_gamma:
        p = functional.softmax(logits, dim=-1).gather(1, labels[:, None])[:, 0]
        losses = losses * torch.clamp(1 - p, min=_SMALLEST_COMPLEMENT) ** rule.focal_gamma
    return losses
