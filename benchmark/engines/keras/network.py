"""A Keras network, ready to be trained: built, cut into stages, its head and its BatchNorm as the recipe asks.

Shared by both engines that run Keras models, so nothing here knows whether TensorFlow or torch computes. Nothing
here may import TensorFlow either, as ``keras.utils.set_random_seed``, saving and cloning do.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from backbones import UNIT, MissingWeights, Preprocessing
from benchmark.draws.initialization import glorot_uniform, input_scale
from benchmark.draws.randomness import draw
from benchmark.engines.base import BuildSpec
from benchmark.engines.freezing import first_trainable
from benchmark.engines.keras.initialization import draw_classifier, draw_initial_weights
from benchmark.engines.keras.stages.graph import HEAD, KerasStages, declared_stages, seed_states
from benchmark.engines.keras.stages.verification import Backend, verified_stages, verify
from benchmark.engines.shared import batch_norm_conventions, native_dropout, stage_factors
from benchmark.engines.warm_start import draws_classifier, draws_weights, weights_loaded
from benchmark.recipe import BatchNorm, Head
from benchmark.records.outcomes import Outcome, RunFailure

_POOLING = {"average": "GlobalAveragePooling", "max": "GlobalMaxPooling"}


def set_plain_batch_norm(layer: Any, rule: BatchNorm) -> None:
    """Give a BatchNormalization layer the recipe's momentum and kind of variance, on any backend."""
    layer.momentum = 1 - rule.momentum
    if rule.variance == "unbiased" and not layer.renorm:
        layer.call = partial(_call_unbiased, layer, layer.call)


@dataclass(frozen=True)
class Arithmetic:
    """What the two Keras backends do differently while a network is built.

    Args:
        policy: Keras's dtype policy: ``float32``, ``mixed_bfloat16`` or ``mixed_float16``.
        backend: how it computes while stages are verified.
        set_batch_norm: gives one BatchNormalization layer the recipe's conventions.
    """

    policy: str
    backend: Backend
    set_batch_norm: Callable[[Any, BatchNorm], None]


@dataclass(frozen=True)
class KerasNetwork:
    """What an engine trains.

    Args:
        stages: in order; the last is the head.
        split_head: the same, but that a head which the recipe made of a pooling and layers is two: what comes from
            the pooling is small, and as fixed as what goes into it.
        unverified: why the stages were not shown to equal the whole model, one sentence; empty where they are.
        first_trainable: number of the first stage in which something is trained.
        fixed: layers that are frozen by their number in the model; some may be in the stages that are trained.
        preprocessing: what the pixels become before the first stage.
        library_preprocessing: what the network's library says its input must be, where it says so.
        weights_loaded: ``none``, or where the weights came from.
        parameters: number of scalars that training could change if nothing were frozen.
        seeds: states of the random generators inside the network.
        conventions: what is fixed explicitly because frameworks differ, for the record.
    """

    stages: KerasStages
    split_head: KerasStages
    unverified: str
    first_trainable: int
    fixed: tuple[Any, ...]
    preprocessing: Preprocessing
    library_preprocessing: Preprocessing | None
    weights_loaded: str
    parameters: int
    seeds: tuple[Any, ...]
    conventions: dict[str, str]

    def freeze(self) -> None:
        """Make the layers before the first trainable stage untrainable: their BatchNorm then infers."""
        for number in range(self.first_trainable):
            for layer in self.stages.span(number, number + 1).layers:
                layer.trainable = False

    @property
    def first_trainable_of_split_head(self) -> int:
        """The number of the first of the stages with a split head in which something is trained."""
        head_only = self.first_trainable == len(self.stages.names) - 1
        return len(self.split_head.names) - 1 if head_only else self.first_trainable

    def in_training(self) -> list[str]:
        """Return the names of the layers frozen by number that are not in inference mode, as BatchNorm then is."""
        return [layer.name for layer in self.fixed if layer.trainable]

    @property
    def frozen(self) -> Any:
        """The stages that are not trained, as one model; ``None`` where all are."""
        return self.stages.span(0, self.first_trainable) if self.first_trainable else None

    @property
    def trained(self) -> Any:
        """The stages that are trained, as one model."""
        return self.stages.span(self.first_trainable, len(self.stages.names))

    def learning_rate_factors(self, spec: BuildSpec) -> dict[int, float]:
        """Return the learning rates' factors by the variables' ids; none, which is 1, where stages can't be told
        apart: a rule that would need them is refused.
        """
        factors = stage_factors(spec, len(self.stages.names))
        if not self.stages.separable:
            return {}
        stages = zip(self.stages.singles(), factors, strict=True)
        return {id(weight): factor for model, factor in stages for weight in model.weights}


def layer_seeds(seed: int, count: int) -> npt.NDArray[np.int64]:
    """Return the seed (31 bits) of each of a network's random generators in one step, shape (count,)."""
    return (draw(np.arange(count, dtype=np.uint64), seed) >> np.uint64(33)).astype(np.int64)


def build_network(spec: BuildSpec, arithmetic: Arithmetic) -> KerasNetwork:
    """Build the network that a build spec asks for.

    Args:
        spec: what to build.
        arithmetic: how the backend computes.

    Raises:
        RunFailure: ``missing_weights``, or ``unsupported`` where the network can't do what the recipe asks.
    """
    recipe, size = spec.recipe, spec.size
    keras.utils.clear_session()  # names of layers count up in one process; state is kept by name
    keras.config.set_floatx("float32")  # a user's keras.json may say otherwise
    keras.config.set_image_data_format("channels_last")
    keras.config.set_dtype_policy(arithmetic.policy)
    preprocessing = UNIT if recipe.preprocessing == "unit" else spec.backbone.preprocessing or UNIT
    before = random.getstate()
    random.seed(spec.seed)  # Keras draws the seeds of initialisers and generators from Python's generator
    try:
        built = spec.backbone.make(spec.num_classes, spec.weights, size, native_dropout(spec))
        stages, conventions, why = _in_stages(spec, built, arithmetic)
        split_head = stages
        if draws_weights(spec):
            conventions["initialization"] = draw_initial_weights(stages, input_scale(preprocessing), spec.seed)
        elif draws_classifier(spec, built):
            draw_classifier(stages, spec.seed)
        if recipe.head.kind != "native":
            stages, split_head = replace_head(stages, recipe.head, spec)
    except MissingWeights as missing:
        raise RunFailure(Outcome.MISSING_WEIGHTS, str(missing)) from missing
    finally:
        random.setstate(before)
    parameters = count_scalars(stages.whole.trainable_weights)
    fixed = _fix(built if isinstance(built, keras.Model) else stages.whole, stages, recipe.trainable_from)
    return KerasNetwork(
        stages=stages,
        split_head=split_head,
        unverified=why,
        first_trainable=_first_unfixed(stages, fixed) if fixed else _first_trainable(stages, recipe.trainable_from),
        fixed=fixed,
        preprocessing=preprocessing,
        library_preprocessing=getattr(built, "library_preprocessing", None),
        weights_loaded=weights_loaded(spec, built),
        parameters=parameters,
        seeds=tuple(seed_states(stages.whole)),
        conventions=conventions,
    )


def _in_stages(spec: BuildSpec, built: Any, arithmetic: Arithmetic) -> tuple[KerasStages, dict[str, str], str]:
    """Return the stages of what an adapter built, BatchNorm's conventions, and why the stages are not verified."""
    batch_norm, size = spec.recipe.batch_norm, spec.size
    if isinstance(built, list | tuple):
        stages = declared_stages(built, size)
        conventions = set_batch_norms(stages.whole, batch_norm, arithmetic)
        why = verify(stages, stages.whole, arithmetic.backend, size)
        return stages, conventions, f"{stages.whole.name}: {why}" if why else ""
    if not isinstance(built, keras.Model):
        raise RunFailure(Outcome.ERROR, f"The backbone's build gives {type(built).__name__}, not a Keras model.")
    if not built.built:
        built(keras.ops.zeros((1, size, size, 3)))
    conventions = set_batch_norms(built, batch_norm, arithmetic)
    stages, why = verified_stages(spec.backbone, built, arithmetic.backend, size)
    return stages, conventions, why


def named_weights(stages: KerasStages) -> dict[str, Any]:
    """Return all weights and running statistics by ``stage/layer/weight``, in order.

    The names do not depend on what the process built before. Where stages can't be told apart, all is ``head``.
    """
    if not stages.separable:
        parts = [(stages.names[0], stages.whole)]
    else:
        parts = list(zip(stages.names, stages.singles(), strict=True))
    named: dict[str, Any] = {}
    for stage, model in parts:
        for weight in model.weights:
            name = f"{stage}/{weight.path}"
            while name in named:
                name += "_"
            named[name] = weight
    return named


def count_scalars(variables: Sequence[Any]) -> int:
    """Return the number of scalars in some variables."""
    return sum(int(np.prod(variable.shape)) for variable in variables)


def _first_trainable(stages: KerasStages, trainable_from: str) -> int:
    """Return the number of the first stage that is trained; see :func:`first_trainable`.

    Raises:
        RunFailure: ``unsupported`` where there is no such stage, or stages can't be called one by one.
    """
    if trainable_from != "all" and not stages.separable:
        raise RunFailure(
            Outcome.UNSUPPORTED,
            f"{stages.whole.name} has no stages that can be frozen: use trainable_from = 'all'.",
        )
    return first_trainable(trainable_from, stages.names)


def _fix(built: Any, stages: KerasStages, trainable_from: str) -> tuple[Any, ...]:
    """Freeze the layers before a number, as ``for layer in built.layers[:100]: layer.trainable = False``.

    Returns:
        The layers, without those in which others are nested; none where ``trainable_from`` is not a number.

    Raises:
        RunFailure: ``unsupported`` where nothing would be left to train.
    """
    if not trainable_from.isdecimal() or trainable_from in stages.names:
        return ()
    for layer in built.layers[: int(trainable_from)]:
        layer.trainable = False
    if not stages.whole.trainable_weights or int(trainable_from) > len(built.layers):
        raise RunFailure(
            Outcome.UNSUPPORTED,
            f"trainable_from = {trainable_from} leaves nothing to train: the network has {len(built.layers)} layers.",
        )
    return tuple(
        part
        for layer in built.layers[: int(trainable_from)]
        for part in layer._flatten_layers()
        if not isinstance(part, keras.Model)
    )


def _first_unfixed(stages: KerasStages, fixed: Sequence[Any]) -> int:
    """Return the number of the first stage with a weight, or something random, outside the layers that are frozen.

    What is before is the same at every step, and runs in inference mode. Stages that can't be told apart are trained.
    """
    if not stages.separable:
        return 0
    frozen_ids = {id(layer) for layer in fixed}
    for number, model in enumerate(stages.singles()):
        changing = (layer for layer in model.layers if layer.weights or hasattr(layer, "seed_generator"))
        if any(id(layer) not in frozen_ids for layer in changing):
            return number
    raise AssertionError("something is left to train")


def replace_head(stages: KerasStages, head: Head, spec: BuildSpec) -> tuple[KerasStages, KerasStages]:
    """Return the stages with a new head: pooling, a hidden layer for ``dense256``, dropout, logits.

    Returns:
        The stages, and the same with the head split behind its pooling.

    Raises:
        RunFailure: ``unsupported`` where the place of the head is not known.
    """
    if not stages.separable:
        raise RunFailure(
            Outcome.UNSUPPORTED,
            f"The head of {stages.whole.name} can't be told from the rest: use head.kind = 'native'.",
        )
    features = stages.boundaries[-2]
    layers: list[Any] = []
    axes = len(features.shape) - 2
    pools = axes in (1, 2) and head.pooling in _POOLING
    if pools:
        layers.append(getattr(keras.layers, f"{_POOLING[head.pooling]}{axes}D")())
    elif axes > 0:
        layers.append(keras.layers.Flatten())
    if head.kind == "dense256":
        layers.append(keras.layers.Dense(256, activation="relu", name="dense"))
    if head.dropout:
        layers.append(keras.layers.Dropout(head.dropout))
    layers.append(keras.layers.Dense(spec.num_classes, name="logits"))
    value, pooled = features, None
    for layer in layers:
        value = layer(value)
        pooled = value if pooled is None else pooled
        if isinstance(layer, keras.layers.Dense):
            inputs, outputs = layer.kernel.shape
            layer.kernel.assign(glorot_uniform(spec.seed, layer.name, (int(inputs), int(outputs))))
    whole = keras.Model(stages.boundaries[0], value, name=stages.whole.name)
    names, before = stages.names[:-1], stages.boundaries[:-1]
    replaced = KerasStages(whole, (*names, HEAD), (*before, value))
    if not pools:
        return replaced, replaced
    return replaced, KerasStages(whole, (*names, f"{head.pooling} pooling", HEAD), (*before, pooled, value))


def set_batch_norms(model: Any, rule: BatchNorm, arithmetic: Arithmetic) -> dict[str, str]:
    """Give every BatchNormalization layer the recipe's conventions, and return them."""
    layers = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
        and layer.built  # some networks make layers they never use
    ]
    for layer in layers:
        arithmetic.set_batch_norm(layer, rule)
    return batch_norm_conventions([layer.epsilon for layer in layers], rule)


def _call_unbiased(layer: Any, call: Any, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
    """Call a BatchNormalization layer, then put the batch's unbiased variance in place of the biased one.

    With n values per channel, ``new = m old + (1 - m) var`` becomes ``m old + (1 - m) var n / (n - 1)``.
    """
    if not (training and layer.trainable):
        return call(inputs, training=training, mask=mask)
    kept = keras.ops.multiply(layer.moving_variance, layer.momentum)
    outputs = call(inputs, training=training, mask=mask)
    shape = keras.ops.shape(inputs)
    n = 1
    for axis in layer._reduction_axes:
        n = n * shape[axis]
    n = keras.ops.cast(n, "float32")
    factor = n / keras.ops.maximum(n - 1, 1)
    layer.moving_variance.assign(kept + (layer.moving_variance - kept) * factor)
    return outputs
