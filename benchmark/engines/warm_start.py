"""The weights with which a network begins: drawn, loaded, or those that another run left."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.atomic_files import written_file
from benchmark.engines.base import BuildSpec
from benchmark.records.outcomes import Outcome, RunFailure

Weights = Mapping[str, npt.NDArray[Any]]


def draws_classifier(spec: BuildSpec, built: object) -> bool:
    """Return whether the classifier alone is drawn by the recipe's rule: where it is new behind pretrained weights.

    Args:
        spec: what is built.
        built: by the adapter, which says so in ``classifier_is_new``.
    """
    own_head = spec.recipe.head.kind == "native"
    return own_head and spec.recipe.initialization == "he" and bool(getattr(built, "classifier_is_new", False))


def draws_weights(spec: BuildSpec) -> bool:
    """Return whether initial weights are drawn by the recipe's rule: where it has one and no weights come."""
    return spec.recipe.initialization == "he" and spec.weights is None


def weights_loaded(spec: BuildSpec, built: object) -> str:
    """Return where initial weights came from, for the record: another run, or what the adapter built with.

    Args:
        spec: what is built.
        built: by the adapter, a model of any framework, which may say in ``weights_loaded`` what is in it, also where
            no weights were asked for. One that says nothing has those that its adapter was given, if it takes any.
    """
    if spec.init_from is not None:
        return f"run {spec.init_from.parent.name}"
    described = getattr(built, "weights_loaded", None)
    if described:
        return str(described)
    takes = inspect.signature(spec.backbone.build).parameters.values()
    if spec.weights is None or not any(p.name == "weights" or p.kind is p.VAR_KEYWORD for p in takes):
        return "none"
    return f"imagenet: {spec.backbone.imagenet}" if spec.weights == "imagenet" else str(spec.weights)


class NoFinalWeights(RunFailure):
    """Says why a run can't continue from another's weights: ``missing_weights``."""

    def __init__(self, reason: str) -> None:
        super().__init__(Outcome.MISSING_WEIGHTS, reason)


def save_final(weights: Weights, path: Path) -> None:
    """Write what :meth:`~benchmark.engines.Engine.weights` gave; the file is complete or absent."""
    from safetensors.numpy import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    with written_file(path) as unfinished:
        save_file({name: np.asarray(value, order="C") for name, value in weights.items()}, unfinished)


def read_final(path: Path, own: Mapping[str, tuple[int, ...]]) -> dict[str, npt.NDArray[Any]]:
    """Return what another run left, for a network of these names and shapes.

    Raises:
        NoFinalWeights: the file is not there, can't be read, or is of another network.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    what = f"The weights that run {path.parent.name} left"
    try:
        weights: dict[str, npt.NDArray[Any]] = load_file(path)
    except FileNotFoundError:
        raise NoFinalWeights(f"{what} are not at {path}; give the same command again.") from None
    except (OSError, SafetensorError) as error:
        raise NoFinalWeights(f"{what} can't be read from {path}: {error}") from None
    for name in sorted(set(weights) | set(own)):
        there = tuple(weights[name].shape) if name in weights else None
        if there != own.get(name):
            raise NoFinalWeights(
                f"{what} don't fit this network: {name} has shape {there} there and {own.get(name)} here.",
            )
    return weights
