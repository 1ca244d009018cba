"""The torch engine: torch modules, and Keras networks on torch, trained by a plain torch step."""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmark.outcomes import Outcome, RunFailure
from benchmark.training.augmentation import Draws
from benchmark.training.engines.base import Assignment, Handle, Network, StepInput
from benchmark.training.engines.torch_augment import Augmenter
from benchmark.training.engines.torch_average import Average
from benchmark.training.engines.torch_cam import TorchFeatures
from benchmark.training.engines.torch_device import (
    free_bytes,
    open_device,
    peak_memory_bytes,
    resolve_precision,
    set_arithmetic,
)
from benchmark.training.engines.torch_failures import guarded
from benchmark.training.engines.torch_functions import first_trainable, precision_context, step_functions
from benchmark.training.engines.torch_network import TorchNetwork, TorchStage
from benchmark.training.engines.torch_optimizer import Updates
from benchmark.training.engines.torch_pixels import Normalizer
from benchmark.training.schedules import stage_factors

_AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_SCALER = ("scale", "_growth_tracker")


class TorchEngine:
    """See :class:`benchmark.training.engines.base.Engine`.

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
    def build(self, assignment: Assignment) -> Network:
        """Build, initialise or load, and place the network; prepare the optimiser."""
        recipe = assignment.recipe
        precision = resolve_precision(recipe.execution.precision, self.device.kind)
        network = _build_network(assignment, self._place)
        self._network = network
        self._first = first_trainable(recipe.trainable_from, [stage.name for stage in network.stages])
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
        self._fixed = _copies(self._statistics())
        self._scaler = torch.amp.GradScaler(self._place.type) if precision == "float16" else None
        self._normalizer = Normalizer(
            network.preprocessing, self._place, network.layout, channels_last=network.channels_last
        )
        self._plain = step_functions(
            network.stages, self._first, _AUTOCAST.get(precision), self._place.type, recipe.loss
        )
        self._compiled: tuple[Any, Any] | None = None
        self.set_compile(False)
        self._set_mode(None)
        self._find_features = functools.partial(
            TorchFeatures.find,
            network.stages,
            wanted=assignment.backbone.cam_stage,
            layout=network.layout,
            precision=functools.partial(precision_context, self._place.type, _AUTOCAST.get(precision)),
        )
        self._features: TorchFeatures | None = None
        self._size = assignment.size
        self._augmenter: Augmenter | None = None
        return Network(
            stages=tuple(stage.name for stage in network.stages),
            stages_proven=not network.stages_doubt,
            parameters=sum(p.numel() for stage in network.stages for p in stage.parameters.values())
            + network.fixed_parameters,
            trainable_parameters=sum(parameter.numel() for parameter in parameters.values()),
            gmacs=self._count_macs(assignment.size) / 1e9,
            preprocessing=network.preprocessing,
            weights_loaded=network.weights_loaded,
            weights_hash=self._weights_hash(),
            execution={
                "precision": precision,
                "tf32": "on" if self._tf32 else "off",
                "channels_last": "on" if network.channels_last else "off",
                "compile": recipe.execution.compile,
                "deterministic": "on" if self._deterministic else "off",
                "threads": str(torch.get_num_threads()),
            },
            conventions={**network.conventions, "optimizer": f"torch.optim.{type(self._updates.optimizer).__name__}"},
            stages_doubt=network.stages_doubt,
            trainable_names=tuple(parameters),
            library_preprocessing=network.library_preprocessing,
            first_layer_input=self._first_layer_input(assignment.size),
            layout_is_free=recipe.execution.channels_last == "auto" and network.layout == "nchw",
        )

    def _count_macs(self, size: int) -> int:
        """Return the multiply-accumulates of convolutions and matrix products for one image.

        Gradients stay on: without them some layers take a fused path that the counter can't look into.
        """
        images = torch.zeros((1, size, size, 3), dtype=torch.uint8, device=self._place)
        counter = FlopCounterMode(display=False)
        with counter, torch.enable_grad():
            self._plain[1](self._normalizer(images))
        return int(counter.get_total_flops()) // 2

    def _first_layer_input(self, size: int) -> tuple[float, float] | None:
        """Return mean and standard deviation of what reaches the first kernel, for evenly spread pixel values."""
        pixels = torch.arange(size * size, device=self._place).remainder(256).to(torch.uint8)
        images = pixels.reshape(1, size, size, 1).expand(1, size, size, 3)
        with torch.no_grad():
            reached = self._network.first_kernel_input(self._normalizer(images))
        if reached is None:
            return None
        return float(reached.double().mean()), float(reached.double().std(unbiased=False))

    def _weights_hash(self) -> str:
        digest = hashlib.sha256()
        for tensor in self._tensors(self._network.stages).values():
            digest.update(tensor.detach().cpu().contiguous().numpy())
        return digest.hexdigest()

    def set_compile(self, on: bool) -> None:
        """Switch torch.compile for the steps that follow; weights and optimiser are untouched."""
        if on and self._compiled is None:
            loss, logits = (torch.compile(function, dynamic=False) for function in self._plain)
            self._compiled = loss, logits
        self._loss: Any
        self._logits: Any
        self._loss, self._logits = self._compiled if on and self._compiled else self._plain

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
        self._normalizer = Normalizer(
            self._network.preprocessing, self._place, self._network.layout, channels_last=on
        )

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
    def upload(self, pixels: npt.NDArray[np.uint8]) -> Handle:
        """Put uint8 images of shape (B, S, S, 3) on the device."""
        return self._upload(pixels)

    def _upload(self, array: npt.NDArray[Any]) -> Tensor:
        """Return a tensor on the device; on a GPU copied while it computes, from pinned memory."""
        if not self._on_gpu:
            return torch.from_numpy(np.array(array))
        writeable = array if array.flags.writeable and array.flags.c_contiguous else np.array(array)
        return torch.from_numpy(writeable).pin_memory().to(self._place, non_blocking=True)

    @guarded
    def gather(self, images: Handle, positions: npt.NDArray[np.int64]) -> Handle:
        """Return the images at ``positions`` of an uploaded array, on the device."""
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
            total = self._differentiate(step.images, labels, weights, step.seed, forget=True)
        else:
            cuts = step.cuts()
            total = torch.stack(
                [
                    self._differentiate(step.images[at], labels[at], weights[at], seed, forget=number == 0)
                    for number, (at, seed) in enumerate(cuts)
                ]
            ).sum()
        self._updates.apply(step.learning_rate, step.step, self._scaler)
        if self._average is not None:
            self._average.update(step.average_decay)
        return total

    def _differentiate(self, images: Tensor, labels: Tensor, weights: Tensor, seed: int, *, forget: bool) -> Tensor:
        """Add the gradients of some images to those that are there, or to none; return their loss."""
        self._network.begin_step(seed, len(labels))
        inputs = self._normalizer(images)
        loss = self._loss(inputs, labels, weights)
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
            return self._logits(inputs)

    @guarded
    def cam_stage(self) -> str:
        """Return the name of the stage whose output Grad-CAM explains."""
        if self._features is None:
            self._set_mode(None)
            example = torch.zeros((1, self._size, self._size, 3), dtype=torch.uint8, device=self._place)
            self._features = self._find_features(example=self._normalizer(example))
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
    def fetch(self, handles: Sequence[Handle]) -> list[npt.NDArray[np.float32]]:
        """Wait for the device and return the handles' values as float32 arrays on the host."""
        arriving = [handle.detach().float().to("cpu", non_blocking=True) for handle in handles]
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
        return {name: _copy(tensor) for name, tensor in self._tensors(self._network.stages).items()}

    def _tensors(self, stages: Sequence[TorchStage]) -> dict[str, Tensor]:
        return {
            name: value for stage in stages for name, value in (*stage.parameters.items(), *stage.buffers().items())
        }

    def state(self, *, optimizer: bool) -> dict[str, npt.NDArray[Any]]:
        """Return copies of what training changes: weights and running statistics; the slots if asked."""
        if self._average is not None:
            self._set_mode(self._first if optimizer else None)
        values = {name: _copy(tensor) for name, tensor in self._tensors(self._network.stages[self._first :]).items()}
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
        with torch.no_grad():
            for name, tensor in tensors.items():
                tensor.copy_(torch.from_numpy(np.array(state[name])))
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


def _build_network(assignment: Assignment, device: torch.device) -> TorchNetwork:
    if assignment.backbone.framework == "keras":
        from benchmark.training.engines import keras_on_torch

        network: TorchNetwork = keras_on_torch.build_network(assignment, device)
        return network
    from benchmark.training.engines.torch_modules import build_network

    return build_network(assignment, device)


def _copy(tensor: Tensor) -> npt.NDArray[Any]:
    return np.array(tensor.detach().cpu().contiguous().numpy())


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}
