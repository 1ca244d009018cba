"""The TensorFlow engine: Keras networks trained by a step of our own, one ``tf.function`` from pixels to update."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.engines.base import BuildSpec, ExportedGraph, Handle, Network, NotKept, SavedNetwork, StepInput
from benchmark.engines.shared import (
    Arrays,
    SharedEngine,
    assert_trainable,
    even_pixels,
    hash_of_values,
    random_pixels,
    resolve_precision,
)
from benchmark.engines.tensorflow.quiet_import import keras, tf

# isort: split
# What follows imports them too, and comes second.
from benchmark.engines.keras.network import Arithmetic, build_network, count_scalars, named_weights
from benchmark.engines.keras.stages.graph import first_layer_input
from benchmark.engines.keras.stages.verification import Backend
from benchmark.engines.tensorflow.augment import Augmenter
from benchmark.engines.tensorflow.batch_norm import set_batch_norm
from benchmark.engines.tensorflow.device import free_gpu_bytes, open_device, threads, visible_gpu
from benchmark.engines.tensorflow.ema import WeightEma
from benchmark.engines.tensorflow.errors import failures
from benchmark.engines.tensorflow.feature_cache import TensorFlowFrozenStages
from benchmark.engines.tensorflow.grad_cam import TensorFlowGradCam
from benchmark.engines.tensorflow.macs import count_macs
from benchmark.engines.tensorflow.optimizer import LossScale, TensorFlowOptimizer
from benchmark.engines.tensorflow.steps import Learning, Pixels, Steps, traced_forward
from benchmark.engines.tensorflow.tracing import forgotten_custom_gradients


def _gradients(loss: Any, variables: Sequence[Any]) -> Sequence[Any]:
    with tf.GradientTape() as tape:
        value = loss()
    gradients: Sequence[Any] = tape.gradient(value, [variable.value for variable in variables])
    return gradients


# Stages are verified on the CPU: a GPU may choose another algorithm for the second call of a kernel.
_BACKEND = Backend(_gradients, scope=lambda: tf.device("/CPU:0"))
_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


class TensorFlowEngine(SharedEngine):
    """See :class:`benchmark.engines.base.Engine` for what each method does.

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
        super().__init__(tf32=tf32, deterministic=deterministic)
        if keras.backend.backend() != "tensorflow":
            raise RuntimeError(f"Keras runs on {keras.backend.backend()} in this process already")
        tf.config.experimental.enable_tensor_float_32_execution(tf32)
        if deterministic:
            tf.config.experimental.enable_op_determinism()
        self.device, self._place = open_device(device)
        tf.get_logger().setLevel("ERROR")  # it takes the engines of one process for retracing
        if self.device.kind == "cuda":
            tf.config.experimental.reset_memory_stats("GPU:0")

    # building

    def build(self, spec: BuildSpec) -> Network:
        with failures(), tf.device(self._place), forgotten_custom_gradients():
            return self._build(spec)

    def _build(self, spec: BuildSpec) -> Network:
        recipe, self._size = spec.recipe, spec.size
        precision = resolve_precision(recipe.execution.precision, self.device.kind, visible_gpu)
        tf.random.set_seed(spec.seed)
        network = build_network(spec, Arithmetic(_POLICIES[precision], _BACKEND, set_batch_norm))
        network.freeze()
        self._network, self._cam_stage = network, spec.backbone.cam_stage
        self._pixel_type = tf.float32 if recipe.augmentation.brightness_bug else tf.uint8
        trainable = network.trained.trainable_variables
        assert_trainable(spec, len(trainable))
        trained = [variable.value for variable in trainable]
        by_id = network.learning_rate_factors(spec)
        factors = [by_id.get(id(variable), 1.0) for variable in trainable]
        self._optimizer = TensorFlowOptimizer(recipe.optimizer, trained, factors, recipe.regularization)
        self._loss_scale = LossScale() if precision == "float16" else None
        self._pixels = Pixels(network.preprocessing)
        self._weights = named_weights(network.stages)
        self._start_from_run(spec)
        names = {id(weight): name for name, weight in self._weights.items()}
        self._trained_names = tuple(names[id(variable)] for variable in trainable)
        variables = {name: weight.value for name, weight in self._trained_weights().items()}
        self._ema: WeightEma | None = WeightEma(variables) if recipe.ema.decay else None
        self._fixed = self._statistics()
        self._learning = Learning(
            network, self._optimizer, self._ema, self._loss_scale, recipe.loss, spec.num_classes
        )
        self._steps: dict[tuple[bool, bool], Steps] = {}
        self._forwards: dict[tuple[str, bool], Any] = {}
        self._normalize = tf.function(self._pixels.normalized, autograph=False, reduce_retracing=True)
        self.set_compile(False)
        graph = self._traced_forward("logits").get_concrete_function().graph
        return Network(
            stages=network.stages.names,
            stages_verified=not network.unverified,
            parameters=network.parameters,
            trainable_parameters=count_scalars(trained),
            gmacs=count_macs(graph) / 1e9,
            preprocessing=network.preprocessing,
            weights_loaded=network.weights_loaded,
            weights_hash=hash_of_values(weight.numpy() for weight in network.stages.whole.weights),
            execution=self._execution(recipe.execution, precision=precision, channels_last=True, threads=threads()),
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
        inputs = self._pixels.normalized(tf.convert_to_tensor(even_pixels(self._size)))
        values = np.asarray(model(inputs, training=False), dtype=np.float64)
        return float(values.mean()), float(values.std())

    def set_compile(self, on: bool) -> None:
        """Switch XLA for the steps that follow; weights and optimizer are untouched."""
        self._compiled = on

    def _step_function(self, from_features: bool) -> Steps:
        """Return the training step from images or from features."""
        key = from_features, self._compiled
        if key not in self._steps:
            begin: Any = self._begin
            trained = self._network.trained
            signature = tf.TensorSpec((None, self._size, self._size, 3), self._pixel_type)
            if from_features:
                frozen = self._frozen_stages
                begin, trained, signature = frozen.begin, frozen.trained, frozen.signature
            seeds = len(self._network.seeds)
            self._steps[key] = Steps(self._learning, begin, trained, signature, seeds, compiled=self._compiled)
        return self._steps[key]

    def _traced_forward(self, result: str) -> Any:
        """Return what gives ``logits`` or ``features`` for normalised inputs, or logits for features (``rest``) or
        ``images``.
        """
        key = result, self._compiled
        if key not in self._forwards:
            function: Any = self._logits
            compiled = self._compiled
            signature = tf.TensorSpec((None, self._size, self._size, 3), tf.float32)
            if result == "features":
                function = self._frozen_stages.features
            elif result == "rest":
                function, signature = self._frozen_stages.logits, self._frozen_stages.signature
            elif result == "images":  # as a call of its own, normalising takes a tenth of a small network's time
                logits, compiled = self._traced_forward("logits"), False  # that function is compiled or not
                function = lambda images: logits(self._pixels.normalized(images))  # noqa: E731
                signature = tf.TensorSpec(signature.shape, tf.uint8)
            self._forwards[key] = traced_forward(function, signature, compiled=compiled)
        return self._forwards[key]

    def _statistics(self) -> dict[str, npt.NDArray[Any]]:
        """Return the running statistics of frozen layers."""
        learned = {id(variable) for variable in self._network.stages.whole.trainable_variables}
        layers = (layer for layer in self._network.stages.whole._flatten_layers() if not layer.trainable)
        frozen = {id(weight) for layer in layers for weight in layer.weights if "moving" in weight.name} - learned
        return self._values({name: weight for name, weight in self._weights.items() if id(weight) in frozen})

    def _statistics_moved(self) -> list[str]:
        now = self._statistics()
        # a layer that has become trainable is no longer among them
        moved = [name for name, value in self._fixed.items() if name not in now or (now[name] != value).any()]
        return self._network.in_training() + moved

    # data

    def upload(self, pixels: npt.NDArray[Any]) -> Handle:
        with failures(), tf.device(self._place):
            return tf.convert_to_tensor(pixels)

    def gather(self, images: Handle, positions: npt.NDArray[np.int64]) -> Handle:
        with failures(), tf.device(self._place):
            return tf.gather(images, positions)

    def free_bytes(self) -> int:
        return free_gpu_bytes() if self.device.kind == "cuda" else 0

    @cached_property
    def _vary(self) -> Any:
        return Augmenter(self._size)

    def augment(self, images: Handle, draws: Any) -> Handle:
        with failures(), tf.device(self._place):
            return super().augment(images, draws)

    # arithmetic

    def train_step(self, step: StepInput) -> Handle:
        self._show_ema(False)
        if step.parts > 1:
            with failures(), tf.device(self._place):
                self._learning.make_sums()
        return self._step_function(step.from_features)(step, self._call)

    def _show_ema(self, ema: bool) -> None:
        if self._ema is not None:
            with failures(), tf.device(self._place):
                self._ema.show(ema)

    def normalize(self, images: Handle) -> Handle:
        return self._call(self._normalize, images)

    def forward(self, inputs: Handle) -> Handle:
        self._show_ema(True)
        return self._call(self._traced_forward("logits"), inputs)

    def forward_images(self, images: Handle) -> Handle:
        self._show_ema(True)
        return self._call(self._traced_forward("images"), images)

    @cached_property
    def _frozen_stages(self) -> TensorFlowFrozenStages:
        with failures(), tf.device(self._place), forgotten_custom_gradients():
            example = self._pixels.normalized(tf.convert_to_tensor(random_pixels(3, self._size)))
            return TensorFlowFrozenStages(self._network, example)

    def compute_features(self, inputs: Handle) -> Handle:
        return self._call(self._traced_forward("features"), inputs)

    def forward_from_features(self, features: Handle) -> Handle:
        self._show_ema(True)
        return self._call(self._traced_forward("rest"), features)

    def forward_with_features(self, images: Handle) -> tuple[Handle, Handle]:
        if not self._network.stages.separable or len(self._network.stages.names) < 2:
            raise NotKept("its head can't be told from the rest, so that there are no features")
        self._show_ema(True)
        logits, features = self._call(self._with_features, images)
        return logits, features

    @cached_property
    def _with_features(self) -> Any:
        before, after = self._network.stages.boundaries[-2:]
        both = keras.Model(self._network.stages.boundaries[0], [before, after])

        def compute(images: Any) -> Any:
            x, logits = both(self._pixels.normalized(images), training=False)
            x = tf.cast(x, tf.float32)
            return tf.cast(logits, tf.float32), tf.reduce_mean(x, tuple(range(1, x.shape.rank - 1)))

        return traced_forward(compute, tf.TensorSpec((None, self._size, self._size, 3), tf.uint8), compiled=False)

    def save_network(self, folder: Path) -> SavedNetwork:
        from benchmark.engines.keras.saved import save

        self._show_ema(True)
        example = self._pixels.normalized(tf.convert_to_tensor(random_pixels(2, self._size)))
        with failures(), tf.device(self._place), forgotten_custom_gradients():
            return save(self._network.stages.whole, folder, example.numpy())

    def load_network(self, folder: Path) -> None:
        """Do nothing: the adapter of a kept Keras network reads its file, which holds its weights."""

    def export(self, target: str, path: Path, graph: ExportedGraph) -> None:
        from benchmark.engines.tensorflow.export import ExportedNetwork, export

        self._show_ema(True)
        whole = self._network.stages.whole
        with failures(), forgotten_custom_gradients():
            export(target, path, ExportedNetwork(whole, self._logits, self._pixels.normalized, graph, self._size))

    @cached_property
    def _cam(self) -> TensorFlowGradCam:
        with failures(), tf.device(self._place):
            return TensorFlowGradCam(self._network.stages, self._cam_stage, self._size)

    def features_and_gradients(self, inputs: Handle, classes: npt.NDArray[np.int64]) -> tuple[Handle, Handle]:
        function = self._cam.function
        self._show_ema(True)
        features, gradients = self._call(function, inputs, classes)
        return features, gradients

    def fetch(self, handles: Sequence[Handle]) -> list[npt.NDArray[Any]]:
        with failures():
            return [np.asarray(handle.numpy()) for handle in handles]

    def synchronize(self) -> None:
        with failures():
            tf.test.experimental.sync_devices()

    def _call(self, function: Any, *inputs: Any) -> Handle:
        with failures(), tf.device(self._place):
            if function.experimental_get_tracing_count():
                return function(*inputs)
            with forgotten_custom_gradients():
                return function(*inputs)

    def _begin(self, images: Any) -> Any:
        """Return what the trained stages take for uint8 images."""
        inputs = self._pixels.normalized(images)
        return inputs if self._network.frozen is None else self._network.frozen(inputs, training=False)

    def _logits(self, inputs: Any) -> Any:
        return tf.cast(self._network.stages.whole(inputs, training=False), tf.float32)

    # state

    def _all_weights(self) -> dict[str, Any]:
        return self._weights

    def _trained_weights(self) -> dict[str, Any]:
        changing = {id(weight) for weight in self._network.trained.weights}
        return {name: weight for name, weight in self._weights.items() if id(weight) in changing}

    def _slots(self) -> dict[str, Any]:
        slots = {
            f"optimizer/{name}/{weight}": slot
            for name, values in self._optimizer.slots.items()
            for weight, slot in zip(self._trained_names, values, strict=True)
        }
        for others in (self._loss_scale, self._ema):
            slots |= {} if others is None else others.slots
        return slots

    def _values(self, tensors: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
        with failures():
            return {name: np.array(variable.numpy()) for name, variable in tensors.items()}

    def _assign(self, tensors: Mapping[str, Any], values: Arrays) -> None:
        with failures(), tf.device(self._place):
            for name, variable in tensors.items():
                variable.assign(values[name])

    def peak_memory_bytes(self) -> int:
        if self.device.kind == "cuda":
            return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])
        return super().peak_memory_bytes()
