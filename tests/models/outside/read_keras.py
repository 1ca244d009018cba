"""Reads a kept model with Keras alone, as its card says; imports nothing of TumorBoard.

Usage: read_keras.py MODEL_FOLDER PIXELS.npy PROBABILITIES.npy
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np

folder, pixels, target = Path(sys.argv[1]), np.load(sys.argv[2]), sys.argv[3]
described = json.loads((folder / "model.json").read_text())
if described["backbone"]["library"] == "keras_cv":
    import keras_cv  # noqa: F401 - registers its layers
model = keras.models.load_model(folder / "model.keras", compile=False)

prepare = described["input"]["preprocessing"]
x = pixels[..., ::-1] if prepare["channel_order"] == "bgr" else pixels
x = (x.astype("float32") * prepare["scale"] - np.array(prepare["mean"])) / np.array(prepare["std"])
logits = keras.ops.convert_to_numpy(model(x.astype("float32"), training=False)).astype("float64")
shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
np.save(target, shifted / shifted.sum(axis=1, keepdims=True))
assert not [name for name in sys.modules if name.partition(".")[0] in ("benchmark", "backbones", "tumorboard")]
