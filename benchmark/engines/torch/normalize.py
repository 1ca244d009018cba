"""From uint8 images to a torch network's input."""

import torch
from torch import Tensor

from backbones import Preprocessing
from benchmark.engines.shared import factor_and_shift


class Normalizer:
    """Computes ``(pixels * scale - mean) / std`` as one multiply-add, in the layout that a network wants.

    Args:
        preprocessing: the preprocessing.
        device: where the images are.
        layout: ``nchw`` or ``nhwc``.
        channels_last: whether ``nchw`` is kept in channels_last format, which uint8 images have already.
    """

    def __init__(
        self, preprocessing: Preprocessing, device: torch.device, layout: str, *, channels_last: bool
    ) -> None:
        factor, shift = (torch.from_numpy(values) for values in factor_and_shift(preprocessing))
        shape = (1, 3, 1, 1) if layout == "nchw" else (1, 1, 1, 3)
        self._factor = factor.reshape(shape).to(device)
        self._shift = -shift.reshape(shape).to(device)
        self._plain = bool((factor == 1).all() and (shift == 0).all())
        self._bgr = preprocessing.channel_order == "bgr"
        self._nchw = layout == "nchw"
        self._contiguous = self._nchw and not channels_last

    def __call__(self, images: Tensor) -> Tensor:
        """Return float32 of shape (B, 3, S, S) or (B, S, S, 3) for uint8 images of shape (B, S, S, 3)."""
        if self._bgr:
            images = images.flip(-1)
        if self._nchw:
            images = images.permute(0, 3, 1, 2)
        if self._contiguous:
            images = images.contiguous()
        values = images.to(torch.float32)
        return values if self._plain else torch.addcmul(self._shift, values, self._factor)
