"""The torch engine: torch modules, and Keras networks on torch, trained by a plain torch step."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmark.draws.augmentation import Draws
from benchmark.engines.base import BuildSpec, FeatureSpec, Handle, Network, StepInput, weights_loaded
from benchmark.engines.stage_factors import stage_factors
from benchmark.engines.torch.augment import Augmenter
from benchmark.engines.torch.device import (
    free_bytes,
    open_device,
    peak_memory_bytes,
    resolve_precision,
    set_arithmetic,
)
from benchmark.engines.torch.ema import Average
from benchmark.engines.torch.errors import guarded
from benchmark.engines.torch.feature_cache import TorchFrozenStages
from benchmark.engines.torch.grad_cam import TorchGradCam
from benchmark.engines.torch.network import TorchNetwork, TorchStage
from benchmark.engines.torch.normalize import Normalizer
from benchmark.engines.torch.optimizer import Updates
from benchmark.engines.torch.state import copied, copies, fill
from benchmark.engines.torch.steps import precision_context, step_functions
from benchmark.engines.torch.summary import count_macs, first_layer_input, hash_of_values
from benchmark.engines.warm_start import read_final
from benchmark.records.outcomes import Outcome, RunFailure

_AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_SCALER = ("scale", "_growth_tracker")


class TorchEngine:
    """See :class:`benchmark.engines.base.Engine`.

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
        set_arithmetic(tf32=tf32, deterministic=deterministic)
        self.device = open_device(device)
        self._tf32, self._deterministic = tf32, deterministic
        self._place = torch.device(device)
        self._on_gpu = device == "cuda"
        self._mode: int | None = None

    # building

    @guarded
    def build(self, spec: BuildSpec) -> Network:
        """Build, initialise or load, and place the network; prepare the optimiser."""
        recipe = spec.recipe
        precision = resolve_precision(recipe.execution.precision, self.device.kind)
        network = _build_network(spec, self._place)
        self._network = network
        if spec.init_from is not None:
            tensors = self._tensors(network.stages)
            fill(tensors, read_final(spec.init_from, {name: tuple(t.shape) for name, t in tensors.items()}))
        self._first = network.first_trainable
        trained = network.stages[self._first :]
        for stage in network.stages[: self._first]:
            for parameter in stage.parameters.values():
                parameter.requires_grad_(False)
        parameters = {name: parameter for stage in trained for name, parameter in stage.parameters.items()}
        factors = {
            name: factor
            for stage, factor in zip(
                network.stages, stage_factors(recipe.optimizer, len(network.stages)), strict=True
            )
            for name in stage.parameters
        }
        self._updates = Updates(recipe.optimizer, parameters, factors, recipe.regularization)
        self._average = Average(lambda: self._tensors(trained)) if recipe.ema.decay else None
        self._fixed = copies(self._statistics())
        self._scaler = torch.amp.GradScaler(self._place.type) if precision == "float16" else None
        self._arrange_pixels(channels_last=network.channels_last)
        self._autocast, self._wanted_loss = _AUTOCAST.get(precision), recipe.loss
        self._functions: dict[tuple[bool, bool], tuple[Any, Any]] = {}
        self.set_compile(False)
        self._set_mode(None)
        self._precision = functools.partial(precision_context, self._place.type, self._autocast)
        self._cam_stage = spec.backbone.cam_stage
        self._features: TorchGradCam | None = None
        self._prefix: TorchFrozenStages | None = None
        self._size = spec.size
        self._augmenter: Augmenter | None = None
        return Network(
            stages=tuple(stage.name for stage in network.stages),
            stages_verified=not network.stages_unverified,
            parameters=sum(p.numel() for stage in network.stages for p in stage.parameters.values())
            + network.fixed_parameters,
            trainable_parameters=sum(parameter.numel() for parameter in parameters.values()),
            gmacs=count_macs(self._computed(False)[1], self._normalizer, spec.size, self._place) / 1e9,
            preprocessing=network.preprocessing,
            weights_loaded=weights_loaded(spec, network.weights_loaded),
            weights_hash=hash_of_values(self._tensors(network.stages).values()),
            execution={
                "precision": precision,
                "tf32": "on" if self._tf32 else "off",
                "channels_last": "on" if network.channels_last else "off",
                "compile": recipe.execution.compile,
                "deterministic": "on" if self._deterministic else "off",
                "threads": str(torch.get_num_threads()),
            },
            conventions={**network.conventions, "optimizer": f"torch.optim.{type(self._updates.optimizer).__name__}"},
            stages_unverified=network.stages_unverified,
            trainable_names=tuple(parameters),
            library_preprocessing=network.library_preprocessing,
            first_layer_input=first_layer_input(network, self._normalizer, spec.size, self._place),
            layout_is_free=recipe.execution.channels_last == "auto" and network.layout == "nchw",
        )

    def set_compile(self, on: bool) -> None:
        """Switch torch.compile for the steps that follow; weights and optimiser are untouched."""
        self._compile = on

    def _computed(self, from_features: bool) -> tuple[Any, Any]:
        """Return loss and logits as functions of normalised images, or of values of the frozen prefix."""
        key = from_features, self._compile
        if key not in self._functions:
            kept, device = self._prefix if from_features else None, self._place.type
            stages, start, first = self._network.stages, 0, self._first
            if kept is not None:
                stages, start, first = kept.stages, kept.end, kept.first
            loss, logits = step_functions(stages, start, first, self._autocast, device, self._wanted_loss)
            if self._compile:
                loss, logits = torch.compile(loss, dynamic=False), torch.compile(logits, dynamic=False)
            self._functions[key] = loss, logits
        return self._functions[key]

    @guarded
    def set_channels_last(self, on: bool) -> None:
        """Keep feature maps and kernels in channels_last format, or not; values are untouched."""
        wanted = torch.channels_last if on else torch.contiguous_format
        for tensor in self._tensors(self._network.stages).values():
            if tensor.ndim == 4:
                tensor.data = tensor.data.contiguous(memory_format=wanted)
        self._updates.arrange(wanted)
        if self._average is not None:
            self._average.arrange(wanted)
        self._arrange_pixels(channels_last=on)

    def _arrange_pixels(self, *, channels_last: bool) -> None:
        """Prepare the input's layout."""
        self._channels_last = channels_last
        network = self._network
        self._normalizer = Normalizer(network.preprocessing, self._place, network.layout, channels_last=channels_last)

    def _statistics(self) -> dict[str, Tensor]:
        """Return the running statistics of frozen layers, and what else of them is no stage's parameter."""
        found = dict(self._network.fixed_inside())
        for stage in self._network.stages[: self._first]:
            found |= stage.buffers()
        return found

    def assert_frozen(self) -> None:
        """Raise ``RunFailure`` where frozen layers are not in inference mode, or their statistics have moved."""
        moved = [name for name, value in self._statistics().items() if not torch.equal(value, self._fixed[name])]
        modes = self._network.frozen_in_training(self._first)
        if moved or modes:
            raise RunFailure(
                Outcome.ERROR, f"The frozen {(moved or modes)[0]} is not in inference mode: its statistics may move."
            )

    # data

    @guarded
    def upload(self, pixels: npt.NDArray[Any]) -> Handle:
        """Put uint8 images of shape (B, S, S, 3), or rows of the frozen prefix, on the device."""
        return self._upload(pixels)

    def _upload(self, array: npt.NDArray[Any]) -> Tensor:
        """Return a tensor on the device: on a GPU copied while it computes, from pinned memory."""
        writeable = array if array.flags.writeable and array.flags.c_contiguous else np.array(array)
        if not self._on_gpu:
            return torch.from_numpy(writeable)
        return torch.from_numpy(writeable).pin_memory().to(self._place, non_blocking=True)

    @guarded
    def gather(self, images: Handle, positions: npt.NDArray[np.int64]) -> Handle:
        """Return the images, or rows, at ``positions`` of an uploaded array, on the device."""
        return images.index_select(0, self._upload(positions))

    def free_bytes(self) -> int:
        """Return the device memory that is free now; 0 on a CPU."""
        return free_bytes(self.device.kind)

    @guarded
    def augment(self, images: Handle, draws: Draws) -> Handle:
        """Return the images varied as drawn: uint8 to uint8."""
        if self._augmenter is None:
            self._augmenter = Augmenter(self._place, self._size)
        return self._augmenter(images, draws)

    # arithmetic

    @guarded
    def train_step(self, step: StepInput) -> Handle:
        """Do one optimisation step; return the loss (a scalar handle) without waiting for the device."""
        self._set_mode(self._first)
        labels, weights = self._upload(step.labels), self._upload(step.loss_weights)
        if step.parts == 1:
            total = self._differentiate(step, slice(None), labels, weights, step.seed, forget=True)
        else:
            cuts = step.cuts()
            total = torch.stack(
                [
                    self._differentiate(step, at, labels[at], weights[at], seed, forget=number == 0)
                    for number, (at, seed) in enumerate(cuts)
                ]
            ).sum()
        self._updates.apply(step.learning_rate, step.step, self._scaler)
        if self._average is not None:
            self._average.update(step.ema_decay)
        return total

    def _differentiate(
        self, step: StepInput, at: slice, labels: Tensor, weights: Tensor, seed: int, *, forget: bool
    ) -> Tensor:
        """Add the gradients of some images of a step to those that are there, or to none; return their loss."""
        self._network.begin_step(seed, len(labels))
        inputs = self._inputs(step.images[at], step.from_features)
        loss = self._computed(step.from_features)[0](inputs, labels, weights)
        if forget:
            self._updates.forget_gradients()
        if loss.requires_grad:  # a network whose gradient is cut learns nothing; the conformance suite says so
            (loss if self._scaler is None else self._scaler.scale(loss)).backward()
        self._network.end_step()
        return loss.detach()

    @guarded
    def normalize(self, images: Handle) -> Handle:
        """Return the network's input for uint8 images: float32, preprocessed, in the network's layout."""
        return self._normalizer(images)

    @guarded
    def forward(self, inputs: Handle) -> Handle:
        """Return float32 logits of shape (B, num_classes) of normalised inputs, in inference mode."""
        self._set_mode(None)
        with torch.no_grad():
            return self._computed(False)[1](inputs)

    def _inputs(self, images: Tensor, from_features: bool) -> Tensor:
        """Return what :meth:`_computed` takes for images or rows."""
        if not from_features:
            return self._normalizer(images)
        self.feature_spec()
        assert self._prefix is not None
        return self._prefix.values(images, channels_last=self._channels_last)

    @guarded
    def feature_spec(self) -> FeatureSpec:
        """Return what of the network may be computed once for each image."""
        if self._prefix is None:
            self._set_mode(None)
            pixels = np.random.default_rng(0).integers(0, 256, (3, self._size, self._size, 3), dtype=np.uint8)
            example = self._normalizer(self._upload(pixels))
            stages = self._network.split_head
            first = len(stages) - 1 if self._first == len(self._network.stages) - 1 else self._first
            self._prefix = TorchFrozenStages.find(stages, first, example, self._precision)
        return self._prefix.facts

    @guarded
    def compute_features(self, inputs: Handle) -> Handle:
        """Return the rows, shape (B, *shape), of normalised inputs; in inference mode, without gradients."""
        self.feature_spec()
        assert self._prefix is not None
        self._set_mode(None)
        return self._prefix(inputs)

    @guarded
    def forward_from_features(self, rows: Handle) -> Handle:
        """Return what :meth:`forward` does, from rows on."""
        self._set_mode(None)
        inputs = self._inputs(rows, from_features=True)
        with torch.no_grad():
            return self._computed(True)[1](inputs)

    @guarded
    def cam_stage(self) -> str:
        """Return the name of the stage whose output Grad-CAM explains."""
        if self._features is None:
            self._set_mode(None)
            example = torch.zeros((1, self._size, self._size, 3), dtype=torch.uint8, device=self._place)
            stages, layout = self._network.stages, self._network.layout
            self._features = TorchGradCam.find(
                stages, self._normalizer(example), self._cam_stage, layout, self._precision
            )
        return self._features.name

    @guarded
    def features_and_gradients(self, inputs: Handle, classes: npt.NDArray[np.int64]) -> tuple[Handle, Handle]:
        """Return what that stage gives, and its gradients of the logits of ``classes``: shape (B, H, W, K)."""
        self.cam_stage()
        assert self._features is not None
        self._set_mode(None)
        return self._features(inputs, self._upload(classes))

    def _set_mode(self, first_trainable: int | None) -> None:
        """Put the network into training mode from a stage on, or with ``None`` into inference mode."""
        wanted = -1 if first_trainable is None else first_trainable
        if self._mode != wanted:
            self._network.set_training(first_trainable)
            self._mode = wanted
            if self._average is not None:
                self._average.show(first_trainable is None)

    @guarded
    def fetch(self, handles: Sequence[Handle]) -> list[npt.NDArray[Any]]:
        """Wait for the device and return the handles' values as arrays on the host."""
        arriving = [handle.detach().to("cpu", non_blocking=True) for handle in handles]
        self.synchronize()
        return [tensor.contiguous().numpy() for tensor in arriving]

    @guarded
    def synchronize(self) -> None:
        """Wait until the device has done all that was asked."""
        if self._on_gpu:
            torch.cuda.synchronize()

    # state

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """Return copies of all weights and running statistics, trained or frozen, in a fixed order."""
        self._set_mode(None)
        return {name: copied(tensor) for name, tensor in self._tensors(self._network.stages).items()}

    def _tensors(self, stages: Sequence[TorchStage]) -> dict[str, Tensor]:
        return {
            name: value for stage in stages for name, value in (*stage.parameters.items(), *stage.buffers().items())
        }

    def state(self, *, optimizer: bool) -> dict[str, npt.NDArray[Any]]:
        """Return copies of what training changes: weights and running statistics; the slots if asked."""
        if self._average is not None:
            self._set_mode(self._first if optimizer else None)
        values = {name: copied(tensor) for name, tensor in self._tensors(self._network.stages[self._first :]).items()}
        if optimizer:
            values |= self._updates.state()
            if self._average is not None:
                values |= self._average.state()
            if self._scaler is not None:
                kept = self._scaler.state_dict()
                values |= {f"scaler/{name}": np.array(kept[name], dtype=np.float64) for name in _SCALER}
        return values

    @guarded
    def load_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Put back what :meth:`state` returned, with or without the optimiser's slots.

        Raises:
            ValueError: a state of another network.
        """
        tensors = self._tensors(self._network.stages[self._first :])
        slots = {name: value for name, value in state.items() if name.startswith(("optimizer/", "scaler/", "ema/"))}
        odd = set(tensors) ^ (set(state) - set(slots))
        if odd:
            raise ValueError(f"the state does not fit the network: {min(odd)} is in one of them only")
        if self._average is not None:
            self._set_mode(self._first)
        fill(tensors, state)
        with torch.no_grad():
            if slots:
                self._updates.load_state(slots)
            if self._average is not None:
                self._average.load_state(slots) if slots else self._average.restart()
        if slots and self._scaler is not None:
            kept = {name: state[f"scaler/{name}"].item() for name in _SCALER}
            self._scaler.load_state_dict(
                {**self._scaler.state_dict(), **kept, "_growth_tracker": int(kept[_SCALER[1]])}
            )

    def peak_memory_bytes(self) -> int:
        """Return the allocator's peak since the engine was made (GPU), or the process's peak RSS (CPU)."""
        return peak_memory_bytes(self.device.kind)


def _build_network(spec: BuildSpec, device: torch.device) -> TorchNetwork:
    if spec.backbone.framework == "keras":
        from benchmark.engines.keras import on_torch as keras_on_torch

        network: TorchNetwork = keras_on_torch.build_network(spec, device)
        return network
    from benchmark.engines.torch.modules import build_network

    return build_network(spec, device)
