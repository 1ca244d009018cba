"""Augmentation in torch: carries out :class:`benchmark.draws.augmentation.Draws` on uint8 images."""

import torch
from torch import Tensor
from torch.nn import functional

from benchmark.draws.augmentation import Draws, Float32s, gain_fields, noise_fields


class Augmenter:
    """See :mod:`benchmark.draws.augmentation` for what is done.

    Args:
        device: where the images are.
        size: of the images, in pixels.
    """

    def __init__(self, device: torch.device, size: int) -> None:
        self._device, self._size = device, size
        along = torch.arange(size, dtype=torch.float32, device=device)
        rows, columns = torch.meshgrid(along, along, indexing="ij")
        self._places = torch.stack([columns, rows, torch.ones_like(rows)], dim=-1).reshape(-1, 3)
        self._banks: dict[str, Tensor] = {}

    def __call__(self, images: Tensor, draws: Draws) -> Tensor:
        """Return uint8 images of shape (B, S, S, 3) for such images, which need no gradient; float32 on overflow."""
        values = images.to(torch.float32)
        if draws.affine is not None:
            values = self._moved(values, draws.affine)
        values = values / 255
        if draws.gain is not None:
            values = values * torch.exp(self._amount(draws.gain) * self._fields("gain", draws))
        if draws.contrast is not None:
            mean = values.mean(dim=(1, 2, 3), keepdim=True)
            values = (values - mean) * self._amount(draws.contrast) + mean
        if draws.brightness is not None:
            values = values + self._amount(draws.brightness)
        if draws.noise is not None:
            values = values + self._amount(draws.noise) * self._fields("noise", draws)
        if draws.overflow:
            return (values * 255).clamp_(0, 255 * 255)
        return (values * 255).round_().clamp_(0, 255).to(torch.uint8)

    def _moved(self, values: Tensor, affine: Float32s) -> Tensor:
        matrix = torch.from_numpy(affine).to(self._device).reshape(-1, 2, 3)
        sources = torch.matmul(self._places, matrix.transpose(1, 2))
        grid = (sources * (2 / (self._size - 1)) - 1).reshape(-1, self._size, self._size, 2)
        moved = functional.grid_sample(values.permute(0, 3, 1, 2), grid, mode="bilinear", align_corners=True)
        return moved.permute(0, 2, 3, 1)

    def _amount(self, amount: Float32s) -> Tensor:
        return torch.from_numpy(amount).to(self._device).reshape(-1, 1, 1, 1)

    def _fields(self, kind: str, draws: Draws) -> Tensor:
        if kind not in self._banks:
            bank = (gain_fields if kind == "gain" else noise_fields)(self._size)
            self._banks[kind] = torch.from_numpy(bank).to(self._device)[..., None]
        assert draws.field is not None
        return self._banks[kind][torch.from_numpy(draws.field).to(self._device)]
