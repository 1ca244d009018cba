"""What a kept model can be written as, declared once. Imports nothing: the command's help reads it."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A kind of file.

    Args:
        engine: the engine that writes it; TensorFlow's writes Keras networks only.
        suffix: how its file's name ends; a folder's name has no end.
        runtime: the distribution that computes it.
    """

    engine: str
    suffix: str
    runtime: str

    def file(self, name: str, *, whole: bool) -> str:
        """Return the name of the file of the target that is called ``name``."""
        marked = "-whole" if whole else ""
        return f"model{marked}{self.suffix}" if self.suffix else f"{name}{marked}"


TARGETS: Mapping[str, Target] = {
    "onnx": Target("torch", ".onnx", "onnxruntime"),
    "torchscript": Target("torch", ".pt", "torch"),
    "torch-export": Target("torch", ".pt2", "torch"),
    "savedmodel": Target("tensorflow", "", "tensorflow"),
    "tflite": Target("tensorflow", ".tflite", "tensorflow"),
}
# What each engine writes soonest, by which a backbone is checked.
QUICKEST: Mapping[str, str] = {"torch": "torch-export", "tensorflow": "savedmodel"}
