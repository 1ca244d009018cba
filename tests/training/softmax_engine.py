"""An engine for tests: softmax regression in NumPy. Small enough to check by hand, complete as any other."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from backbones import UNIT
from benchmark.engines import BuildSpec, Device, Handle, Network, StepInput
from benchmark.engines.base import FeatureSpec, NotCacheable
from benchmark.records.outcomes import Outcome, RunFailure


class SoftmaxEngine:
    """Plain SGD on pooled pixels; what it was asked is kept for the tests to look at."""

    framework = "numpy"
    device = Device("cpu", "test", 0)

    def __init__(
        self,
        classes: int = 3,
        resident_bytes: int = 0,
        explode_at: int | None = None,
        most_images: int = 1000,
        free_layout: bool = False,
        explode_above: float = float("inf"),
    ) -> None:
        self.weights = np.zeros((4 * 4 * 3, classes))
        self.slots = np.zeros_like(self.weights)
        self.resident_bytes, self.explode_at = resident_bytes, explode_at
        self.most_images, self.free_layout, self.explode_above = most_images, free_layout, explode_above
        self.layouts: list[bool] = []
        self.steps: list[StepInput] = []
        self.compiled: list[bool] = []

    def build(self, assignment: BuildSpec) -> Network:
        return Network(
            stages=("head",), stages_verified=True, parameters=self.weights.size,
            trainable_parameters=self.weights.size, gmacs=0.0, preprocessing=UNIT, weights_loaded="none",
            weights_hash="", execution={"compile": "off", "channels_last": "on"}, conventions={},
            layout_is_free=self.free_layout,
        )  # fmt: skip

    def set_compile(self, on: bool) -> None:
        self.compiled.append(on)

    def set_channels_last(self, on: bool) -> None:
        self.layouts.append(on)

    def assert_frozen(self) -> None:
        pass  # nothing is

    def upload(self, pixels: npt.NDArray[np.uint8]) -> Handle:
        return pixels.copy()

    def gather(self, images: Handle, positions: npt.NDArray[np.int64]) -> Handle:
        assert positions.min() >= 0
        return images[positions]

    def free_bytes(self) -> int:
        return self.resident_bytes

    def normalize(self, images: Handle) -> Handle:
        side = images.shape[1] // 4
        pooled = images.reshape(len(images), 4, side, 4, side, 3).mean(axis=(2, 4))
        return pooled.reshape(len(images), -1) / 255 - 0.5

    def feature_spec(self) -> FeatureSpec:
        raise NotCacheable("nothing is frozen")

    def compute_features(self, inputs: Handle) -> Handle:
        raise NotImplementedError

    def forward_from_features(self, rows: Handle) -> Handle:
        raise NotImplementedError

    def forward(self, inputs: Handle) -> Handle:
        self._fit(len(inputs))
        return inputs @ self.weights

    def train_step(self, step: StepInput) -> Handle:
        self.steps.append(step)
        self._fit(max(len(step.labels[at]) for at, _ in step.cuts()))
        inputs = self.normalize(step.images)
        logits = inputs @ self.weights
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
        rows = np.arange(len(step.labels))
        loss = float((-np.log(probabilities[rows, step.labels]) * step.loss_weights).sum())
        probabilities[rows, step.labels] -= 1
        gradient = inputs.T @ (probabilities * step.loss_weights[:, None])
        noise = np.random.default_rng(step.seed).normal(scale=1e-3, size=self.weights.shape)  # stands for dropout
        self.slots = 0.9 * self.slots + gradient + noise
        self.weights = self.weights - step.learning_rate * self.slots
        exploded = step.step == self.explode_at or step.learning_rate > self.explode_above
        return float("nan") if exploded else loss

    def _fit(self, count: int) -> None:
        if count > self.most_images:
            self.weights = self.weights + 1  # a step that fails half way leaves something behind
            raise RunFailure(Outcome.OOM, "Out of memory.")

    def fetch(self, handles: Sequence[Handle]) -> list[npt.NDArray[np.float32]]:
        return [np.asarray(handle, dtype=np.float32) for handle in handles]

    def synchronize(self) -> None:
        pass

    def state(self, *, optimizer: bool) -> dict[str, npt.NDArray[Any]]:
        return {"weights": self.weights.copy()} | ({"slots": self.slots.copy()} if optimizer else {})

    def load_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        self.weights = state["weights"].copy()
        self.slots = state.get("slots", self.slots).copy()

    def peak_memory_bytes(self) -> int:
        return 1
