"""A description of a model to test with, and what a network makes of images."""

from pathlib import Path
from typing import Any

import numpy as np

from benchmark.hashing import hash_file
from benchmark.models.description import Calibration, Input, Model, TrainingImages
from benchmark.models.seen import Seen
from tests.execution.samples import a_record

UNIT = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "scale": 1 / 255, "channel_order": "rgb"}


def a_model(folder: Path | None = None, **changes: Any) -> Model:
    """Return a description; with a folder, of a file that is written there, and write it too."""
    record = a_record()
    files = {"model.safetensors": "0" * 64}
    if folder is not None:
        (folder / "model.safetensors").write_bytes(b"weights")
        files = {"model.safetensors": hash_file(folder / "model.safetensors")}
    values: dict[str, Any] = {
        "version": "0.0", "key": record.key, "identity": record.identity, "recipe_name": "quick", "seed": 0,
        "device": "a processor", "engine": "torch", "keeps": "best", "backbone": record.backbone,
        "reader": {"files": ["model.safetensors"], "reader": "torch", "arguments": {}, "head": {}, "licence": ""},
        "input": Input(size=16, resize="squash", preprocessing=UNIT), "data": record.data,
        "training_images": TrainingImages(grey=1.0, sides=(20, 30), suffixes=(".jpg",)),
        "calibration": Calibration(temperature=2.0, threshold=0.6, specificity=0.95, distance=0.5, n_validation=9),
        "scores": {"macro_f1": 0.9}, "parameters": 10, "gmacs": 0.1, "weights": record.weights, "files": files,
    }  # fmt: skip
    model = Model(**{**values, **changes})
    if folder is not None:
        model.write(folder)
    return model


def seen(logits: Any, **changes: Any) -> Seen:
    """Return what a network made of grey images of 24 x 24 pixels that are like its training images."""
    values = np.asarray(logits, dtype=np.float32)
    count = len(values)
    facts: dict[str, Any] = {
        "distances": np.full(count, 0.1), "grey": np.ones(count, dtype=bool),
        "sides": np.full((count, 2), 24), "trained_on": np.zeros(count, dtype=bool),
        "read": np.ones(count, dtype=bool), "problems": (),
    }  # fmt: skip
    return Seen(logits=values, **{**facts, **changes})
