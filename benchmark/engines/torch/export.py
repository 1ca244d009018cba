"""A torch network, in inference mode, as a file for another runtime: TorchScript, torch.export, ONNX."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from backbones import Preprocessing
from benchmark.engines.base import ExportedGraph, NotKept
from benchmark.engines.shared import exporting, factor_and_shift

INPUT, OUTPUT = "images", "outputs"


class ExportedNetwork(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """What is written: the network's stages, and where that is asked for its preprocessing and a softmax.

    Args:
        calls: of the stages, in order.
        parts: the modules that hold their weights.
        graph: what is inside.
        preprocessing, layout: of the network's input.
    """

    def __init__(
        self,
        calls: Sequence[Callable[[Tensor, bool], Tensor]],
        parts: Sequence[nn.Module],
        graph: ExportedGraph,
        preprocessing: Preprocessing,
        layout: str,
    ) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self._calls = tuple(calls)
        self._whole, self._temperature = graph.whole, graph.temperature
        self._bgr, self._nchw = preprocessing.channel_order == "bgr", layout == "nchw"
        factor, shift = (torch.from_numpy(values) for values in factor_and_shift(preprocessing))
        self.register_buffer("factor", factor, persistent=False)
        self.register_buffer("shift", shift, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return probabilities of uint8 images (B, S, S, 3), or logits of normalised inputs."""
        x = images
        if self._whole:
            x = x.flip(-1) if self._bgr else x
            x = x.to(torch.float32) * self.factor - self.shift
            x = x.permute(0, 3, 1, 2) if self._nchw else x
        for call in self._calls:
            x = call(x, False)
        return torch.softmax(x.float() / self._temperature, dim=1) if self._whole else x.float()


def export(target: str, path: Path, network: ExportedNetwork, size: int) -> None:
    """Write a network, whose batch is free.

    Args:
        target: one of :data:`WRITERS`.
        path: of the file.
        network: on the CPU.
        size: side of its images, in pixels.

    Raises:
        NotKept: torch can't write it.
    """
    network.eval()
    with exporting("torch", target, WRITERS), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing, about values that are fixed: the proof shows whether any is
        WRITERS[target](network, _example(network, size), path)


def _write_torchscript(network: ExportedNetwork, example: Tensor, path: Path) -> None:
    torch.jit.trace(network, example, check_trace=False).save(str(path))


def _write_torch_export(network: ExportedNetwork, example: Tensor, path: Path) -> None:
    torch.export.save(_program(network, example), str(path))


def _write_onnx(network: ExportedNetwork, example: Tensor, path: Path) -> None:
    written = torch.onnx.export(
        _program(network, example), (), input_names=[INPUT], output_names=[OUTPUT], dynamo=True, verbose=False,
        optimize=True,
    )  # fmt: skip
    written.save(str(path), external_data=False)


def _program(network: ExportedNetwork, example: Tensor) -> Any:
    batch = {0: torch.export.Dim("batch", min=1, max=4096)}
    return torch.export.export(network, (example,), dynamic_shapes=(batch,), strict=False)


# What torch writes, by the names of :data:`benchmark.export_targets.TARGETS`.
WRITERS: Mapping[str, Callable[[ExportedNetwork, Tensor, Path], None]] = {
    "onnx": _write_onnx,
    "torchscript": _write_torchscript,
    "torch-export": _write_torch_export,
}
# What torch reads, and so computes.
READERS: Mapping[str, Callable[[str], Any]] = {
    "torchscript": torch.jit.load,
    "torch-export": lambda path: torch.export.load(path).module(),
}


def _example(network: ExportedNetwork, size: int) -> Tensor:
    """Return two images; of a batch of one, its size would be taken for fixed."""
    if network._whole:
        return torch.zeros((2, size, size, 3), dtype=torch.uint8)
    return torch.zeros((2, 3, size, size) if network._nchw else (2, size, size, 3))


def run(target: str, path: Path) -> Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]:
    """Return what computes a written file by torch, without the code of the network.

    Args:
        target: one of :data:`READERS`.
        path: of the file.

    Raises:
        NotKept: torch can't read it.
    """
    try:
        read = READERS[target](str(path))
    except (RuntimeError, OSError, ValueError) as error:
        raise NotKept(f"torch can't read {path.name} ({' '.join(str(error).split())[:200]})") from error

    def compute(inputs: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        with torch.no_grad():
            outputs: npt.NDArray[np.float32] = read(torch.from_numpy(np.array(inputs))).numpy()
        return outputs

    return compute
