"""The TensorFlow engine: Keras networks trained by a step of our own, one ``tf.function`` from pixels to update."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.draws.augmentation import Draws
from benchmark.engines import host
from benchmark.engines.base import BuildSpec, FeatureSpec, Handle, Network, StepInput, weights_loaded
from benchmark.engines.tensorflow.quiet_import import keras, tf
from benchmark.records.outcomes import Outcome, RunFailure

# isort: split
# What follows imports them too, and comes second.
from benchmark.engines.keras.network import (
    Arithmetic,
    build_network,
    count_scalars,
    named_weights,
)
from benchmark.engines.keras.stages.graph import first_layer_input
from benchmark.engines.keras.stages.verification import Backend
from benchmark.engines.tensorflow.augment import Augmenter
from benchmark.engines.tensorflow.batch_norm import set_batch_norm
from benchmark.engines.tensorflow.device import (
    free_gpu_bytes,
    open_device,
    resolve_precision,
    threads,
)
from benchmark.engines.tensorflow.ema import Average
from benchmark.engines.tensorflow.errors import failures
from benchmark.engines.tensorflow.feature_cache import TensorFlowFrozenStages
from benchmark.engines.tensorflow.grad_cam import TensorFlowGradCam
from benchmark.engines.tensorflow.loss_scale import LossScale
from benchmark.engines.tensorflow.macs import count_macs
from benchmark.engines.tensorflow.optimizer import Updates
from benchmark.engines.tensorflow.steps import Learning, Pixels, Steps, traced_forward
from benchmark.engines.tensorflow.tracing import forgotten_custom_gradients
from benchmark.engines.warm_start import read_final


def _gradients(loss: Any, variables: Sequence[Any]) -> Sequence[Any]:
    with tf.GradientTape() as tape:
        value = loss()
    gradients: Sequence[Any] = tape.gradient(value, [variable.value for variable in variables])
    return gradients


# Stages are verified on the CPU: a GPU may choose another algorithm for the second call of a kernel.
_BACKEND = Backend(_gradients, scope=lambda: tf.device("/CPU:0"))
_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


class TensorFlowEngine:
    """See :class:`benchmark.engines.base.Engine`.

    Args:
        device: ``cpu`` or ``cuda``.
        tf32: whether float32 matrix products and convolutions may use TF32 on a GPU.
        deterministic: whether arithmetic must be repeatable bit for bit. TensorFlow can't take that back: later
            engines of this process compute so too.

    Raises:
        RunFailure: ``unsupported`` where TensorFlow does not see the device.
    """

    framework = "tensorflow"

    def __init__(self, device: str, *, tf32: bool, deterministic: bool) -> None:
        if keras.backend.backend() != "tensorflow":
            raise RuntimeError(f"Keras runs on {keras.backend.backend()} in this process already")
        tf.config.experimental.enable_tensor_float_32_execution(tf32)
        if deterministic:
            tf.config.experimental.enable_op_determinism()
        self.device, self._place = open_device(device)
        tf.get_logger().setLevel("ERROR")  # it takes the engines of one process for retracing
        self._tf32, self._deterministic = tf32, deterministic
        if self.device.kind == "cuda":
            tf.config.experimental.reset_memory_stats("GPU:0")

    # building

    def build(self, spec: BuildSpec) -> Network:
        """Build, initialise or load, and place the network; prepare the optimiser."""
        with failures(), tf.device(self._place), forgotten_custom_gradients():
            return self._build(spec)

    def _build(self, spec: BuildSpec) -> Network:
        recipe = spec.recipe
        precision = resolve_precision(recipe.execution.precision, self.device.kind)
        tf.random.set_seed(spec.seed)
        network = build_network(spec, Arithmetic(_POLICIES[precision], _BACKEND, set_batch_norm))
        network.freeze()
        self._network = network
        self._size, self._num_classes = spec.size, spec.num_classes
        self._augmenter: Augmenter | None = None
        self._cam_stage = spec.backbone.cam_stage
        self._features: TensorFlowGradCam | None = None
        self._pixel_type = tf.float32 if recipe.augmentation.brightness_bug else tf.uint8
        self._trained = [variable.value for variable in network.trained.trainable_variables]
        known = network.learning_rate_factors(recipe.optimizer)
        factors = [known.get(id(variable), 1.0) for variable in network.trained.trainable_variables]
        self._updates = Updates(recipe.optimizer, self._trained, factors, recipe.regularization)
        self._loss_scale = LossScale() if precision == "float16" else None
        self._pixels = Pixels(network)
        self._weights = named_weights(network.stages)
        if spec.init_from is not None:
            given = read_final(spec.init_from, {name: tuple(w.shape) for name, w in self._weights.items()})
            for name, weight in self._weights.items():
                weight.assign(given[name])
        by_id = {id(weight): name for name, weight in self._weights.items()}
        self._trained_names = tuple(by_id[id(variable)] for variable in network.trained.trainable_variables)
        averaged = {name: weight.value for name, weight in self._variables().items()}
        self._average = Average(averaged) if recipe.ema.decay else None
        self._fixed = self._statistics()
        self._learning = Learning(
            network, self._updates, self._average, self._loss_scale, recipe.loss, self._num_classes
        )
        self._prefix: TensorFlowFrozenStages | None = None
        self._steps: dict[tuple[bool, bool], Steps] = {}
        self._forwards: dict[tuple[str, bool], Any] = {}
        self._normalize = tf.function(self._pixels.normalized, autograph=False, reduce_retracing=True)
        self.set_compile(False)
        graph = self._traced_forward("logits").get_concrete_function().graph
        return Network(
            stages=network.stages.names,
            stages_verified=not network.unverified,
            parameters=network.parameters,
            trainable_parameters=count_scalars(self._trained),
            gmacs=count_macs(graph) / 1e9,
            preprocessing=network.preprocessing,
            weights_loaded=weights_loaded(spec, network.weights_loaded),
            weights_hash=_weights_hash(network.stages.whole.weights),
            execution={
                "precision": precision,
                "tf32": "on" if self._tf32 else "off",
                "channels_last": "on",  # TensorFlow's own layout
                "compile": recipe.execution.compile,
                "deterministic": "on" if self._deterministic else "off",
                "threads": str(threads()),
            },
            conventions={**network.conventions, "layer_regularizers": "not used"},
            stages_unverified=network.unverified,
            trainable_names=self._trained_names,
            library_preprocessing=network.library_preprocessing,
            first_layer_input=self._first_layer_input(),
        )

    def _first_layer_input(self) -> tuple[float, float] | None:
        """Return mean and standard deviation of what reaches the first kernel, for evenly spread pixel values."""
        model = first_layer_input(self._network.stages)
        if model is None:
            return None
        pixels = np.resize(np.arange(256, dtype=np.uint8), (self._size, self._size))
        inputs = self._pixels.normalized(tf.convert_to_tensor(np.repeat(pixels[None, ..., None], 3, axis=-1)))
        values = np.asarray(model(inputs, training=False), dtype=np.float64)
        return float(values.mean()), float(values.std())

    def set_compile(self, on: bool) -> None:
        """Switch XLA for the steps that follow; weights and optimiser are untouched."""
        self._compiled = on

    def _step_function(self, from_features: bool) -> Steps:
        """Return the training step from images or from rows."""
        key = from_features, self._compiled
        if key not in self._steps:
            given = tf.TensorSpec((None, self._size, self._size, 3), self._pixel_type)
            begin: Any = self._begin
            trained = self._network.trained
            if from_features:
                begin, trained, given = self._kept().begin, self._kept().trained, self._kept().given
            seeds = len(self._network.seeds)
            self._steps[key] = Steps(self._learning, begin, trained, given, seeds, compiled=self._compiled)
        return self._steps[key]

    def _traced_forward(self, wanted: str) -> Any:
        """Return what gives ``logits`` or ``rows`` for normalised inputs, or logits for rows (``rest``)."""
        key = wanted, self._compiled
        if key not in self._forwards:
            given = tf.TensorSpec((None, self._size, self._size, 3), tf.float32)
            function: Any = self._logits
            if wanted == "rows":
                function = self._kept().rows
            elif wanted == "rest":
                function, given = self._kept().logits, self._kept().given
            self._forwards[key] = traced_forward(function, given, compiled=self._compiled)
        return self._forwards[key]

    def set_channels_last(self, on: bool) -> None:
        """Do nothing: TensorFlow has one layout here."""

    def _statistics(self) -> dict[str, npt.NDArray[Any]]:
        """Return the running statistics of frozen layers."""
        learned = {id(variable) for variable in self._network.stages.whole.trainable_variables}
        layers = (layer for layer in self._network.stages.whole._flatten_layers() if not layer.trainable)
        frozen = {id(weight) for layer in layers for weight in layer.weights if "moving" in weight.name} - learned
        return {name: np.array(weight.numpy()) for name, weight in self._weights.items() if id(weight) in frozen}

    def assert_frozen(self) -> None:
        """Raise ``RunFailure`` where frozen layers are not in inference mode, or their statistics have moved."""
        now = self._statistics()
        wrong = self._network.in_training()
        # a layer that has become trainable is no longer among them
        wrong += [name for name, value in self._fixed.items() if name not in now or (now[name] != value).any()]
        if wrong:
            raise RunFailure(
                Outcome.ERROR, f"The frozen {wrong[0]} is not in inference mode: its statistics may move."
            )

    # data

    def upload(self, pixels: npt.NDArray[Any]) -> Handle:
        """Put uint8 images of shape (B, S, S, 3), or rows of the frozen prefix, on the device."""
        with failures(), tf.device(self._place):
            return tf.convert_to_tensor(pixels)

    def gather(self, images: Handle, positions: npt.NDArray[np.int64]) -> Handle:
        """Return the images, or rows, at ``positions`` of an uploaded array, on the device."""
        with failures(), tf.device(self._place):
            return tf.gather(images, positions)

    def free_bytes(self) -> int:
        """Return the device memory that is free now; 0 on a CPU."""
        return free_gpu_bytes() if self.device.kind == "cuda" else 0

    def augment(self, images: Handle, draws: Draws) -> Handle:
        """Return the images varied as drawn: uint8 to uint8, or float32 where draws overflow."""
        with failures(), tf.device(self._place):
            if self._augmenter is None:
                self._augmenter = Augmenter(self._size)
            return self._augmenter(images, draws)

    # arithmetic

    def train_step(self, step: StepInput) -> Handle:
        """Do one optimisation step; return the loss without waiting for the device."""
        self._show_average(False)
        if step.parts > 1:
            with failures(), tf.device(self._place):
                self._learning.make_sums()
        return self._step_function(step.from_features)(step, self._call)

    def _show_average(self, wanted: bool) -> None:
        if self._average is not None:
            with failures(), tf.device(self._place):
                self._average.show(wanted)

    def normalize(self, images: Handle) -> Handle:
        """Return the network's input for uint8 images: float32, shape (B, S, S, 3), preprocessed."""
        return self._call(self._normalize, images)

    def forward(self, inputs: Handle) -> Handle:
        """Return float32 logits of shape (B, num_classes) of normalised inputs, in inference mode."""
        self._show_average(True)
        return self._call(self._traced_forward("logits"), inputs)

    def feature_spec(self) -> FeatureSpec:
        """Return what of the network may be computed once for each image."""
        return self._kept().facts

    def _kept(self) -> TensorFlowFrozenStages:
        if self._prefix is None:
            with failures(), tf.device(self._place), forgotten_custom_gradients():
                pixels = np.random.default_rng(0).integers(0, 256, (3, self._size, self._size, 3), dtype=np.uint8)
                example = self._pixels.normalized(tf.convert_to_tensor(pixels))
                self._prefix = TensorFlowFrozenStages(self._network, example)
        return self._prefix

    def compute_features(self, inputs: Handle) -> Handle:
        """Return the rows, shape (B, *shape), of normalised inputs; in inference mode, without gradients."""
        return self._call(self._traced_forward("rows"), inputs)

    def forward_from_features(self, rows: Handle) -> Handle:
        """Return what :meth:`forward` does, from rows on."""
        self._show_average(True)
        return self._call(self._traced_forward("rest"), rows)

    def cam_stage(self) -> str:
        """Return the name of the stage whose output Grad-CAM explains."""
        if self._features is None:
            with failures(), tf.device(self._place):
                self._features = TensorFlowGradCam(self._network.stages, self._cam_stage, self._size)
        return self._features.name

    def features_and_gradients(self, inputs: Handle, classes: npt.NDArray[np.int64]) -> tuple[Handle, Handle]:
        """Return what that stage gives, and its gradients of the logits of ``classes``: shape (B, H, W, K)."""
        self.cam_stage()
        assert self._features is not None
        self._show_average(True)
        features, gradients = self._call(self._features.function, inputs, classes)
        return features, gradients

    def fetch(self, handles: Sequence[Handle]) -> list[npt.NDArray[Any]]:
        """Wait for the device and return the handles' values as arrays on the host."""
        with failures():
            return [np.asarray(handle.numpy()) for handle in handles]

    def synchronize(self) -> None:
        """Wait until the device has done all that was asked."""
        with failures():
            tf.test.experimental.sync_devices()

    def _call(self, function: Any, *given: Any) -> Handle:
        with failures(), tf.device(self._place):
            if function.experimental_get_tracing_count():
                return function(*given)
            with forgotten_custom_gradients():
                return function(*given)

    def _begin(self, images: Any) -> Any:
        """Return what the trained stages take for uint8 images."""
        inputs = self._pixels.normalized(images)
        return inputs if self._network.frozen is None else self._network.frozen(inputs, training=False)

    def _logits(self, inputs: Any) -> Any:
        return tf.cast(self._network.stages.whole(inputs, training=False), tf.float32)

    # state

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """Return copies of all weights and running statistics, trained or frozen, in a fixed order."""
        self._show_average(True)
        return {name: np.array(weight.numpy()) for name, weight in self._weights.items()}

    def _variables(self) -> dict[str, Any]:
        """Return what training changes but the optimiser's slots, by name."""
        changing = {id(weight) for weight in self._network.trained.weights}
        return {name: weight for name, weight in self._weights.items() if id(weight) in changing}

    def _slots(self) -> dict[str, Any]:
        slots = {
            f"optimizer/{name}/{weight}": slot
            for name, values in self._updates.slots.items()
            for weight, slot in zip(self._trained_names, values, strict=True)
        }
        if self._loss_scale is not None:
            slots |= self._loss_scale.slots
        if self._average is not None:
            slots |= self._average.means
        return slots

    def state(self, *, optimizer: bool) -> dict[str, npt.NDArray[Any]]:
        """Return copies of what training changes: weights and running statistics; the slots if asked."""
        self._show_average(not optimizer)
        with failures():
            variables = self._variables() | (self._slots() if optimizer else {})
            return {name: np.array(variable.numpy()) for name, variable in variables.items()}

    def load_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Put back what :meth:`state` returned, with or without the optimiser's slots."""
        variables, slots = self._variables(), self._slots()
        if any(name in state for name in slots):
            variables |= slots
        if set(state) != set(variables):
            odd = sorted(set(state) ^ set(variables))[0]
            raise ValueError(f"the state does not fit the network: {odd} is in one of them only")
        self._show_average(False)
        with failures(), tf.device(self._place):
            for name, variable in variables.items():
                variable.assign(state[name])
            if self._average is not None and not any(name in state for name in slots):
                self._average.restart()

    def peak_memory_bytes(self) -> int:
        """Return the allocator's peak since the engine was made (GPU), or the process's peak RSS (CPU)."""
        if self.device.kind == "cuda":
            return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
        return host.peak_bytes()


def _weights_hash(weights: Sequence[Any]) -> str:
    digest = hashlib.sha256()
    for weight in weights:
        digest.update(np.ascontiguousarray(weight.numpy()).tobytes())
    return digest.hexdigest()
