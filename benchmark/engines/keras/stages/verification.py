"""Whether the stages of a Keras model, composed, equal it: shown by running both, on either Keras backend."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from backbones import Backbone
from benchmark.engines.keras.stages.graph import (
    HEAD,
    KerasStages,
    declared_stages,
    find_stages,
    readable,
    seed_states,
    two_stages,
)

Gradients = Callable[[Callable[[], Any], Sequence[Any]], Sequence[Any]]


@dataclass(frozen=True)
class Backend:
    """How a backend computes while stages are verified.

    Args:
        gradients: ``gradients(loss, variables)`` calls ``loss()`` and differentiates it.
        scope: entered around all that is computed.
        tolerance: largest difference that passes, relative to an array's largest value. Composition uses the same
            kernels in the same order; only the order of sums within one may differ.
    """

    gradients: Gradients
    scope: Callable[[], AbstractContextManager[Any]] = nullcontext
    tolerance: float = 1e-4


def verified_stages(backbone: Backbone, built: Any, backend: Backend, size: int) -> tuple[KerasStages, str]:
    """Return stages that were shown to equal the model, and a sentence on those that were not, or nothing.

    In this order: those that the adapter declares; those found in the graph; features and head. Where none is
    verified the model is one stage, which can't be separated. That declared stages are wrong is always told; that the
    finest that were found are, only where coarser ones are no better.

    Args:
        backbone: the adapter.
        built: the model that it built.
        backend: how the backend computes.
        size: side of the square RGB input, in pixels.
    """
    reasons: list[str] = []
    for candidate in _candidates(backbone, built, size):
        try:
            stages = candidate()
            why = verify(stages, built, backend, size)
        except ValueError as error:  # Keras's word for layers that do not fit one another
            why = f"`stages` fails: {' '.join(str(error).split())[:200]}"
        if not why:
            return stages, reasons[0] if reasons and backbone.stages is not None else ""
        reasons.append(f"{built.name}: {why}")
    return KerasStages(built, (HEAD,)), reasons[0]


def _candidates(backbone: Backbone, built: Any, size: int) -> Iterator[Callable[[], KerasStages]]:
    whole = readable(built, size)
    if backbone.stages is not None:
        declare = backbone.stages
        yield lambda: declared_stages(declare(built), size, whole)
    traced = find_stages(whole)
    yield lambda: traced
    if len(traced.names) > 2:
        yield lambda: two_stages(traced)


def verify(stages: KerasStages, built: Any, backend: Backend, size: int) -> str:
    """Return what is wrong with the stages, one clause; empty where they, composed, equal the model.

    Compared are: the weights (each in exactly one stage), the output in inference mode, and in training mode
    (with the same random draws) the output, the gradient of every weight and the running statistics. Weights and
    statistics are as before afterwards.

    Args:
        stages: to be tested.
        built: the model as the adapter made it.
        backend: how the backend computes.
        size: side of the input, in pixels.
    """
    if not stages.separable:
        return "its forward pass can't be read as a graph of layers, so that it has no stages"
    singles = stages.singles()
    owned = [id(weight) for single in singles for weight in single.weights]
    if sorted(owned) != sorted(id(weight) for weight in built.weights):
        return "not every weight is in exactly one stage"

    def composed(value: Any, training: bool) -> Any:
        for single in singles:
            value = single(value, training=training)
        return value

    def outcome(call: Callable[[Any, bool], Any]) -> list[npt.NDArray[np.float32]]:
        for number, state in enumerate(seeds):
            state.assign([number + 1, 0])
        outputs: list[Any] = []

        def loss() -> Any:
            outputs.append(keras.ops.cast(call(images, True), "float32"))
            return keras.ops.sum(outputs[0] * slopes)

        slopes_of = backend.gradients(loss, built.trainable_variables)
        values = [
            outputs[0],
            *(slope for slope in slopes_of if slope is not None),
            *(variable.value for variable in statistics),
        ]
        arrays = [np.asarray(keras.ops.convert_to_numpy(value), dtype=np.float32) for value in values]
        for variable, value in zip(statistics, before, strict=True):
            variable.assign(value)
        inference = keras.ops.convert_to_numpy(keras.ops.cast(call(images, False), "float32"))
        return [*arrays, inference]

    def equal(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> bool:
        scale = 1e-6 + float(np.abs(a).max(initial=0))
        return a.shape == b.shape and float(np.abs(a - b).max(initial=0)) <= backend.tolerance * scale

    generator = np.random.default_rng(0)
    images = keras.ops.convert_to_tensor(generator.random((2, size, size, 3), dtype=np.float32))
    slopes = keras.ops.convert_to_tensor(
        generator.standard_normal((2, stages.whole.output_shape[-1]), dtype=np.float32)
    )
    seeds, statistics = seed_states(built), built.non_trainable_weights
    before = [np.array(keras.ops.convert_to_numpy(variable.value)) for variable in statistics]
    with backend.scope():
        of_whole = outcome(lambda value, training: built(value, training=training))
        of_stages = outcome(composed)
    same = len(of_whole) == len(of_stages) and all(equal(a, b) for a, b in zip(of_whole, of_stages, strict=True))
    return "" if same else "its stages, composed, do not compute what the whole model computes"
