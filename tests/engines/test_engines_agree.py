"""The same network, weights, images and seeds give the same losses on every engine."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

SCRIPT = """
import json, os, sys
import numpy as np
from backbones.registry import load_registry
from benchmark.recipe import Recipe
from benchmark.engines import BuildSpec, create
from tests.engines.torch_small import images, logits, train

engine_name, name, weights, recipes = sys.argv[1], sys.argv[2], np.load(sys.argv[3]), json.loads(sys.argv[4])
for values in recipes:
    engine = create(engine_name, "cpu", tf32=False, deterministic=False)
    recipe = Recipe().with_values({"execution.precision": "float32", **values})
    engine.build(BuildSpec(load_registry().get(name), recipe, 3, 16, None, 0))
    engine.load_state({key: weights[f"{number}"] for number, key in enumerate(engine.state(optimizer=False))})
    decay, parts = recipe.ema.decay, recipe.execution.accumulate
    rate = values["optimizer.learning_rate"]
    losses = train(engine, 8, rate=rate, ema_decay=decay, parts=parts, varied=recipe.augmentation)
    print(json.dumps([*losses, *logits(engine, images()).ravel().tolist()]), flush=True)
os._exit(0)  # TensorFlow may crash while it is torn down
"""
RECIPES = [
    {"optimizer.name": "sgd", "optimizer.learning_rate": 0.01, "optimizer.weight_decay": 1e-3},
    {
        "optimizer.name": "adamw", "optimizer.learning_rate": 1e-4, "loss.label_smoothing": 0.1,
        "optimizer.layer_decay": 0.75, "optimizer.weight_decay": 1.0,
    },
    {"optimizer.name": "adam", "optimizer.learning_rate": 1e-4, "optimizer.clip_norm": 0.5},
    {
        "optimizer.name": "sgd", "optimizer.learning_rate": 0.01, "optimizer.decoupled_decay": True,
        "optimizer.weight_decay": 0.5, "optimizer.decay_norms_and_biases": True, "loss.focal_gamma": 2.0,
        "regularization.l1": 0.01, "regularization.l2": 0.01, "regularization.kernels": "conv",
    },
    {
        "optimizer.name": "sgd", "optimizer.learning_rate": 0.02, "optimizer.nesterov": True,
        "optimizer.layer_decay": 0.5, "optimizer.head_learning_rate_factor": 0.5, "ema.decay": 0.8,
        "execution.accumulate": 4, "loss.label_smoothing": 0.1, "loss.focal_gamma": 0.5,
    },
    {
        "optimizer.name": "adam", "optimizer.learning_rate": 1e-4, "augmentation.rotation": 0.2,
        "augmentation.flip_horizontal": True, "augmentation.brightness": 0.2,
    },
    {
        "optimizer.name": "adam", "optimizer.learning_rate": 1e-4, "augmentation.brightness": 0.2,
        "augmentation.brightness_bug": True,
    },
]  # fmt: skip


def weights() -> list[npt.NDArray[np.float32]]:
    """Draw the baseline CNN's weights, kernels in Keras's layout."""
    generator = np.random.default_rng(0)
    shapes = [(3, 3, 3, 16), (16,), (3, 3, 16, 32), (32,), (3, 3, 32, 64), (64,), (256, 256), (256,), (256, 3), (3,)]
    scale = [np.sqrt(2 / max(1, np.prod(shape[:-1]))) if len(shape) > 1 else 0.1 for shape in shapes]
    return [(generator.normal(size=s) * f).astype(np.float32) for s, f in zip(shapes, scale, strict=True)]


def as_torch(arrays: list[npt.NDArray[np.float32]]) -> list[npt.NDArray[np.float32]]:
    """Turn the layout: (H, W, in, out) to (out, in, H, W), (in, out) to (out, in), and the flattened map's order."""
    turned = [a.transpose(3, 2, 0, 1) if a.ndim == 4 else a.T if a.ndim == 2 else a for a in arrays]
    turned[6] = arrays[6].reshape(2, 2, 64, 256).transpose(3, 2, 0, 1).reshape(256, 256)
    return turned


def outcomes(engine: str, name: str, arrays: list[Any], folder: Path) -> Any:
    """Return losses and logits, a row for each recipe."""
    path = folder / f"{engine}.npz"
    np.savez(path, **{str(number): array for number, array in enumerate(arrays)})
    command = [sys.executable, "-c", SCRIPT, engine, name, str(path), json.dumps(RECIPES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    return np.array([json.loads(line) for line in done.stdout.splitlines()[-len(RECIPES) :]])


def test_the_baseline_cnn_trains_alike_on_all_engines(tmp_path: Path) -> None:
    drawn = weights()
    torch = outcomes("torch", "torch/baseline_cnn", as_torch(drawn), tmp_path)
    assert np.ptp(torch[:, :8], axis=1).min() > 0.01  # there is something to learn
    for engine in ("tensorflow", "torch"):
        keras = outcomes(engine, "keras/baseline_cnn", drawn, tmp_path)
        np.testing.assert_allclose(keras, torch, rtol=2e-4, atol=2e-4)
