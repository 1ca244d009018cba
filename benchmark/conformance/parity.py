"""Parity: one architecture in two frameworks, with the same weights, compared number by number."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backbones import Backbone
from benchmark.child_process import run
from benchmark.conformance.runner import usable_engine
from benchmark.conformance.weight_mapping import largest_difference, to_keras, under
from benchmark.conformance.worker import why_not
from benchmark.errors import UserError
from benchmark.evaluation.parity_certificates import Certificate
from benchmark.host import installed_versions

Arrays = dict[str, npt.NDArray[Any]]

_LIBRARIES = ("torch", "timm", "tensorflow", "keras", "keras-cv")


def compare(torch: Backbone, keras: Backbone, plugins: Sequence[Path], *, size: int, head: str) -> Certificate:
    """Compare a torch network with a Keras one of the same architecture.

    Args:
        torch, keras: the two backbones.
        plugins: files from which the processes can load them.
        size: side of the images, in pixels.
        head: ``native``, ``linear`` or ``dense256``, for both.

    Raises:
        UserError: they are not of one architecture, or one can't be built.
    """
    for backbone in (torch, keras):
        if reason := why_not(backbone):
            raise UserError(f"{backbone.name} can't be compared: {reason.rstrip('.')}.")
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / "torch.npz"
        common = {"plugins": [str(path) for path in plugins], "size": size, "head": head}
        pair = f"{torch.name} and {keras.name} can't be compared"
        ours = _side({**common, "backbone": torch.name, "engine": "torch", "start": None}, start, pair)
        asked = {"backbone": keras.name, "engine": usable_engine(keras, "tensorflow"), "start": str(start)}
        theirs = _side({**common, **asked}, Path(folder) / "keras.npz", pair)

    pairs = {name: str(other) for name, other in under(theirs, "pairs/").items()}
    others = under(theirs, "gradient/")
    shapes = {name: value.shape for name, value in under(theirs, "weights/").items()}
    slopes = to_keras(under(ours, "gradient/"), pairs, shapes)
    if set(slopes) != set(others):
        odd = min(set(slopes) ^ set(others))
        raise UserError(f"{pair}: only one of them trains {odd}; let both train the same weights.")
    for side, name in ((ours, torch.name), (theirs, keras.name)):
        if not all(np.isfinite(value).all() for key, value in side.items() if not key.startswith("pairs/")):
            raise UserError(f"{pair}: the losses or weights of {name} do not stay finite; try another --size.")
    largest = max(float(np.abs(slope).max()) for slope in slopes.values())
    return Certificate(
        torch=torch.name,
        keras=keras.name,
        torch_source=torch.source_hash,
        keras_source=keras.source_hash,
        size=size,
        head=head,
        parameters=sum(slope.size for slope in slopes.values()),
        logits=largest_difference([ours["logits"]], [theirs["logits"]])
        / min(1.0, float(np.abs(ours["logits"]).max()) or 1.0),
        gradients=largest_difference(list(slopes.values()), [others[name] for name in slopes]) / largest,
        rate=float(ours["rate"]),
        fall=float(ours["curve/sgd"][0] - ours["curve/sgd"][-1]),
        sgd_curve=largest_difference([ours["curve/sgd"]], [theirs["curve/sgd"]]),
        adam_curve=largest_difference([ours["curve/adam"]], [theirs["curve/adam"]]),
        versions=installed_versions(_LIBRARIES),
    )


def _side(asked: dict[str, Any], leave: Path, pair: str) -> Arrays:
    """Run one side in a process of its own and return what it left; ``pair`` begins the sentence where it fails."""
    asked = {**asked, "leave": str(leave)}
    code, answers, errors = run("benchmark.conformance.parity_worker", json.dumps(asked))
    if code != 0:
        lines = [line for line in errors.strip().splitlines() if line.strip()]
        raise UserError(f"{pair}: {asked['backbone']} ended with {lines[-1] if lines else 'no word'}.")
    reason = str(answers[-1]["reason"])
    if reason:
        raise UserError(f"{pair}: {reason.rstrip('.')}.")
    with np.load(leave, allow_pickle=False) as left:
        return dict(left)
