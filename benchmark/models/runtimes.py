"""Exported files, computed by their own runtimes: the proof that they give what the network gives."""

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.dependencies import how_to_install
from benchmark.engines.base import NotKept
from benchmark.errors import UserError
from benchmark.evaluation.temperature import softmax
from benchmark.export_targets import TARGETS
from benchmark.host import installed_versions
from benchmark.models.load import LoadedModel

Compute = Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]

_LATENCY_CALLS, _LATENCY_SECONDS = 50, 2.0


@dataclass(frozen=True)
class Computed:
    """What a runtime made of images.

    Args:
        probabilities: float64, shape (N, C).
        runtime: its name and version.
        latency_p50_ms: median of one image alone.
        made_by: versions of the libraries that wrote the file.
    """

    probabilities: npt.NDArray[np.float64]
    runtime: str
    latency_p50_ms: float
    made_by: dict[str, str]


def compute(loaded: LoadedModel, target: str, path: Path, pixels: npt.NDArray[np.uint8], *, whole: bool) -> Computed:
    """Compute an exported file: all images as one batch, then one alone, so that the batch is shown to be free.

    Args:
        loaded: the model, which prepares the input of a file that does not do so itself.
        target, path: the file.
        pixels: uint8, shape (N, S, S, 3).
        whole: whether the file takes uint8 images and gives probabilities.

    Raises:
        NotKept: the runtime can't read it, or gives other answers for one image alone.
        UserError: the runtime is not installed.
    """
    run, runtime = runtime_of(target, path)
    engine = loaded.engine
    inputs = pixels if whole else np.ascontiguousarray(engine.fetch([engine.normalize(engine.upload(pixels))])[0])
    outputs, alone = run(inputs), run(inputs[:1])
    temperature = loaded.model.calibration.temperature
    probabilities, of_one = ((each.astype(np.float64) if whole else softmax(each, temperature))
                             for each in (outputs, alone))  # fmt: skip
    if (
        probabilities.shape != (len(pixels), len(loaded.class_names))
        or np.abs(of_one - probabilities[:1]).max() > 1e-3
    ):
        raise NotKept(f"{path.name} gives an image other probabilities alone than among others")
    libraries = ("torch", "tensorflow", "keras", "timm", "onnx", "onnxruntime", "onnxscript", "tf2onnx")
    return Computed(probabilities, runtime, _latency(run, inputs[:1]), installed_versions(libraries))


def runtime_of(target: str, path: Path) -> tuple[Compute, str]:
    """Return what computes an exported file, and the name and version of that runtime.

    Raises:
        NotKept: it can't read the file.
        UserError: it is not installed.
    """
    runtime = TARGETS[target].runtime
    if runtime == "onnxruntime":
        return _onnx(path), _named(runtime)
    if runtime == "torch":
        from benchmark.engines.torch.export import run

        return run(target, path), _named(runtime)
    from benchmark.engines.tensorflow.export import READERS

    lite = "TensorFlow Lite of " if target == "tflite" else ""
    return READERS[target](path), lite + _named(runtime)


def _named(package: str) -> str:
    return f"{package} {installed_versions([package]).get(package, '')}".strip()


def _onnx(path: Path) -> Compute:
    onnx, runtime = (require(name) for name in ("onnx", "onnxruntime"))
    try:
        onnx.checker.check_model(str(path), full_check=True)
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # both raise kinds of their own
        raise NotKept(f"{path.name} is no sound ONNX file ({' '.join(str(error).split())[:200]})") from error
    (name,) = (each.name for each in session.get_inputs())

    def compute_onnx(inputs: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        (outputs,) = session.run(None, {name: inputs})
        return np.asarray(outputs, dtype=np.float32)

    return compute_onnx


def require(module: str) -> Any:
    """Return a module; raises ``UserError`` with what to install where it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UserError(f"This export needs {module}: {how_to_install([module])}.") from None


def _latency(run: Compute, image: npt.NDArray[Any]) -> float:
    taken: list[float] = []
    begun = time.perf_counter()
    while len(taken) < _LATENCY_CALLS and (not taken or time.perf_counter() - begun < _LATENCY_SECONDS):
        start = time.perf_counter()
        run(image)
        taken.append(1000 * (time.perf_counter() - start))
    return round(float(np.median(taken)), 3)
