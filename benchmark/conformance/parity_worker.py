"""One side of a parity comparison, in a process of its own: ``logits``, gradients and loss curves of one network.

Without given weights it draws its own and leaves them; with them it starts from those.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from backbones.registry import load_registry
from benchmark.conformance.correspondence import write_arrays
from benchmark.conformance.subject import Built, Subject
from benchmark.training.engines import StepInput

STEPS = 20
_RATES = {"sgd": 1e-2, "adam": 1e-3}


def images_and_labels(size: int, count: int = 8) -> tuple[Any, Any]:
    """Return uint8 noise of shape (count, S, S, 3) with a gradient across it, and labels of four classes."""
    generator = np.random.default_rng(0)
    ramp = np.linspace(0, 120, size)[None, :, None]
    images = np.stack(
        [generator.integers(0, 130, (size, size, 3)) + np.roll(ramp, 7 * n, axis=1) for n in range(count)]
    )
    return images.astype(np.uint8), np.arange(count, dtype=np.int64) % 4


def curve(built: Built, size: int, rate: float, steps: int) -> list[float]:
    """Train ``steps`` steps on the same images in the same order; return the losses."""
    images, labels = images_and_labels(size)
    weights = np.full(len(labels), 1 / len(labels), dtype=np.float32)
    losses = []
    for step in range(1, steps + 1):
        given = StepInput(built.engine.upload(images), labels, weights, rate, step, seed=step)
        losses.append(float(built.engine.fetch([built.engine.train_step(given)])[0]))
    return losses


def main() -> None:
    """Read one JSON argument; write ``weights``, ``logits``, ``slope`` arrays and loss curves as ``.npz``."""
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    asked = json.loads(sys.argv[1])
    registry = load_registry(tuple(Path(path) for path in asked["plugins"]))
    subject = Subject(registry.get(asked["backbone"]), asked["engine"])
    size, head = asked["size"], asked["head"]

    def build(optimizer: str, **changes: Any) -> Built:
        changes = {"optimizer__name": optimizer, "head__kind": head, "preprocessing": "unit", **changes}
        built = subject.build(classes=4, size=size, **changes)
        if asked["start"]:
            with np.load(asked["start"], allow_pickle=False) as start:
                state = built.engine.state(optimizer=False)
                built.engine.load_state({name: start.get(name, value) for name, value in state.items()})
        return built

    built = build("sgd", optimizer__momentum=0.0)
    before = built.engine.weights()
    leaves = {f"weights/{name}": value for name, value in before.items()}
    if not asked["shapes_only"]:
        leaves["logits"] = built.logits(images_and_labels(size)[0])
        curve(built, size, 1.0, 1)  # one plain step at rate 1 moves each weight by minus its gradient
        after = built.engine.weights()
        names = built.network.trainable_names
        leaves |= {f"gradient/{name}": before[name] - after[name] for name in names}
        for optimizer, rate in _RATES.items():
            leaves[f"curve/{optimizer}"] = np.array(curve(build(optimizer), size, rate, STEPS))
    write_arrays(Path(asked["leave"]), leaves)
    events.write(json.dumps({"backbone": subject.backbone.name}) + "\n")
    events.flush()


if __name__ == "__main__":
    main()
