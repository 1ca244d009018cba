"""A Keras network as a ``.keras`` file: architecture and weights, read by Keras alone, on any backend."""

import importlib
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from backbones import MissingWeights
from backbones._keras import looked_through
from benchmark.engines.base import NotKept, SavedNetwork

FILE = "model.keras"
_MIXED = ("mixed_bfloat16", "mixed_float16")
_TOLERANCE = 1e-4


def save(model: Any, folder: Path, example: npt.NDArray[np.float32]) -> SavedNetwork:
    """Write a model into an empty folder, read it back and compare.

    Args:
        model: any that Keras can save.
        folder: where to.
        example: two normalised inputs, shape (2, S, S, 3).

    Raises:
        NotKept: Keras can't save it, or reads back another.
    """
    try:
        plain = _in_float32(model)
        plain.save(folder / FILE)
        again = keras.models.load_model(folder / FILE, compile=False, safe_mode=True)
    except Exception as error:  # a layer without get_config, or one that takes other arguments
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise NotKept(f"Keras can't save it ({reason})") from error
    before, after = (keras.ops.convert_to_numpy(each(example, training=False)) for each in (plain, again))
    if np.abs(before - after).max() > _TOLERANCE * max(1.0, float(np.abs(before).max())):
        raise NotKept("read back by Keras, it gives other logits")
    return SavedNetwork((FILE,), "keras")


def load(folder: Path, library: str) -> Any:
    """Return the model of a folder. Nothing in the file is executed: Keras's safe mode refuses code.

    Args:
        folder: that :func:`save` wrote to.
        library: where the network comes from; keras-cv's layers are known once it is imported.

    Raises:
        NotKept: it can't be read.
    """
    if library == "keras_cv":
        importlib.import_module("keras_cv")
    try:
        with looked_through(folder / FILE):
            return keras.models.load_model(folder / FILE, compile=False, safe_mode=True)
    except MissingWeights as error:
        raise NotKept(str(error)) from None
    except Exception as error:  # whatever a damaged file makes Keras raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise NotKept(f"{FILE} can't be read by Keras ({reason})") from error


def _in_float32(model: Any) -> Any:
    """Return a model that computes in float32: itself, or a copy where it computes in less."""
    text = json.dumps(keras.saving.serialize_keras_object(model))
    if not any(f'"{policy}"' in text for policy in _MIXED):
        return model
    for policy in _MIXED:
        text = text.replace(f'"{policy}"', '"float32"')
    copy = keras.saving.deserialize_keras_object(json.loads(text))
    copy.set_weights(model.get_weights())
    return copy
