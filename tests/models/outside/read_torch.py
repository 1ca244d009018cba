"""Reads a kept model with timm, torch and safetensors alone, as its card says; imports nothing of TumorBoard.

Usage: read_torch.py MODEL_FOLDER PIXELS.npy PROBABILITIES.npy [FILE_THAT_BUILDS_IT]
"""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import load_file

folder, pixels, target = Path(sys.argv[1]), np.load(sys.argv[2]), sys.argv[3]
described = json.loads((folder / "model.json").read_text())
reader = described["reader"]
if reader["reader"] == "timm":
    model = timm.create_model(**reader["arguments"])
else:  # a network of one's own: its own code builds it
    spec = importlib.util.spec_from_file_location("own", sys.argv[4])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.build(len(described["data"]["class_names"]))
model.eval()
model.load_state_dict(load_file(folder / "model.safetensors"), strict=True)

prepare = described["input"]["preprocessing"]
x = torch.from_numpy(pixels).float() * prepare["scale"]
x = ((x - torch.tensor(prepare["mean"])) / torch.tensor(prepare["std"])).permute(0, 3, 1, 2)
with torch.no_grad():
    head = reader["head"]
    if not head:
        logits = model(x)
    else:
        weights = load_file(folder / "head.safetensors")
        x = model.forward_features(x) if head["method"] == "forward_features" else model[:-1](x)
        if x.ndim == 4 and head["channels_first"]:
            x = x.permute(0, 2, 3, 1)
        x = x[:, head["prefix_tokens"] :] if x.ndim == 3 else x
        x = x.mean(tuple(range(1, x.ndim - 1))) if x.ndim > 2 else x
        for number, name in enumerate(head["layers"]):
            x = x.relu() if number else x
            x = x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
        logits = x
np.save(target, torch.softmax(logits.double(), 1).numpy())
assert not [name for name in sys.modules if name.partition(".")[0] in ("benchmark", "backbones", "tumorboard")]
