"""What a torch network computes in a step and in a prediction: its input from uint8 images, then its stages."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from backbones import Preprocessing
from benchmark.engines.cam_stage import channel_axis
from benchmark.engines.shared import factor_and_shift
from benchmark.engines.torch.loss import image_losses
from benchmark.engines.torch.network import TorchStage
from benchmark.recipe import Loss

Precision = Callable[[], contextlib.AbstractContextManager[object]]


def precision_context(device: str, autocast: torch.dtype | None) -> contextlib.AbstractContextManager[Any]:
    """Return the context in which a network computes: float32, or the dtype of autocast."""
    return torch.autocast(device, autocast) if autocast is not None else contextlib.nullcontext()


class Normalizer:
    """Computes ``(pixels * scale - mean) / std`` as one multiply-add, in the layout that a network wants.

    Args:
        preprocessing: the preprocessing.
        device: where the images are.
        layout: ``nchw`` or ``nhwc``.
        size: side of the images, in pixels.
        channels_last: whether ``nchw`` is kept in channels_last format, which uint8 images have already.
    """

    def __init__(
        self, preprocessing: Preprocessing, device: torch.device, layout: str, size: int, *, channels_last: bool
    ) -> None:
        factor, shift = (torch.from_numpy(values) for values in factor_and_shift(preprocessing))
        self._plain = bool((factor == 1).all() and (shift == 0).all())
        self._of_channels = factor.to(device), -shift.to(device)
        # the same for a whole row of pixels: the loop over three values alone takes five times as long on a CPU
        self._of_rows = factor.repeat(size).to(device), -shift.repeat(size).to(device)
        self._bgr = preprocessing.channel_order == "bgr"
        self._nchw = layout == "nchw"
        self._contiguous = self._nchw and not channels_last

    def __call__(self, images: Tensor) -> Tensor:
        """Return float32 of shape (B, 3, S, S) or (B, S, S, 3) for uint8 images of shape (B, S, S, 3)."""
        if self._bgr:
            images = images.flip(-1)
        if images.is_contiguous():
            values = self._scaled(images.flatten(2), *self._of_rows).view(images.shape)
        else:  # moved by augmentation
            values = self._scaled(images, *self._of_channels)
        if self._nchw:
            values = values.permute(0, 3, 1, 2)
        return values.contiguous() if self._contiguous else values

    def _scaled(self, pixels: Tensor, factor: Tensor, shift: Tensor) -> Tensor:
        values = pixels.to(torch.float32)
        return values if self._plain else torch.addcmul(shift, values, factor)


def step_functions(
    stages: Sequence[TorchStage], start: int, first: int, precision: Precision, rule: Loss
) -> tuple[Callable[[Tensor, Tensor, Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Return the training loss of inputs, labels and loss weights, and the logits of inputs in inference mode.

    Args:
        stages: of the network.
        start: number of the stage whose input the inputs are.
        first: number of the first stage that is trained.
        precision: returns the context in which stages compute.
        rule: the recipe's loss.
    """
    calls = [stage.call for stage in stages[start:]]
    frozen, trained = calls[: first - start], calls[first - start :]

    def loss(x: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        with precision():
            if frozen:
                with torch.no_grad():
                    for call in frozen:
                        x = call(x, False)
            for call in trained:
                x = call(x, True)
        return (image_losses(x.float(), labels, rule) * weights).sum()

    def logits(x: Tensor) -> Tensor:
        with precision():
            for call in calls:
                x = call(x, False)
        return x.float()

    return loss, logits


def count_macs(logits: Callable[[Tensor], Tensor], image: Tensor) -> int:
    """Return the multiply-accumulates of convolutions and matrix products for one normalised image.

    Gradients stay on: without them some layers take a fused path that the counter can't look into.
    """
    counter = FlopCounterMode(display=False)
    with counter, torch.enable_grad():
        logits(image)
    return int(counter.get_total_flops()) // 2


def mean_over_places(x: Tensor, default_axis: int) -> Tensor:
    """Return one vector an image of feature maps, tokens or vectors: (B, C, H, W), (B, H, W, C), (B, N, C), (B, C).

    Args:
        x: what a stage gives.
        default_axis: of channels where the shape does not tell; see
            :func:`~benchmark.engines.cam_stage.channel_axis`.
    """
    if x.ndim == 4:
        return x.mean((2, 3) if channel_axis(tuple(x.shape[1:]), default_axis) == 0 else (1, 2))
    return x.mean(1) if x.ndim == 3 else x.flatten(1)
