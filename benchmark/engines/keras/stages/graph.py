"""Stages of a Keras model, found in its graph, on either Keras backend.

A value at which nothing else is still alive is a clean cut: all that follows depends on it alone, and
``keras.Model(t_i, t_j)`` between two such values is a stage that shares its layers with the whole. Neighbouring
cuts are merged until each stage has a kernel of its own, so that a convolution, its normalisation and its
activation stay together. The head is what follows the last feature map.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

HEAD = "head"
_POOLS_TO_VECTOR = (
    "GlobalAveragePooling2D",
    "GlobalMaxPooling2D",
    "GlobalAveragePooling1D",
    "GlobalMaxPooling1D",
    "Flatten",
)


@dataclass(frozen=True)
class KerasStages:
    """The forward pass of a model as a list of steps.

    Args:
        whole: the model.
        names: of the stages, in order; the last is the head.
        boundaries: symbolic values before the first stage, between stages, and after the last; empty where the
            model's graph can't be read, and then only the whole can be called.
    """

    whole: Any
    names: tuple[str, ...]
    boundaries: tuple[Any, ...] = ()
    _spans: dict[tuple[int, int], Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def separable(self) -> bool:
        """Whether single stages can be called."""
        return bool(self.boundaries)

    def span(self, first: int, last: int) -> Any:
        """Return the model of the stages ``first`` to ``last - 1``, which shares its layers with the whole.

        Raises:
            ValueError: part of a model that can't be separated.
        """
        if (first, last) == (0, len(self.names)):
            return self.whole
        if not self.boundaries:
            raise ValueError(f"the stages of {self.whole.name} can't be called one by one")
        if (first, last) not in self._spans:
            self._spans[first, last] = keras.Model(self.boundaries[first], self.boundaries[last])
        return self._spans[first, last]

    def singles(self) -> list[Any]:
        """Return a model for each stage."""
        return [self.span(number, number + 1) for number in range(len(self.names))]


def readable(built: Any, size: int) -> Any:
    """Return what an adapter built as one functional model without nested ones, or as it is where that fails.

    Args:
        built: a functional, sequential or subclassed model.
        size: side of its square RGB input, in pixels.

    Returns:
        A model that shares its layers and weights with ``built``.
    """
    if _is_functional(built) and not any(isinstance(layer, keras.Model) for layer in built.layers):
        return built
    inputs = keras.Input((size, size, 3))
    try:
        model = keras.Model(inputs, _inlined(built, inputs), name=built.name)
    except Exception:  # a model's call may raise anything on symbolic values; it is then called as a whole
        return built
    return model if _same_weights(model, built) else built


def _is_functional(layer: Any) -> bool:
    return hasattr(layer, "_nodes_by_depth")


def _inlined(layer: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a layer symbolically, models by calling what is in them."""
    if not isinstance(layer, keras.Model):
        return layer(*args, **kwargs)
    if isinstance(layer, keras.Sequential):
        value = args[0]
        for part in layer.layers:
            value = _inlined(part, value)
        return value
    if _is_functional(layer):
        return layer._run_through_graph(
            args[0], operation_fn=lambda operation: lambda *a, **k: _inlined(operation, *a, **k)
        )
    return layer.call(*args, **kwargs)


def _same_weights(model: Any, built: Any) -> bool:
    return {id(weight) for weight in model.weights} == {id(weight) for weight in built.weights}


def find_stages(model: Any) -> KerasStages:
    """Return the stages of a functional model; of any other one stage, the head, which can't be separated."""
    opaque = KerasStages(model, (HEAD,))
    if not _is_functional(model) or len(model.inputs) != 1 or len(model.outputs) != 1:
        return opaque
    segments = _segments(model)
    features = _before_head(segments)
    names: list[str] = []
    boundaries = [model.inputs[0]]
    kernels: list[str] = []
    for number, (value, nodes) in enumerate(segments[:features]):
        kernels += _kernels(nodes)
        if number == features - 1 or (kernels and _kernels(segments[number + 1][1])):
            names.append(kernels[0] if len(kernels) == 1 else value._keras_history.operation.name)
            boundaries.append(value)
            kernels = []
    return KerasStages(model, (*names, HEAD), (*boundaries, model.outputs[0]))


def declared_stages(layers: Sequence[Any], size: int, whole: Any = None) -> KerasStages:
    """Return the stages that an adapter gave as a list of layers or models, the last being the head.

    Args:
        layers: in the order of the forward pass.
        size: side of the square RGB input, in pixels.
        whole: the model that they come from; by default it is made of them.
    """
    inputs = keras.Input((size, size, 3))
    boundaries = [inputs]
    for layer in layers:
        boundaries.append(layer(boundaries[-1]))
    names = (*(layer.name for layer in layers[:-1]), HEAD)
    return KerasStages(whole or keras.Model(inputs, boundaries[-1]), names, tuple(boundaries))


def two_stages(stages: KerasStages) -> KerasStages:
    """Return the coarse list: all before the head as one stage."""
    ends = (stages.boundaries[0], *stages.boundaries[-2:])
    return KerasStages(stages.whole, ("features", HEAD), ends)


def _segments(model: Any) -> list[tuple[Any, list[Any]]]:
    """Return each cleanly cut value, in order, with the nodes that lie between the cut before and it."""
    nodes = [
        node
        for depth in sorted(model._nodes_by_depth, reverse=True)
        for node in model._nodes_by_depth[depth]
        if not node.is_input
    ]
    uses: dict[int, int] = {id(model.outputs[0]): 1}
    for node in nodes:
        for value in node.input_tensors:
            uses[id(value)] = uses.get(id(value), 0) + 1
    alive = {id(model.inputs[0])}
    segments: list[tuple[Any, list[Any]]] = []
    between: list[Any] = []
    for node in nodes:
        between.append(node)
        for value in node.input_tensors:
            uses[id(value)] -= 1
            if uses[id(value)] == 0:
                alive.discard(id(value))
        used = [value for value in node.outputs if uses.get(id(value))]
        alive.update(id(value) for value in used)
        if len(alive) == 1 and len(used) == 1:
            segments.append((used[0], between))
            between = []
    return segments


def _before_head(segments: list[tuple[Any, list[Any]]]) -> int:
    """Return the number of segments before the head, which begins after the last feature map or row of tokens.

    A network that has none before its first kernel keeps its last kernel as the head.
    """
    last = 0
    for number, (value, nodes) in enumerate(segments, start=1):
        if len(nodes) == 1 and type(nodes[0].operation).__name__ in _POOLS_TO_VECTOR:
            break
        if len(value.shape) >= 3 and any(_kernels(rest) for _, rest in segments[number:]):
            last = number
    if any(_kernels(nodes) for _, nodes in segments[:last]):
        return last
    with_kernel = [number for number, (_, nodes) in enumerate(segments) if _kernels(nodes)]
    return with_kernel[-1] if len(with_kernel) > 1 else 0


def _kernels(nodes: Sequence[Any]) -> list[str]:
    """Return the names of the layers that have a weight of two or more dimensions."""
    operations = [node.operation for node in nodes]
    return [o.name for o in operations if any(len(weight.shape) > 1 for weight in getattr(o, "weights", ()))]


def first_layer_input(stages: KerasStages) -> Any:
    """Return the model of what reaches the first layer with a kernel; ``None`` where the graph can't be read."""
    if not _is_functional(stages.whole):
        return None
    for _, nodes in _segments(stages.whole):
        for node in nodes:
            if _kernels([node]):
                return keras.Model(stages.whole.inputs, node.input_tensors[0])
    return None


def seed_states(model: Any) -> list[Any]:
    """Return the state variables of the model's random generators, in order."""
    weights = {id(weight) for weight in model.weights}
    return [
        variable
        for variable in model.variables
        if id(variable) not in weights and variable.name == "seed_generator_state"
    ]
