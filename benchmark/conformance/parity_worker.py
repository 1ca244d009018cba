"""One side of a parity comparison, in a process of its own: logits, gradients and loss curves of one network.

The first side builds its network, perturbs the weights and leaves them. The second side starts from those: it
finds which weight is which, or says why the two are not one architecture.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.child_process import send
from benchmark.conformance.fixture import Built, Subject, subject_asked_for
from benchmark.conformance.weight_mapping import NotOneArchitecture, correspond, place, to_keras, under
from benchmark.records.outcomes import RunFailure

Arrays = dict[str, npt.NDArray[Any]]

STEPS = 20
_FALL = 0.002  # of the loss in one plain step, to first order; with momentum some hundred times that in all
_ADAM_RATE = 1e-3
_CLASSES, _IMAGES = 4, 8


def images_and_labels(size: int) -> tuple[Any, Any]:
    """Return eight uint8 images, shape (8, S, S, 3), and labels of four classes.

    Each image has bright and dark regions of its own, under some noise that leaves no two pixels alike: max-pooling
    of equal values passes the gradient to either.
    """
    generator = np.random.default_rng(0)
    places = np.linspace(0, 3, size)
    near = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(4)))  # weights of bilinear interpolation
    regions = np.einsum("yi,xj,nijc->nyxc", near, near, generator.uniform(0, 215, (_IMAGES, 4, 4, 3)))
    images = regions + generator.uniform(0, 40, (_IMAGES, size, size, 3))
    return images.astype(np.uint8), np.arange(_IMAGES, dtype=np.int64) % _CLASSES


def perturbed(weights: Mapping[str, npt.NDArray[Any]]) -> Arrays:
    """Return weights whose biases, scales and statistics are moved by a tenth, so that each has a say.

    Fresh networks have biases and means of zero and variances of one, and some a scale of zero at the end of each
    residual branch: a comparison from there would not see what the branch does.
    """
    generator = np.random.default_rng(1)
    moved: Arrays = {}
    for name, value in weights.items():
        noise = 0.1 * generator.standard_normal(value.shape)
        if value.ndim == 1 and np.issubdtype(value.dtype, np.floating):
            value = (value * np.exp(noise) if place(name)[1] == "running_var" else value + noise).astype(value.dtype)
        moved[name] = value
    return moved


def curve(built: Built, size: int, rate: float, steps: int) -> list[float]:
    """Train ``steps`` steps on the same images in the same order; return the losses."""
    return built.train_on(*images_and_labels(size), rate, {step: step for step in range(1, steps + 1)})


def started(built: Built, start: Path | None) -> tuple[Arrays, Mapping[str, str], float | None]:
    """Return the weights to start from and, for a second side, which is which and the rate of the first.

    Raises:
        NotOneArchitecture: the weights in ``start`` are those of another.
    """
    own = built.engine.state(optimizer=False)
    if start is not None:
        with np.load(start, allow_pickle=False) as left:
            torch_weights = under(left, "weights/")
            rate = float(left["rate"])
        shapes = {name: value.shape for name, value in own.items()}
        pairs = correspond({name: value.shape for name, value in torch_weights.items()}, shapes)
        return {**own, **to_keras(torch_weights, pairs, shapes)}, pairs, rate
    return perturbed(own), {}, None


def compared(subject: Subject, size: int, head: str, start: Path | None) -> Arrays:
    """Return all that is compared of one side, by name; see the module."""

    def build(optimizer: str, **changes: Any) -> Built:
        changes = {"optimizer__name": optimizer, "head__kind": head, "preprocessing": "unit", **changes}
        return subject.build(classes=_CLASSES, size=size, **changes)

    built = build("sgd", optimizer__momentum=0.0)
    weights, pairs, rate = started(built, start)
    built.engine.load_state(weights)
    leaves = {f"weights/{name}": value for name, value in weights.items()}
    leaves |= {f"pairs/{name}": np.array(other) for name, other in pairs.items()}
    leaves["logits"] = built.logits(images_and_labels(size)[0])
    curve(built, size, 1.0, 1)  # one plain step at rate 1 moves each weight by minus its gradient
    after = built.engine.weights()
    slopes = {name: weights[name] - after[name] for name in built.network.trainable_names}
    leaves |= {f"gradient/{name}": slope for name, slope in slopes.items()}
    if rate is None:  # small enough that rounding, and units that it turns on or off, do not grow into another course
        rate = _FALL / max(1e-12, sum(float(np.square(slope, dtype=np.float64).sum()) for slope in slopes.values()))
    leaves["rate"] = np.array(rate)
    for optimizer, its_rate in (("sgd", rate), ("adam", _ADAM_RATE)):
        built = build(optimizer)
        built.engine.load_state(weights)
        leaves[f"curve/{optimizer}"] = np.array(curve(built, size, its_rate, STEPS))
    return leaves


def main() -> None:
    """Read one JSON argument (``backbone``, ``engine``, ``plugins``, ``size``, ``head``, ``start``, ``leave``).

    Writes arrays to ``leave``, or prints a JSON line with the ``reason`` why there are none.
    """
    subject, asked, answers = subject_asked_for()
    start = Path(asked["start"]) if asked["start"] else None
    try:
        arrays = compared(subject, asked["size"], asked["head"], start)
        np.savez(asked["leave"], allow_pickle=False, **arrays)
        reason = ""
    except RunFailure as failure:
        reason = f"{subject.backbone.name}: {failure.reason}"
    except NotOneArchitecture as error:
        reason = f"they are not one architecture ({error}); where only their heads differ, give --head linear"
    send(answers, {"reason": reason})


if __name__ == "__main__":
    main()
