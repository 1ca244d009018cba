"""The torch engine: torch modules, and Keras networks on torch, trained by a plain torch step."""

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmark import host
from benchmark.engines.base import BuildSpec, ExportedGraph, Handle, Network, NotKept, SavedNetwork, StepInput
from benchmark.engines.shared import (
    Arrays,
    SharedEngine,
    assert_trainable,
    even_pixels,
    hash_of_values,
    random_pixels,
    resolve_precision,
    stage_factors,
)
from benchmark.engines.torch.augment import Augmenter
from benchmark.engines.torch.device import open_device, set_arithmetic, visible_gpu
from benchmark.engines.torch.ema import WeightEma
from benchmark.engines.torch.errors import guarded
from benchmark.engines.torch.feature_cache import TorchFrozenStages
from benchmark.engines.torch.grad_cam import TorchGradCam
from benchmark.engines.torch.loss_scale import load_scale, scale_state, without_scale
from benchmark.engines.torch.modules import build_network
from benchmark.engines.torch.network import TorchNetwork, TorchStage
from benchmark.engines.torch.optimizer import STEP, TorchOptimizer
from benchmark.engines.torch.steps import Normalizer, count_macs, mean_over_places, precision_context, step_functions

_AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class TorchEngine(SharedEngine):
    """See :class:`benchmark.engines.base.Engine` for what each method does.

    Args:
        device: ``cpu`` or ``cuda``.
        tf32: whether float32 matrix products and convolutions may use TF32 on a GPU.
        deterministic: whether arithmetic must be repeatable bit for bit. Both switches are the process's, and
            those of the engine made last hold.

    Raises:
        RunFailure: ``unsupported`` where torch does not see the device.
    """

    framework = "torch"

    def __init__(self, device: str, *, tf32: bool, deterministic: bool) -> None:
        super().__init__(tf32=tf32, deterministic=deterministic)
        set_arithmetic(tf32=tf32, deterministic=deterministic)
        self.device = open_device(device)
        self._place = torch.device(device)
        self._on_gpu = device == "cuda"
        self._mode: int | None = None

    # building

    @guarded
    def build(self, spec: BuildSpec) -> Network:
        recipe, self._size = spec.recipe, spec.size
        precision = resolve_precision(recipe.execution.precision, self.device.kind, visible_gpu)
        network = _build_network(spec, self._place)
        self._network, self._first, self._cam_stage = network, network.first_trainable, spec.backbone.cam_stage
        self._start_from_run(spec)
        for stage in network.stages[: self._first]:
            for parameter in stage.parameters.values():
                parameter.requires_grad_(False)
        trained = network.stages[self._first :]
        parameters = {name: parameter for stage in trained for name, parameter in stage.parameters.items()}
        assert_trainable(spec, len(parameters))
        by_stage = zip(network.stages, stage_factors(spec, len(network.stages)), strict=True)
        factors = {name: factor for stage, factor in by_stage for name in stage.parameters}
        self._optimizer = TorchOptimizer(recipe.optimizer, parameters, factors, recipe.regularization)
        self._ema: WeightEma | None = WeightEma(self._trained_weights) if recipe.ema.decay else None
        self._fixed = {name: tensor.detach().clone() for name, tensor in self._statistics().items()}
        self._scaler = torch.amp.GradScaler(self._place.type) if precision == "float16" else None
        self._arrange_pixels(channels_last=network.channels_last)
        self._autocast, self._loss = _AUTOCAST.get(precision), recipe.loss
        self._precision = functools.partial(precision_context, self._place.type, self._autocast)
        self._functions: dict[tuple[bool, bool], tuple[Any, Any]] = {}
        self.set_compile(False)
        self._set_mode(None)
        return Network(
            stages=tuple(stage.name for stage in network.stages),
            stages_verified=not network.stages_unverified,
            parameters=sum(p.numel() for stage in network.stages for p in stage.parameters.values())
            + network.fixed_parameters,
            trainable_parameters=sum(parameter.numel() for parameter in parameters.values()),
            gmacs=count_macs(self._computed(False)[1], self._normalizer(self._blank_image())) / 1e9,
            preprocessing=network.preprocessing,
            weights_loaded=network.weights_loaded,
            weights_hash=hash_of_values(self._values(self._all_weights()).values()),
            execution=self._execution(
                recipe.execution,
                precision=precision,
                channels_last=network.channels_last,
                threads=torch.get_num_threads(),
            ),
            conventions={
                **network.conventions, "optimizer": f"torch.optim.{type(self._optimizer.optimizer).__name__}",
            },
            stages_unverified=network.stages_unverified,
            trainable_names=tuple(parameters),
            library_preprocessing=network.library_preprocessing,
            first_layer_input=self._first_layer_input(),
            layout_is_free=recipe.execution.channels_last == "auto" and network.layout == "nchw",
            thread_counts=() if self._on_gpu else host.halvings(torch.get_num_threads()),
        )  # fmt: skip

    def _blank_image(self) -> Tensor:
        return torch.zeros((1, self._size, self._size, 3), dtype=torch.uint8, device=self._place)

    def _first_layer_input(self) -> tuple[float, float] | None:
        """Return mean and standard deviation of what reaches the first kernel, for evenly spread pixel values."""
        with torch.no_grad():
            reached = self._network.first_kernel_input(self._normalizer(self._upload(even_pixels(self._size))))
        if reached is None:
            return None
        return float(reached.double().mean()), float(reached.double().std(unbiased=False))

    def set_compile(self, on: bool) -> None:
        """Switch torch.compile for the steps that follow; weights and optimizer are untouched."""
        self._compile = on

    def set_threads(self, count: int) -> None:
        torch.set_num_threads(count)

    def _computed(self, from_features: bool) -> tuple[Any, Any]:
        """Return loss and logits as functions of normalised images, or of what frozen stages gave for them."""
        key = from_features, self._compile
        if key not in self._functions:
            stages, start, first = self._network.stages, 0, self._first
            if from_features:
                stages, start, first = self._frozen_stages.stages, self._frozen_stages.end, self._frozen_stages.first
            loss, logits = step_functions(stages, start, first, self._precision, self._loss)
            if self._compile:
                loss, logits = torch.compile(loss, dynamic=False), torch.compile(logits, dynamic=False)
            self._functions[key] = loss, logits
        return self._functions[key]

    @guarded
    def set_channels_last(self, on: bool) -> None:
        """Keep feature maps and kernels in channels_last format, or not; values are untouched."""
        layout = torch.channels_last if on else torch.contiguous_format
        for tensor in self._all_weights().values():
            if tensor.ndim == 4:
                tensor.data = tensor.data.contiguous(memory_format=layout)
        self._optimizer.arrange(layout)
        if self._ema is not None:
            self._ema.arrange(layout)
        self._arrange_pixels(channels_last=on)

    def _arrange_pixels(self, *, channels_last: bool) -> None:
        """Prepare the input's layout."""
        self._channels_last = channels_last
        network = self._network
        self._normalizer = Normalizer(
            network.preprocessing, self._place, network.layout, self._size, channels_last=channels_last
        )

    def _statistics(self) -> dict[str, Tensor]:
        """Return the running statistics of frozen layers, and what else of them is no stage's parameter."""
        statistics = dict(self._network.fixed_inside())
        for stage in self._network.stages[: self._first]:
            statistics |= stage.buffers()
        return statistics

    def _statistics_moved(self) -> list[str]:
        moved = [name for name, value in self._statistics().items() if not torch.equal(value, self._fixed[name])]
        return moved + self._network.frozen_in_training(self._first)

    # data

    @guarded
    def upload(self, pixels: npt.NDArray[Any]) -> Handle:
        return self._upload(pixels)

    def _upload(self, array: npt.NDArray[Any]) -> Tensor:
        """Return a tensor on the device: on a GPU copied while it computes, from pinned memory."""
        writeable = array if array.flags.writeable and array.flags.c_contiguous else np.array(array)
        if not self._on_gpu:
            return torch.from_numpy(writeable)
        return torch.from_numpy(writeable).pin_memory().to(self._place, non_blocking=True)

    @guarded
    def gather(self, images: Handle, positions: npt.NDArray[np.int64]) -> Handle:
        return images.index_select(0, self._upload(positions))

    def free_bytes(self) -> int:
        if not self._on_gpu:
            return super().free_bytes()
        unclaimed, _ = torch.cuda.mem_get_info()
        unused = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()  # claimed by torch's allocator
        return int(unclaimed + unused)

    @functools.cached_property
    def _vary(self) -> Any:
        return guarded(Augmenter(self._place, self._size))

    # arithmetic

    @guarded
    def train_step(self, step: StepInput) -> Handle:
        self._set_mode(self._first)
        labels, weights = self._upload(step.labels), self._upload(step.loss_weights)
        if step.parts == 1:
            total = self._differentiate(step, slice(None), labels, weights, step.seed, forget=True)
        else:
            losses = [
                self._differentiate(step, at, labels[at], weights[at], seed, forget=number == 0)
                for number, (at, seed) in enumerate(step.cuts())
            ]
            total = torch.stack(losses).sum()
        self._optimizer.apply(step.learning_rate, step.step, self._scaler)
        if self._ema is not None:
            self._ema.update(step.ema_decay)
        return total

    def _differentiate(
        self, step: StepInput, at: slice, labels: Tensor, weights: Tensor, seed: int, *, forget: bool
    ) -> Tensor:
        """Add the gradients of some images of a step to those that are there, or to none; return their loss."""
        self._network.begin_step(seed, len(labels))
        inputs = self._inputs(step.images[at], step.from_features)
        loss = self._computed(step.from_features)[0](inputs, labels, weights)
        if forget:
            self._optimizer.forget_gradients()
        if loss.requires_grad:  # a network whose gradient is cut learns nothing; the conformance suite says so
            (loss if self._scaler is None else self._scaler.scale(loss)).backward()
        self._network.end_step()
        return loss.detach()

    @guarded
    def normalize(self, images: Handle) -> Handle:
        return self._normalizer(images)

    @guarded
    def forward(self, inputs: Handle) -> Handle:
        return self._logits(inputs, from_features=False)

    def _inputs(self, images: Tensor, from_features: bool) -> Tensor:
        """Return what :meth:`_computed` takes for images or features."""
        if not from_features:
            return self._normalizer(images)
        inputs: Tensor = self._frozen_stages.values(images, channels_last=self._channels_last)
        return inputs

    @functools.cached_property
    @guarded
    def _frozen_stages(self) -> TorchFrozenStages:
        self._set_mode(None)
        example = self._normalizer(self._upload(random_pixels(3, self._size)))
        return TorchFrozenStages.find(self._network, self._first, example, self._precision)

    @guarded
    def compute_features(self, inputs: Handle) -> Handle:
        self._set_mode(None)
        return self._frozen_stages(inputs)

    def forward_images(self, images: Handle) -> Handle:
        return self._forward(images, from_features=False)

    def forward_from_features(self, features: Handle) -> Handle:
        return self._forward(features, from_features=True)

    @guarded
    def _forward(self, images: Handle, *, from_features: bool) -> Handle:
        return self._logits(self._inputs(images, from_features), from_features=from_features)

    def _logits(self, inputs: Tensor, *, from_features: bool) -> Handle:
        self._set_mode(None)
        with torch.no_grad():
            return self._computed(from_features)[1](inputs)

    @guarded
    def forward_with_features(self, images: Handle) -> tuple[Handle, Handle]:
        stages = self._network.stages
        if len(stages) < 2:
            raise NotKept("its head can't be told from the rest, so that there are no features")
        self._set_mode(None)
        with torch.no_grad(), self._precision():
            x = self._normalizer(images)
            for stage in stages[:-1]:
                x = stage.call(x, False)
            features = mean_over_places(x.float(), 0 if self._network.layout == "nchw" else 2)
            return stages[-1].call(x, False).float(), features

    @guarded
    def save_network(self, folder: Path) -> SavedNetwork:
        self._set_mode(None)
        return self._network.save(folder, self._normalizer(self._upload(random_pixels(2, self._size))))

    @guarded
    def load_network(self, folder: Path) -> None:
        self._network.load(folder)
        if self._ema is not None:
            self._ema.restart()

    @guarded
    def export(self, target: str, path: Path, graph: ExportedGraph) -> None:
        from benchmark.engines.torch.export import ExportedNetwork, export

        self._set_mode(None)
        network = self._network
        calls = [stage.call for stage in network.stages]
        exported = ExportedNetwork(calls, network.modules, graph, network.preprocessing, network.layout)
        export(target, path, exported, self._size)

    @functools.cached_property
    @guarded
    def _cam(self) -> TorchGradCam:
        self._set_mode(None)
        example = self._normalizer(self._blank_image())
        return TorchGradCam.find(self._network, example, self._cam_stage, self._precision)

    @guarded
    def features_and_gradients(self, inputs: Handle, classes: npt.NDArray[np.int64]) -> tuple[Handle, Handle]:
        self._set_mode(None)
        features, gradients = self._cam(inputs, self._upload(classes))
        return features, gradients

    def _set_mode(self, first_trainable: int | None) -> None:
        """Put the network into training mode from a stage on, or with ``None`` into inference mode, with its EMA."""
        mode = -1 if first_trainable is None else first_trainable
        if self._mode != mode:
            self._network.set_training(first_trainable)
            self._mode = mode
            super()._show_ema(first_trainable is None)

    def _show_ema(self, ema: bool) -> None:
        self._set_mode(None if ema else self._first)

    @guarded
    def fetch(self, handles: Sequence[Handle]) -> list[npt.NDArray[Any]]:
        arriving = [handle.detach().to("cpu", non_blocking=True) for handle in handles]
        self.synchronize()
        return [tensor.contiguous().numpy() for tensor in arriving]

    @guarded
    def synchronize(self) -> None:
        if self._on_gpu:
            torch.cuda.synchronize()

    # state

    def _all_weights(self) -> dict[str, Tensor]:
        return _tensors(self._network.stages)

    def _trained_weights(self) -> dict[str, Tensor]:
        return _tensors(self._network.stages[self._first :])

    def _slots(self) -> dict[str, Tensor]:
        return {**self._optimizer.slots(), **({} if self._ema is None else self._ema.slots())}

    def _values(self, tensors: Mapping[str, Tensor]) -> dict[str, npt.NDArray[Any]]:
        return {name: np.array(tensor.detach().cpu().contiguous().numpy()) for name, tensor in tensors.items()}

    @guarded
    def _assign(self, tensors: Mapping[str, Tensor], values: Arrays) -> None:
        with torch.no_grad():
            for name, tensor in tensors.items():
                tensor.copy_(torch.from_numpy(np.array(values[name])))
        if STEP in tensors:
            self._optimizer.spread_step()

    def state(self, *, optimizer: bool) -> dict[str, npt.NDArray[Any]]:
        values = super().state(optimizer=optimizer)
        return values | scale_state(self._scaler) if optimizer else values

    def load_state(self, state: Arrays) -> None:
        super().load_state(without_scale(state))
        load_scale(self._scaler, state)

    def peak_memory_bytes(self) -> int:
        return int(torch.cuda.max_memory_allocated()) if self._on_gpu else super().peak_memory_bytes()


def _tensors(stages: Sequence[TorchStage]) -> dict[str, Tensor]:
    return {name: value for stage in stages for name, value in (*stage.parameters.items(), *stage.buffers().items())}


def _build_network(spec: BuildSpec, device: torch.device) -> TorchNetwork:
    if spec.backbone.framework != "keras":
        return build_network(spec, device)
    os.environ.setdefault("KERAS_TORCH_DEVICE", device.type)  # read when Keras is imported
    from benchmark.engines.keras import on_torch as keras_on_torch

    return keras_on_torch.build_network(spec, device)
