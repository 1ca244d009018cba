"""The frozen stages of a torch network whose output is kept: where they end, and how an output becomes a row."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.engines.base import FeatureSpec, NotCacheable
from benchmark.engines.freezing import TOLERANCE, hash_of_weights
from benchmark.engines.torch.network import TorchStage

Precision = Callable[[], contextlib.AbstractContextManager[object]]


@dataclass(frozen=True)
class TorchFrozenStages:
    """Its stages must be in inference mode.

    Args:
        facts: for the harness.
        stages: of the network, in which it is cut.
        first: number of the first of them that is trained.
        end: number of the first behind the prefix.
        channels_last: whether its outputs are feature maps kept in that memory format, in which a row then is.
        bits: whether its outputs are bfloat16, for which NumPy has no name.
        precision: returns the context in which stages compute.
    """

    facts: FeatureSpec
    stages: tuple[TorchStage, ...]
    first: int
    end: int
    channels_last: bool
    bits: bool
    precision: Precision

    @classmethod
    def find(
        cls, stages: Sequence[TorchStage], first: int, example: Tensor, precision: Precision
    ) -> "TorchFrozenStages":
        """Return the longest prefix of the frozen stages that gives each image one row of floats.

        Args:
            stages: of the network; the last is the head, or what of it is behind its pooling.
            first: number of the first stage that is trained.
            example: three normalised inputs.
            precision: see the class.

        Raises:
            NotCacheable: there is none.
        """
        if first == 0:
            raise NotCacheable("nothing is frozen")
        calls = tuple(stage.call for stage in stages[:first])
        outputs = _outputs(calls, example, precision)
        ends = [number for number, x in enumerate(outputs, 1) if _is_row(x, len(example))]
        if not ends:
            raise NotCacheable("no frozen stage gives one array of floats with a row for each image")
        together, alone = outputs[ends[-1] - 1], _outputs(calls[: ends[-1]], example[1:2], precision)[-1]
        if not _close(together[1:2], alone):
            raise NotCacheable("what the frozen stages give for an image depends on the others, or on chance")
        channels_last = (
            together.ndim == 4
            and not together.is_contiguous()
            and together.is_contiguous(memory_format=torch.channels_last)
        )
        bits = together.dtype is torch.bfloat16
        named = (
            pair for stage in stages[: ends[-1]] for pair in (*stage.parameters.items(), *stage.buffers().items())
        )
        values = ((name, value.detach().cpu().contiguous().numpy()) for name, value in named)
        shape = together.permute(0, 2, 3, 1).shape if channels_last else together.shape
        facts = FeatureSpec(
            stages=tuple(stage.name for stage in stages[: ends[-1]]),
            shape=tuple(shape[1:]),
            dtype="int16" if bits else _name(together.dtype),
            weights_hash=hash_of_weights(values),
        )
        return cls(facts, tuple(stages), first, ends[-1], channels_last, bits, precision)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the rows of normalised inputs."""
        x = inputs
        with torch.no_grad(), self.precision():
            for stage in self.stages[: self.end]:  # what one gives is freed at once, its memory taken by the next
                x = stage.call(x, False)
        x = (x.permute(0, 2, 3, 1) if self.channels_last else x).contiguous()
        return x.view(torch.int16) if self.bits else x

    def values(self, rows: Tensor, *, channels_last: bool) -> Tensor:
        """Return what the stage behind takes for rows, feature maps in that memory format or not."""
        x = rows.view(torch.bfloat16) if self.bits else rows
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


def _is_row(x: object, count: int) -> bool:
    return isinstance(x, Tensor) and _name(x.dtype) in TOLERANCE and x.ndim > 1 and len(x) == count


def _close(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return False
    scale = max(float(b.abs().max()), 1e-6)
    return bool(torch.isclose(a, b, rtol=0, atol=TOLERANCE[_name(a.dtype)] * scale, equal_nan=True).all())
