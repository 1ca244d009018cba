"""Keras networks for the torch engine.

Keras on torch runs in inference mode unless ``training=True`` is passed, whatever ``train()`` was told, and keeps
Keras's layout. Nothing here imports TensorFlow, which would crash the process.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmark.engines.base import BuildSpec, SavedNetwork
from benchmark.engines.torch.device import seed_generators
from benchmark.engines.torch.network import TorchNetwork, TorchStage
from benchmark.recipe import BatchNorm
from benchmark.records.outcomes import Outcome, RunFailure

os.environ["KERAS_BACKEND"] = "torch"  # read when Keras is imported, as KERAS_TORCH_DEVICE is
try:
    import keras
except Exception as error:  # a broken installation may raise anything
    raise RunFailure(
        Outcome.MISSING_DEPENDENCY, f"Keras can't be imported: {type(error).__name__}: {error}"
    ) from error

# isort: split
# What follows imports it too, and comes second.
from benchmark.engines.keras.network import (
    Arithmetic,
    KerasNetwork,
    count_scalars,
    layer_seeds,
    named_weights,
    set_plain_batch_norm,
)
from benchmark.engines.keras.network import build_network as build_keras_network
from benchmark.engines.keras.saved import save
from benchmark.engines.keras.stages.graph import KerasStages, first_layer_input
from benchmark.engines.keras.stages.verification import Backend


def build_network(spec: BuildSpec, device: torch.device) -> "KerasOnTorch":
    """Build a Keras network on torch.

    Raises:
        RunFailure: ``missing_weights``, or ``unsupported`` where it can't be built as asked.
    """
    if "torch" not in spec.backbone.keras_backends:
        raise RunFailure(Outcome.UNSUPPORTED, f"{spec.backbone.name} does not run on Keras's torch backend.")
    if keras.backend.backend() != "torch" or os.environ["KERAS_TORCH_DEVICE"] != device.type:
        where = f"{keras.backend.backend()}, {os.environ['KERAS_TORCH_DEVICE']}"
        raise RuntimeError(f"Keras runs on {where} in this process already, not on torch, {device.type}")
    # a GPU may choose another algorithm for the second call of a kernel
    backend = Backend(_gradients, tolerance=1e-4 if device.type == "cpu" else 1e-2)
    arithmetic = Arithmetic("float32", backend, set_batch_norm)  # the engine casts, by autocast
    return KerasOnTorch(build_keras_network(spec, arithmetic))


class KerasOnTorch(TorchNetwork):
    """A Keras model on torch: each call of a stage says whether it trains, and running statistics are complete after
    the forward pass.

    Args:
        network: built on the torch backend.
    """

    def __init__(self, network: KerasNetwork) -> None:
        self._network, stages = network, network.stages
        named = named_weights(stages)
        fixed = {id(weight) for layer in network.fixed for weight in layer.weights}
        self._fixed = {path: weight for path, weight in named.items() if id(weight) in fixed}
        self._first_kernel_input = first_layer_input(stages)

        def cut(parts: KerasStages, first: int = 0) -> Iterator[TorchStage]:
            for name, model in zip(parts.names[first:], parts.singles()[first:], strict=True):
                yield _stage(name, model, named)

        made = tuple(cut(stages))
        super().__init__(
            stages=made,
            split_head=(*made[:-1], *cut(network.split_head, len(made) - 1)),
            first_trainable=network.first_trainable,
            stages_unverified=network.unverified,
            modules=(stages.whole,),
            layout="nhwc",
            channels_last=True,  # Keras's layout is that memory format
            preprocessing=network.preprocessing,
            library_preprocessing=network.library_preprocessing,
            weights_loaded=network.weights_loaded,
            conventions=network.conventions,
            fixed_parameters=network.parameters - count_scalars(stages.whole.trainable_weights),
        )

    def frozen_in_training(self, first_trainable: int) -> list[str]:
        """Return the names of frozen layers that are not in inference mode; each call of a stage says its mode."""
        return self._network.in_training()

    def fixed_inside(self) -> Mapping[str, Tensor]:
        """Return the weights and running statistics of the layers that are frozen by number."""
        return {path: weight.value for path, weight in self._fixed.items()}

    def begin_step(self, seed: int, batch_size: int) -> None:
        """Make all that is random inside the network in the calls that follow a function of ``seed``.

        Keras's Dropout without a seed draws from torch's generator, all else from a state of its own.
        """
        seed_generators(seed)
        seeds = self._network.seeds
        for state, value in zip(seeds, layer_seeds(seed, len(seeds)), strict=True):
            state.assign([int(value), 0])

    def save(self, folder: Path, example: Tensor) -> SavedNetwork:
        """Write the network as a ``.keras`` file."""
        return save(self._network.stages.whole, folder, example.cpu().numpy())

    def first_kernel_input(self, inputs: Tensor) -> Tensor | None:
        """Return what reaches the first layer with a kernel for normalised inputs."""
        if self._first_kernel_input is None:
            return None
        reached: Tensor = self._first_kernel_input(inputs, training=False)
        return reached


def _stage(name: str, model: Any, named: Mapping[str, Any]) -> TorchStage:
    own = {id(weight): weight.trainable for weight in model.weights}
    weights = {path: weight for path, weight in named.items() if id(weight) in own}
    statistics = {path: weight for path, weight in weights.items() if not weight.trainable}
    return TorchStage(
        name=name,
        call=partial(_call, model),
        parameters={path: weight.value for path, weight in weights.items() if weight.trainable},
        buffers=lambda: {path: weight.value for path, weight in statistics.items()},
    )


def _call(model: Any, x: Tensor, training: bool) -> Tensor:
    outputs: Tensor = model(x, training=training)
    return outputs


def _gradients(loss: Callable[[], Any], variables: Sequence[Any]) -> Sequence[Any]:
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(0)  # Keras's Dropout without a seed draws from torch's generator, not from its own
        value = loss()
        if not variables:  # an adapter has frozen all; torch takes no empty list
            return ()
        slopes: Sequence[Any] = torch.autograd.grad(value, [v.value for v in variables], allow_unused=True)
    return slopes


def set_batch_norm(layer: Any, rule: BatchNorm) -> None:
    """Give a BatchNormalization layer the recipe's conventions, and torch's own kernel where that fits it."""
    set_plain_batch_norm(layer, rule)
    if layer.input_spec.ndim == 4 and layer.axis in (-1, 3) and not layer.renorm:
        layer.call = partial(_batch_norm, layer, layer.call, rule.variance == "unbiased")


def _batch_norm(
    layer: Any, plain: Any, unbiased: bool, inputs: Any, training: bool | None = None, mask: Any = None
) -> Any:
    """Call a BatchNormalization layer by torch's kernel, which updates the running statistics itself.

    Its variance is unbiased: with n values per channel, the biased one is ``(n - 1) / n`` of it.
    """
    if mask is not None or not isinstance(inputs, Tensor) or inputs.device.type == "meta":
        return plain(inputs, training=training, mask=mask)
    learns = bool(training and layer.trainable)
    mean, variance = layer.moving_mean.value, layer.moving_variance.value
    corrected = learns and not unbiased
    running = variance.clone() if corrected else variance  # the backward pass objects to later changes of its own
    outputs = functional.batch_norm(
        inputs.permute(0, 3, 1, 2),
        mean,
        running,
        layer.gamma.value if layer.scale else None,
        layer.beta.value if layer.center else None,
        training=learns,
        momentum=1 - layer.momentum,
        eps=layer.epsilon,
    )
    if corrected:
        n = inputs.numel() // inputs.shape[-1]
        with torch.no_grad():
            kept = variance * layer.momentum
            variance.copy_(kept + (running - kept) * (max(n - 1, 1) / n))
    return outputs.permute(0, 2, 3, 1)
