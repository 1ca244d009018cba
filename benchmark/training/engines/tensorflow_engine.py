"""The TensorFlow engine: Keras networks trained by a step of our own.

A step is one ``tf.function``: pixels, forward pass, loss, gradients, update. Learning rate, bias corrections and
seeds are its inputs and the batch size is left open, so that it is traced once per run.
"""

import contextlib
import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.outcomes import Outcome, RunFailure
from benchmark.training.engines import host
from benchmark.training.engines.base import Assignment, Handle, Network, StepInput


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what TensorFlow's C++ code writes while it is imported off the terminal, unless the import fails."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except BaseException:
            said.seek(0)
            os.write(terminal, said.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
try:
    with _quiet():
        import keras
        import tensorflow as tf
except Exception as error:  # a broken installation may raise anything
    raise RunFailure(
        Outcome.MISSING_DEPENDENCY, f"TensorFlow can't be imported: {type(error).__name__}: {error}"
    ) from error

from benchmark.training.engines.keras_network import (  # noqa: E402
    Arithmetic,
    KerasNetwork,
    build_network,
    count_scalars,
    layer_seeds,
    named_weights,
)
from benchmark.training.engines.tensorflow_batch_norm import set_batch_norm  # noqa: E402
from benchmark.training.engines.tensorflow_device import (  # noqa: E402
    free_gpu_bytes,
    open_device,
    resolve_precision,
)
from benchmark.training.engines.tensorflow_macs import count_macs  # noqa: E402
from benchmark.training.engines.tensorflow_optimizer import Updates  # noqa: E402
from benchmark.training.engines.tensorflow_tracing import forgotten_custom_gradients  # noqa: E402
from benchmark.training.stages.keras_graph import first_layer_input  # noqa: E402
from benchmark.training.stages.keras_proof import Trial  # noqa: E402


def _gradients(loss: Any, variables: Sequence[Any]) -> Sequence[Any]:
    with tf.GradientTape() as tape:
        value = loss()
    gradients: Sequence[Any] = tape.gradient(value, [variable.value for variable in variables])
    return gradients


# Stages are tried on the CPU: a GPU may choose another algorithm for the second call of a kernel.
_TRIAL = Trial(_gradients, scope=lambda: tf.device("/CPU:0"))
_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
# Dynamic loss scaling as torch.amp.GradScaler's: halved at an overflow, doubled after 2000 steps without.
_FIRST_SCALE, _GROWTH_STEPS = 2.0**16, 2000


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
        with self._failures(), tf.device(self._place), forgotten_custom_gradients():
            return self._build(assignment)

    def _build(self, assignment: Assignment) -> Network:
        recipe = assignment.recipe
        precision = resolve_precision(recipe.execution.precision, self.device.kind)
        tf.random.set_seed(assignment.seed)
        network = build_network(assignment, Arithmetic(_POLICIES[precision], _TRIAL, set_batch_norm))
        network.freeze()
        self._network = network
        self._size, self._num_classes = assignment.size, assignment.num_classes
        self._label_smoothing = recipe.loss.label_smoothing
        self._trained = [variable.value for variable in network.trained.trainable_variables]
        head = network.head_variables
        in_head = [id(variable) in head for variable in network.trained.trainable_variables]
        self._updates = Updates(recipe.optimizer, self._trained, in_head)
        scaled = precision == "float16"
        self._loss_scale = (tf.Variable(_FIRST_SCALE), tf.Variable(0.0)) if scaled else None
        self._set_pixels(network)
        self._weights = named_weights(network.stages)
        by_id = {id(weight): name for name, weight in self._weights.items()}
        self._trained_names = tuple(by_id[id(variable)] for variable in network.trained.trainable_variables)
        self._traced: dict[bool, tuple[Any, Any]] = {}
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
            images = tf.TensorSpec((None, self._size, self._size, 3), tf.uint8)
            step = tf.function(
                self._step,
                input_signature=[
                    images,
                    tf.TensorSpec((None,), tf.int64),
                    tf.TensorSpec((None,), tf.float32),
                    tf.TensorSpec((7,), tf.float32),
                    tf.TensorSpec((len(self._network.seeds),), tf.int64),
                ],
                jit_compile=on,
                autograph=False,
            )
            inputs = tf.TensorSpec(images.shape, tf.float32)
            forward = tf.function(self._logits, input_signature=[inputs], jit_compile=on, autograph=False)
            self._traced[on] = step, forward
        self._train, self._forward = self._traced[on]
        if not hasattr(self, "_normalize"):
            self._normalize = tf.function(self._normalized, autograph=False, reduce_retracing=True)

    # data

    def upload(self, pixels: npt.NDArray[np.uint8]) -> Handle:
        """Put uint8 images of shape (B, S, S, 3) on the device."""
        with self._failures(), tf.device(self._place):
            return tf.convert_to_tensor(pixels)

    def gather(self, images: Handle, positions: npt.NDArray[np.int64]) -> Handle:
        """Return the images at ``positions`` of an uploaded array, on the device."""
        with self._failures(), tf.device(self._place):
            return tf.gather(images, positions)

    def free_bytes(self) -> int:
        """Return the device memory that is free now; 0 on a CPU."""
        return free_gpu_bytes() if self.device.kind == "cuda" else 0

    # arithmetic

    def train_step(self, step: StepInput) -> Handle:
        """Do one optimisation step; return the loss without waiting for the device."""
        return self._call(
            self._train,
            step.images,
            step.labels,
            step.loss_weights,
            self._updates.scalars(step.learning_rate, step.step),
            layer_seeds(step.seed, len(self._network.seeds)),
        )

    def normalize(self, images: Handle) -> Handle:
        """Return the network's input for uint8 images: float32, shape (B, S, S, 3), preprocessed."""
        return self._call(self._normalize, images)

    def forward(self, inputs: Handle) -> Handle:
        """Return float32 logits of shape (B, num_classes) of normalised inputs, in inference mode."""
        return self._call(self._forward, inputs)

    def fetch(self, handles: Sequence[Handle]) -> list[npt.NDArray[np.float32]]:
        """Wait for the device and return the handles' values as float32 arrays on the host."""
        with self._failures():
            return [np.asarray(handle.numpy(), dtype=np.float32) for handle in handles]

    def synchronize(self) -> None:
        """Wait until the device has done all that was asked."""
        with self._failures():
            tf.test.experimental.sync_devices()

    def _call(self, function: Any, *given: Any) -> Handle:
        with self._failures(), tf.device(self._place):
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

    def _step(self, images: Any, labels: Any, loss_weights: Any, scalars: Any, seeds: Any) -> Any:
        for number, state in enumerate(self._network.seeds):
            state.assign(tf.stack([seeds[number], tf.zeros((), tf.int64)]))
        inputs = self._normalized(images)
        if self._network.frozen is not None:
            inputs = self._network.frozen(inputs, training=False)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self._trained)
            logits = tf.cast(self._network.trained(inputs, training=True), tf.float32)
            loss = tf.reduce_sum(self._cross_entropy(labels, logits) * loss_weights)
            scaled = loss if self._loss_scale is None else loss * self._loss_scale[0]
        gradients = tape.gradient(scaled, self._trained)
        gradients = [None if gradient is None else tf.convert_to_tensor(gradient) for gradient in gradients]
        if self._loss_scale is None:
            self._updates.apply(gradients, scalars)
        else:
            self._apply_scaled(gradients, scalars, *self._loss_scale)
        return loss

    def _cross_entropy(self, labels: Any, logits: Any) -> Any:
        """Return each image's cross-entropy; smoothing mixes the label with the uniform distribution."""
        smoothing = self._label_smoothing
        if not smoothing:
            return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        targets = tf.one_hot(labels, self._num_classes) * (1 - smoothing) + smoothing / self._num_classes
        return tf.nn.softmax_cross_entropy_with_logits(targets, logits)

    def _apply_scaled(self, gradients: list[Any], scalars: Any, scale: Any, steps: Any) -> None:
        """Update if all gradients are finite, and adapt the loss scale."""
        gradients = [None if gradient is None else gradient / scale for gradient in gradients]
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in gradients if g is not None])

        def update() -> Any:
            self._updates.apply(gradients, scalars)
            return tf.zeros(())

        tf.cond(finite, update, lambda: tf.zeros(()))
        grown = steps + 1 >= _GROWTH_STEPS
        scale.assign(tf.where(finite, tf.where(grown, scale * 2, scale), scale / 2))
        steps.assign(tf.where(finite & ~grown, steps + 1, 0.0))

    # state

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """Return copies of all weights and running statistics, trained or frozen, in a fixed order."""
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
            slots |= {"scaler/scale": self._loss_scale[0], "scaler/steps": self._loss_scale[1]}
        return slots

    def state(self, *, optimizer: bool) -> dict[str, npt.NDArray[Any]]:
        """Return copies of what training changes: weights and running statistics; the slots if asked."""
        with self._failures():
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
        with self._failures(), tf.device(self._place):
            for name, variable in variables.items():
                variable.assign(state[name])

    def peak_memory_bytes(self) -> int:
        """Return the allocator's peak since the engine was made (GPU), or the process's peak RSS (CPU)."""
        if self.device.kind == "cuda":
            return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
        return host.peak_bytes()

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        """Turn lack of memory into the outcome that says so."""
        try:
            yield
        except (tf.errors.ResourceExhaustedError, MemoryError) as error:
            raise RunFailure(Outcome.OOM, "Out of memory: use a smaller --batch-size or --size.") from error
        except tf.errors.InternalError as error:
            if "out of memory" not in str(error).lower():
                raise
            raise RunFailure(Outcome.OOM, "Out of memory: use a smaller --batch-size or --size.") from error


def _weights_hash(weights: Sequence[Any]) -> str:
    digest = hashlib.sha256()
    for weight in weights:
        digest.update(np.ascontiguousarray(weight.numpy()).tobytes())
    return digest.hexdigest()
