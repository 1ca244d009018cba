"""The frozen stages of a torch network whose output is kept: where they end, and how an output is kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmark.engines.freezing import TOLERANCE, FeatureSpec, assert_independent, last_cacheable
from benchmark.engines.shared import hash_of_weights
from benchmark.engines.torch.network import TorchNetwork, TorchStage
from benchmark.engines.torch.steps import Precision


@dataclass(frozen=True)
class TorchFrozenStages:
    """As many of the frozen stages as give each image one array of floats, its features, and the stages behind.

    All must be in inference mode.

    Args:
        spec: what the harness must know of the features.
        stages: of the network, in which it is cut.
        first: number of the first of them that is trained.
        end: number of the first stage behind the features.
        channels_last: whether features are feature maps in that memory format, in which they are then kept.
        bits: whether features are bfloat16, for which NumPy has no name.
        precision: returns the context in which stages compute.
    """

    spec: FeatureSpec
    stages: tuple[TorchStage, ...]
    first: int
    end: int
    channels_last: bool
    bits: bool
    precision: Precision

    @classmethod
    def find(
        cls, network: TorchNetwork, first_trainable: int, example: Tensor, precision: Precision
    ) -> "TorchFrozenStages":
        """Return what can be kept of a network's frozen stages; where the head alone is trained, what of it is behind
        its pooling counts as the head.

        Args:
            network: in inference mode.
            first_trainable: number of the first of its stages that is trained.
            example: three normalised inputs.
            precision: see the class.

        Raises:
            NotCacheable: there is none.
        """
        stages = network.split_head
        first = len(stages) - 1 if first_trainable == len(network.stages) - 1 else first_trainable
        calls = tuple(stage.call for stage in stages[:first])
        outputs = _outputs(calls, example, precision)
        end = last_cacheable(first, lambda end: _is_features(outputs[end - 1], len(example)))
        together, alone = outputs[end - 1], _outputs(calls[:end], example[1:2], precision)[-1]
        assert_independent(_floats(together[1:2]), _floats(alone), _name(together.dtype))
        channels_last = (
            together.ndim == 4
            and not together.is_contiguous()
            and together.is_contiguous(memory_format=torch.channels_last)
        )
        bits = together.dtype is torch.bfloat16
        named = (pair for stage in stages[:end] for pair in (*stage.parameters.items(), *stage.buffers().items()))
        values = ((name, value.detach().cpu().contiguous().numpy()) for name, value in named)
        shape = together.permute(0, 2, 3, 1).shape if channels_last else together.shape
        spec = FeatureSpec(
            stages=tuple(stage.name for stage in stages[:end]),
            shape=tuple(shape[1:]),
            dtype="int16" if bits else _name(together.dtype),
            weights_hash=hash_of_weights(values),
        )
        return cls(spec, tuple(stages), first, end, channels_last, bits, precision)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the features, shape (B, *shape), of normalised inputs."""
        x = inputs
        with torch.no_grad(), self.precision():
            for stage in self.stages[: self.end]:  # what one gives is freed at once, its memory taken by the next
                x = stage.call(x, False)
        x = (x.permute(0, 2, 3, 1) if self.channels_last else x).contiguous()
        return x.view(torch.int16) if self.bits else x

    def values(self, features: Tensor, *, channels_last: bool) -> Tensor:
        """Return what the stage behind takes for features, maps in that memory format or not."""
        x = features.view(torch.bfloat16) if self.bits else features
        if not self.channels_last:
            return x
        x = x.permute(0, 3, 1, 2)
        return x if channels_last else x.contiguous()


def _outputs(calls: Sequence[Callable[[Tensor, bool], Tensor]], x: Tensor, precision: Precision) -> list[Tensor]:
    """Return what each stage gives in inference mode."""
    outputs = []
    with torch.no_grad(), precision():
        for call in calls:
            x = call(x, False)
            outputs.append(x)
    return outputs


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _is_features(x: object, count: int) -> bool:
    return isinstance(x, Tensor) and _name(x.dtype) in TOLERANCE and x.ndim > 1 and len(x) == count


def _floats(x: Tensor) -> npt.NDArray[np.float32]:
    floats: npt.NDArray[np.float32] = x.float().cpu().numpy()
    return floats
