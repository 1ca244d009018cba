"""The TensorFlow engine: Keras networks trained by a step of our own.

A step is one ``tf.function``: pixels, forward pass, loss, gradients, update. Learning rate, bias corrections and
seeds are its inputs and the batch size is left open, so that it is traced once per run.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.outcomes import Outcome, RunFailure
from benchmark.training.augmentation import Draws
from benchmark.training.engines import host
from benchmark.training.engines.base import Assignment, Handle, Network, StepInput
from benchmark.training.engines.tensorflow_import import keras, tf

# isort: split
# What follows imports them too, and comes second.
from benchmark.training.engines.keras_network import (
    Arithmetic,
    KerasNetwork,
    build_network,
    count_scalars,
    layer_seeds,
    named_weights,
)
from benchmark.training.engines.tensorflow_augment import Augmenter
from benchmark.training.engines.tensorflow_average import Average
from benchmark.training.engines.tensorflow_batch_norm import set_batch_norm
from benchmark.training.engines.tensorflow_cam import TensorFlowFeatures
from benchmark.training.engines.tensorflow_device import (
    free_gpu_bytes,
    open_device,
    resolve_precision,
)
from benchmark.training.engines.tensorflow_failures import failures
from benchmark.training.engines.tensorflow_loss import image_losses
from benchmark.training.engines.tensorflow_macs import count_macs
from benchmark.training.engines.tensorflow_optimizer import Updates
from benchmark.training.engines.tensorflow_scaling import LossScale
from benchmark.training.engines.tensorflow_tracing import forgotten_custom_gradients
from benchmark.training.stages.keras_graph import first_layer_input
from benchmark.training.stages.keras_proof import Trial


def _gradients(loss: Any, variables: Sequence[Any]) -> Sequence[Any]:
    with tf.GradientTape() as tape:
        value = loss()
    gradients: Sequence[Any] = tape.gradient(value, [variable.value for variable in variables])
    return gradients


# Stages are tried on the CPU: a GPU may choose another algorithm for the second call of a kernel.
_TRIAL = Trial(_gradients, scope=lambda: tf.device("/CPU:0"))
_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


class TensorFlowEngine:
    """See :class:`benchmark.training.engines.base.Engine`.

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

    def build(self, assignment: Assignment) -> Network:
        """Build, initialise or load, and place the network; prepare the optimiser."""
        with failures(), tf.device(self._place), forgotten_custom_gradients():
            return self._build(assignment)

    def _build(self, assignment: Assignment) -> Network:
        recipe = assignment.recipe
        precision = resolve_precision(recipe.execution.precision, self.device.kind)
        tf.random.set_seed(assignment.seed)
        network = build_network(assignment, Arithmetic(_POLICIES[precision], _TRIAL, set_batch_norm))
        network.freeze()
        self._network = network
        self._size, self._num_classes = assignment.size, assignment.num_classes
        self._augmenter: Augmenter | None = None
        self._cam_stage = assignment.backbone.cam_stage
        self._features: TensorFlowFeatures | None = None
        self._wanted_loss = recipe.loss
        self._pixel_type = tf.float32 if recipe.augmentation.brightness_bug else tf.uint8
        self._trained = [variable.value for variable in network.trained.trainable_variables]
        known = network.learning_rate_factors(recipe.optimizer)
        factors = [known.get(id(variable), 1.0) for variable in network.trained.trainable_variables]
        self._updates = Updates(recipe.optimizer, self._trained, factors, recipe.regularization)
        self._loss_scale = LossScale() if precision == "float16" else None
        self._set_pixels(network)
        self._weights = named_weights(network.stages)
        by_id = {id(weight): name for name, weight in self._weights.items()}
        self._trained_names = tuple(by_id[id(variable)] for variable in network.trained.trainable_variables)
        averaged = {name: weight.value for name, weight in self._variables().items()}
        self._average = Average(averaged) if recipe.ema.decay else None
        self._fixed = self._statistics()
        self._sums: list[Any] = []
        self._traced: dict[bool, tuple[Any, Any, Any]] = {}
        self.set_compile(False)
        graph = self._forward.get_concrete_function().graph
        return Network(
            stages=network.stages.names,
            stages_proven=not network.doubt,
            parameters=network.parameters,
            trainable_parameters=count_scalars(self._trained),
            gmacs=count_macs(graph) / 1e9,
            preprocessing=network.preprocessing,
            weights_loaded=network.weights_loaded,
            weights_hash=_weights_hash(network.stages.whole.weights),
            execution={
                "precision": precision,
                "tf32": "on" if self._tf32 else "off",
                "channels_last": "on",  # TensorFlow's own layout
                "compile": recipe.execution.compile,
                "deterministic": "on" if self._deterministic else "off",
                "threads": str(tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count()),
            },
            conventions={**network.conventions, "layer_regularizers": "not used"},
            stages_doubt=network.doubt,
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
        inputs = self._normalized(tf.convert_to_tensor(np.repeat(pixels[None, ..., None], 3, axis=-1)))
        values = np.asarray(model(inputs, training=False), dtype=np.float64)
        return float(values.mean()), float(values.std())

    def _set_pixels(self, network: KerasNetwork) -> None:
        """Write ``(pixels * scale - mean) / std`` as one multiplication and one subtraction."""
        wanted = network.preprocessing
        std = np.array(wanted.std)
        self._factor = (wanted.scale / std).astype(np.float32)
        self._shift = (np.array(wanted.mean) / std).astype(np.float32)
        self._bgr = wanted.channel_order == "bgr"

    def set_compile(self, on: bool) -> None:
        """Switch XLA for the steps that follow; weights and optimiser are untouched."""
        if on not in self._traced:
            images = tf.TensorSpec((None, self._size, self._size, 3), self._pixel_type)
            batch = [
                images,
                tf.TensorSpec((None,), tf.int64),
                tf.TensorSpec((None,), tf.float32),
                tf.TensorSpec((len(self._network.seeds),), tf.int64),
            ]
            scalars = tf.TensorSpec(self._scalars(1.0, 1, 0.0).shape, tf.float32)
            step = tf.function(self._step, input_signature=[*batch, scalars], jit_compile=on, autograph=False)
            in_parts = (
                tf.function(self._part, input_signature=batch, jit_compile=on, autograph=False),
                tf.function(self._finish, input_signature=[scalars], jit_compile=on, autograph=False),
            )
            inputs = tf.TensorSpec(images.shape, tf.float32)
            forward = tf.function(self._logits, input_signature=[inputs], jit_compile=on, autograph=False)
            self._traced[on] = step, forward, in_parts
        self._train, self._forward, self._train_in_parts = self._traced[on]
        if not hasattr(self, "_normalize"):
            self._normalize = tf.function(self._normalized, autograph=False, reduce_retracing=True)

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

    def upload(self, pixels: npt.NDArray[np.uint8]) -> Handle:
        """Put uint8 images of shape (B, S, S, 3) on the device."""
        with failures(), tf.device(self._place):
            return tf.convert_to_tensor(pixels)

    def gather(self, images: Handle, positions: npt.NDArray[np.int64]) -> Handle:
        """Return the images at ``positions`` of an uploaded array, on the device."""
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
        scalars = self._scalars(step.learning_rate, step.step, step.average_decay)
        count = len(self._network.seeds)
        if step.parts == 1:
            seeds = layer_seeds(step.seed, count)
            return self._call(self._train, step.images, step.labels, step.loss_weights, seeds, scalars)
        part, finish = self._train_in_parts
        self._make_sums()
        losses = [
            self._call(part, step.images[at], step.labels[at], step.loss_weights[at], layer_seeds(seed, count))
            for at, seed in step.cuts()
        ]
        self._call(finish, scalars)
        return tf.add_n(losses)

    def _scalars(self, learning_rate: float, step: int, average_decay: float) -> npt.NDArray[np.float32]:
        """Return what is different in each step, the decay of the average last where there is one."""
        scalars = self._updates.scalars(learning_rate, step)
        return scalars if self._average is None else np.append(scalars, np.float32(average_decay))

    def _make_sums(self) -> None:
        """Make the variables in which the gradients of parts add up."""
        if not self._sums:
            with failures(), tf.device(self._place):
                self._sums = [tf.Variable(tf.zeros_like(variable), trainable=False) for variable in self._trained]

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
        return self._call(self._forward, inputs)

    def cam_stage(self) -> str:
        """Return the name of the stage whose output Grad-CAM explains."""
        if self._features is None:
            with failures(), tf.device(self._place):
                self._features = TensorFlowFeatures(self._network.stages, self._cam_stage, self._size)
        return self._features.name

    def features_and_gradients(self, inputs: Handle, classes: npt.NDArray[np.int64]) -> tuple[Handle, Handle]:
        """Return what that stage gives, and its gradients of the logits of ``classes``: shape (B, H, W, K)."""
        self.cam_stage()
        assert self._features is not None
        self._show_average(True)
        features, gradients = self._call(self._features.function, inputs, classes)
        return features, gradients

    def fetch(self, handles: Sequence[Handle]) -> list[npt.NDArray[np.float32]]:
        """Wait for the device and return the handles' values as float32 arrays on the host."""
        with failures():
            return [np.asarray(handle.numpy(), dtype=np.float32) for handle in handles]

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

    # what is traced

    def _normalized(self, images: Any) -> Any:
        if self._bgr:
            images = tf.reverse(images, [-1])
        images = tf.cast(images, tf.float32)
        if (self._factor != 1).any():
            images = images * self._factor
        return images - self._shift if self._shift.any() else images

    def _logits(self, inputs: Any) -> Any:
        return tf.cast(self._network.stages.whole(inputs, training=False), tf.float32)

    def _step(self, images: Any, labels: Any, loss_weights: Any, seeds: Any, scalars: Any) -> Any:
        loss, gradients = self._differentiate(images, labels, loss_weights, seeds)
        self._update(gradients, scalars)
        return loss

    def _part(self, images: Any, labels: Any, loss_weights: Any, seeds: Any) -> Any:
        loss, gradients = self._differentiate(images, labels, loss_weights, seeds)
        self._used = [gradient is not None for gradient in gradients]
        for total, gradient in zip(self._sums, gradients, strict=True):
            if gradient is not None:
                total.assign_add(gradient)
        return loss

    def _finish(self, scalars: Any) -> None:
        used = zip(self._sums, self._used, strict=True)
        self._update([tf.convert_to_tensor(total) if uses else None for total, uses in used], scalars)
        for total in self._sums:
            total.assign(tf.zeros_like(total))

    def _differentiate(self, images: Any, labels: Any, loss_weights: Any, seeds: Any) -> tuple[Any, list[Any]]:
        """Return the loss of some images, and the gradients of the scaled loss."""
        for number, state in enumerate(self._network.seeds):
            state.assign(tf.stack([seeds[number], tf.zeros((), tf.int64)]))
        inputs = self._normalized(images)
        if self._network.frozen is not None:
            inputs = self._network.frozen(inputs, training=False)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self._trained)
            logits = tf.cast(self._network.trained(inputs, training=True), tf.float32)
            losses = image_losses(logits, labels, self._wanted_loss, self._num_classes)
            loss = tf.reduce_sum(losses * loss_weights)
            scaled = loss if self._loss_scale is None else loss * self._loss_scale.scale
        gradients = tape.gradient(scaled, self._trained)
        return loss, [None if gradient is None else tf.convert_to_tensor(gradient) for gradient in gradients]

    def _update(self, gradients: list[Any], scalars: Any) -> None:
        if self._loss_scale is None:
            self._updates.apply(gradients, scalars)
        else:
            self._loss_scale.apply(lambda found: self._updates.apply(found, scalars), gradients)
        if self._average is not None:
            self._average.update(scalars[-1])

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
