"""Features of a stage and the gradients of logits with respect to them, for torch modules and Keras on torch."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.engines.cam_stage import channel_axis, find_feature_stage
from benchmark.engines.torch.network import TorchNetwork
from benchmark.engines.torch.steps import Precision


@dataclass(frozen=True)
class TorchGradCam:
    """A forward pass split behind the stage that Grad-CAM explains. Its stages must be in inference mode.

    Args:
        name: of that stage.
        before, after: calls of the stages up to it, and of the others.
        channels: the axis of its output, without the batch, that holds the channels.
        precision: returns the context in which stages compute.
    """

    name: str
    before: tuple[Callable[[Tensor, bool], Tensor], ...]
    after: tuple[Callable[[Tensor, bool], Tensor], ...]
    channels: int
    precision: Precision

    @classmethod
    def find(
        cls, network: TorchNetwork, example: Tensor, declared: str | None, precision: Precision
    ) -> "TorchGradCam":
        """Return the split behind the stage to explain.

        Args:
            network: in inference mode.
            example: one normalised input.
            declared: what the adapter names, or ``None``.
            precision: see the class.

        Raises:
            NoFeatureMap: there is no such stage.
        """
        shapes, stages = [], network.stages
        with torch.no_grad(), precision():
            x = example
            for stage in stages[:-1]:
                x = stage.call(x, False)
                shapes.append(tuple(x.shape[1:]))
        default = 0 if network.layout == "nchw" else 2
        number = find_feature_stage([stage.name for stage in stages], shapes, declared, default)
        calls = tuple(stage.call for stage in stages)
        axis = channel_axis(shapes[number], default)
        return cls(stages[number].name, calls[: number + 1], calls[number + 1 :], axis, precision)

    def __call__(self, inputs: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and gradients, float32 of shape (B, H, W, K), for normalised inputs and int64 classes.

        In inference mode no image touches another, so that the gradient of the sum of the images' logits holds each
        image's own.
        """
        with self.precision():
            with torch.no_grad():
                for call in self.before:
                    inputs = call(inputs, False)
            features = inputs.detach().requires_grad_(True)
            with torch.enable_grad():
                x = features.clone()  # what follows may change it in place
                for call in self.after:
                    x = call(x, False)
                chosen = x.float().gather(1, classes[:, None]).sum()
                (gradients,) = torch.autograd.grad(chosen, features)
        return self._channels_last(features.detach()), self._channels_last(gradients)

    def _channels_last(self, values: Tensor) -> Tensor:
        return values.permute(0, 2, 3, 1).float() if self.channels == 0 else values.float()
