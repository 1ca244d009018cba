"""What a kept network can be written as, declared once. Imports nothing: the command's help reads it.

How each is written and read stands in its engine's ``export.py``, under the same names.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

# Who reads a kept network: keras-cv's layers bring TensorFlow with them, which torch can't share a process with.
Reader = Literal["torch", "keras", "keras-cv"]


@dataclass(frozen=True)
class Target:
    """A kind of file.

    Args:
        engines: the engine that writes it, by who reads the network; networks of others have no such file.
        suffix: how its file's name ends; a folder's name has no end.
        runtime: the distribution that computes it.
    """

    engines: Mapping[Reader, str]
    suffix: str
    runtime: str

    def file(self, name: str, *, whole: bool) -> str:
        """Return the name of the file of the target that is called ``name``."""
        marked = "-whole" if whole else ""
        return f"model{marked}{self.suffix}" if self.suffix else f"{name}{marked}"


TARGETS: Mapping[str, Target] = {
    "onnx": Target({"torch": "torch", "keras": "torch", "keras-cv": "tensorflow"}, ".onnx", "onnxruntime"),
    "torchscript": Target({"torch": "torch", "keras": "torch"}, ".pt", "torch"),
    "torch-export": Target({"torch": "torch", "keras": "torch"}, ".pt2", "torch"),
    "savedmodel": Target({"keras": "tensorflow", "keras-cv": "tensorflow"}, "", "tensorflow"),
    "tflite": Target({"keras": "tensorflow", "keras-cv": "tensorflow"}, ".tflite", "tensorflow"),
}
# What each engine writes soonest, by which a backbone is checked.
QUICKEST: Mapping[str, str] = {"torch": "torch-export", "tensorflow": "savedmodel"}


def targets_of(reader: Reader) -> list[str]:
    """Return what networks of a reader can be written as."""
    return [name for name, target in TARGETS.items() if reader in target.engines]
