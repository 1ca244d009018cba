"""Which stages a recipe freezes, and what of them may be kept. The same rule on every engine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.errors import nearest
from benchmark.records.outcomes import Outcome, RunFailure

# Largest difference of features that are computed again, as a share of their largest value: batches of
# another size take other kernels. It is far above their difference, and below any other.
TOLERANCE = {"float64": 1e-4, "float32": 1e-4, "float16": 2e-2, "bfloat16": 5e-2}


class NotCacheable(Exception):
    """Says in one clause why no outputs of a network's stages may be computed once and kept."""


@dataclass(frozen=True)
class FeatureSpec:
    """The outputs of frozen stages, which never change for an image while the others are trained: its *features*.

    Args:
        stages: names of these stages, in order.
        shape: of the features of one image.
        dtype: of the features, by NumPy's name; bfloat16, which NumPy lacks, is kept as the bits of ``int16``.
        weights_hash: SHA-256 over the weights and running statistics of these stages.
    """

    stages: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    weights_hash: str


def first_trainable(trainable_from: str, names: Sequence[str]) -> int:
    """Return the number of the first stage that a recipe's ``trainable_from`` leaves trainable.

    Where no stage has that very name, it is the first of those whose names go on from it: ``layer4`` is the first of
    ``layer4.0``, ``layer4.1`` ..., ``conv5`` of ``conv5_block1_out``, ``conv5_block2_out`` ...

    Raises:
        RunFailure: ``unsupported`` where there is no such stage, named with those that there are.
    """
    if trainable_from == "all":
        return 0
    if trainable_from == "head":
        return len(names) - 1
    if trainable_from in names:
        return list(names).index(trainable_from)
    for number, name in enumerate(names):
        if name.startswith((f"{trainable_from}.", f"{trainable_from}_")):
            return number
    raise RunFailure(
        Outcome.UNSUPPORTED,
        f"There is no stage '{trainable_from}' to train from.{nearest(trainable_from, list(names))} "
        f"There are {', '.join(names)}.",
    )


def last_cacheable(first: int, gives_features: Callable[[int], bool]) -> int:
    """Return how many of the frozen stages may be computed once for each image: as many as can be.

    Args:
        first: number of the first stage that is trained.
        gives_features: whether what a number of stages gives is one array of floats with an element for each image.

    Raises:
        NotCacheable: none may.
    """
    if not first:
        raise NotCacheable("nothing is frozen")
    for end in range(first, 0, -1):
        if gives_features(end):
            return end
    raise NotCacheable("no frozen stage gives one array of floats with a row for each image")


def assert_independent(together: npt.NDArray[Any], alone: npt.NDArray[Any], dtype: str) -> None:
    """Raise ``NotCacheable`` where the features of an image are others when it is computed alone.

    Args:
        together, alone: features of one image, in float32 at least, computed among others and by itself.
        dtype: in which they were computed.
    """
    if together.shape != alone.shape or not agree(together, alone, TOLERANCE[dtype]):
        raise NotCacheable("the output of the frozen stages for an image depends on the others, or on chance")


def agree(features: npt.NDArray[Any], again: npt.NDArray[Any], tolerance: float) -> bool:
    """Return whether features are what was computed again, to within a share of the largest value."""
    scale = max(float(np.nanmax(np.abs(again), initial=0.0)), 1e-6)
    return bool(np.allclose(features, again, rtol=0, atol=tolerance * scale, equal_nan=True))
