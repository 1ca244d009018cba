"""A third engine: softmax regression on pooled pixels, in NumPy, small enough to check by hand.

As a package it would name ``ENTRY`` as its entry point of the group ``tumorboard.engines``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from backbones import UNIT
from benchmark.engines import BuildSpec, EngineEntry, Handle, Network, StepInput
from benchmark.engines.freezing import FeatureSpec, first_trainable, last_cacheable
from benchmark.engines.shared import SharedEngine, cpu, factor_and_shift, hash_of_values, resolve_precision
from benchmark.engines.warm_start import weights_loaded
from benchmark.records.outcomes import Outcome, RunFailure

ENTRY = EngineEntry(
    name="numpy", engine=f"{__name__}:SoftmaxEngine", runs=("numpy",), requires=("numpy",), packages=("numpy",)
)
STAGES = ("pooling", "head")
SIDE = 4  # places that each side of an image is pooled to
Weights = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Pooled:
    """What is kept of the frozen pooling."""

    spec: FeatureSpec


class SoftmaxEngine(SharedEngine):
    """SGD with momentum on ``logits = pooled pixels @ kernel + bias``; the adapter gives the initial weights."""

    framework = "numpy"

    def __init__(self, device: str = "cpu", *, tf32: bool = False, deterministic: bool = True) -> None:
        super().__init__(tf32=tf32, deterministic=deterministic)
        if device != "cpu":
            raise RunFailure(Outcome.UNSUPPORTED, "NumPy computes on a CPU: use --device cpu.")
        self.device = cpu()

    def build(self, spec: BuildSpec) -> Network:
        recipe, self._size = spec.recipe, spec.size
        if recipe.optimizer.name != "sgd" or recipe.ema.decay or recipe.head.kind != "native":
            raise RunFailure(Outcome.UNSUPPORTED, "NumPy trains by SGD, without EMA, and with its native head only.")
        preprocessing = spec.backbone.preprocessing or UNIT
        self._factor, self._shift = factor_and_shift(preprocessing)
        self._first = first_trainable(recipe.trainable_from, STAGES)
        self._rule = recipe.optimizer
        self._head: Weights = spec.backbone.make(spec.num_classes, spec.weights, spec.size)
        self._momentum = {name: np.zeros_like(value) for name, value in self._head.items()}
        self._start_from_run(spec)
        count = sum(value.size for value in self._head.values())
        return Network(
            stages=STAGES,
            stages_verified=True,
            parameters=count,
            trainable_parameters=count,
            gmacs=self._head["kernel"].size / 1e9,
            preprocessing=preprocessing,
            weights_loaded=weights_loaded(spec, None),
            weights_hash=hash_of_values(self._head.values()),
            execution=self._execution(
                recipe.execution,
                precision=resolve_precision(recipe.execution.precision, "cpu", lambda: None),
                channels_last=True,
                threads=1,
            ),
            conventions={"batch_norm": "none"},
            trainable_names=tuple(self._all_weights()),
        )

    def upload(self, pixels: npt.NDArray[Any]) -> Handle:
        return pixels.copy()

    def gather(self, images: Handle, positions: npt.NDArray[np.int64]) -> Handle:
        assert positions.min() >= 0
        return images[positions]

    def normalize(self, images: Handle) -> Handle:
        return images.astype(np.float32) * self._factor - self._shift

    def compute_features(self, inputs: Handle) -> Handle:
        """Return the mean of each of 4 x 4 fields, float32 of shape (B, 48)."""
        side = inputs.shape[1] // SIDE
        return inputs.reshape(len(inputs), SIDE, side, SIDE, side, 3).mean(axis=(2, 4)).reshape(len(inputs), -1)

    def forward_from_features(self, features: Handle) -> Handle:
        return features @ self._head["kernel"] + self._head["bias"]

    def forward(self, inputs: Handle) -> Handle:
        return self.forward_from_features(self.compute_features(inputs))

    def train_step(self, step: StepInput) -> Handle:
        loss, gradients = 0.0, {name: np.zeros_like(value) for name, value in self._head.items()}
        for at, _seed in step.cuts():  # nothing here is random
            images = step.images[at]
            features = images if step.from_features else self.compute_features(self.normalize(images))
            logits = self.forward_from_features(features).astype(np.float64)
            p = np.exp(logits - logits.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            labels, weights = step.labels[at], step.loss_weights[at]
            own = np.arange(len(labels)), labels
            loss += float((-np.log(p[own]) * weights).sum())
            p[own] -= 1
            slope = (p * weights[:, None]).astype(np.float32)  # of the loss, by the logits
            gradients["kernel"] += features.T @ slope
            gradients["bias"] += slope.sum(axis=0)
        for name, value in self._head.items():
            decayed = gradients[name] + self._rule.weight_decay * value * (value.ndim > 1)
            self._momentum[name][...] = self._rule.momentum * self._momentum[name] + decayed
            value -= np.float32(step.learning_rate) * self._momentum[name]
        return np.float32(loss)

    def fetch(self, handles: Sequence[Handle]) -> list[npt.NDArray[Any]]:
        return [np.asarray(handle) for handle in handles]

    @cached_property
    def _frozen_stages(self) -> Pooled:
        last_cacheable(self._first, lambda end: True)
        return Pooled(FeatureSpec(STAGES[:1], (SIDE * SIDE * 3,), "float32", hash_of_values([])))

    def _all_weights(self) -> Weights:
        return {f"head/{name}": value for name, value in self._head.items()}

    def _trained_weights(self) -> Weights:
        return self._all_weights()

    def _slots(self) -> Weights:
        return {f"optimizer/momentum/{name}": value for name, value in self._momentum.items()}

    def _values(self, tensors: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
        return {name: value.copy() for name, value in tensors.items()}

    def _assign(self, tensors: Mapping[str, Any], values: Mapping[str, npt.NDArray[Any]]) -> None:
        for name, tensor in tensors.items():
            tensor[...] = values[name]
