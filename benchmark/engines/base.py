"""The engine: all that the harness asks of a framework, in four parts: training, caching, explaining, keeping.

An engine runs one backbone on one device. It takes every choice and every random number from the harness, so
that the common loop, and with it the result, does not depend on the framework. ``Handle`` stands for whatever
the framework calls an array on its device; only the engine looks inside one.

What engines have in common is in :mod:`benchmark.engines.shared`: an engine that derives from ``SharedEngine`` there
may leave out all but training, and a run then does without the rest.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backbones import Backbone, Preprocessing
from benchmark import host
from benchmark.draws.augmentation import Draws
from benchmark.draws.randomness import part_seed
from benchmark.engines.freezing import FeatureSpec
from benchmark.recipe import Recipe
from benchmark.records.outcomes import Outcome, RunFailure

Handle = Any


@dataclass(frozen=True)
class Device:
    """Where the arithmetic happens.

    Args:
        kind: ``cpu`` or ``cuda``.
        name: the model, as the system calls it.
        memory_bytes: what the device has in all.
    """

    kind: str
    name: str
    memory_bytes: int


@dataclass(frozen=True)
class Gpu:
    """A GPU as a framework sees it: its name, and whether it computes in bfloat16 natively."""

    name: str
    bfloat16: bool


@dataclass(frozen=True)
class BuildSpec:
    """What an engine is asked to build.

    Args:
        backbone: the adapter.
        recipe: resolved, but for the ``auto`` of :class:`~benchmark.recipe.Execution`.
        num_classes: number of logits.
        size: side of the square input, in pixels.
        weights: ``None``, ``"imagenet"`` or the path of a file.
        seed: from which initial weights are drawn.
        init_from: file of all weights that another run of the same network left, which take the place of the initial.
    """

    backbone: Backbone
    recipe: Recipe
    num_classes: int
    size: int
    weights: Path | str | None
    seed: int
    init_from: Path | None = None


@dataclass(frozen=True)
class Network:
    """What was built.

    Args:
        stages: names in order; the last is the head.
        stages_verified: whether the stages, composed, were shown to equal the whole model.
        parameters, trainable_parameters: numbers of scalars.
        gmacs: 1e9 multiply-accumulates of convolutions and matrix products in one forward pass of one image.
        preprocessing: what is applied to the pixels.
        weights_loaded: ``none``, or where the weights came from.
        weights_hash: SHA-256 over the initial values of all weights, in order.
        execution: the resolved choices (precision, tf32, channels_last, compile), for the record.
        conventions: what is fixed explicitly because frameworks differ (BatchNorm's eps, ...), for the record.
        stages_unverified: why the stages are not verified, one sentence; empty where they are.
        trainable_names: names, as in :meth:`Engine.weights`, of the weights that the optimizer has.
        library_preprocessing: what the network's library says its input must be, where it says so.
        layout_is_free: whether :meth:`Engine.set_channels_last` may choose.
        thread_counts: numbers of threads among which :meth:`Engine.set_threads` may choose, the usual first; empty
            where the number is fixed.
        first_layer_input: mean and standard deviation of what reaches the first layer with weights, for a picture
            of evenly spread pixel values; ``None`` where the layer can't be watched.
    """

    stages: tuple[str, ...]
    stages_verified: bool
    parameters: int
    trainable_parameters: int
    gmacs: float
    preprocessing: Preprocessing
    weights_loaded: str
    weights_hash: str
    execution: Mapping[str, str]
    conventions: Mapping[str, str]
    stages_unverified: str = ""
    trainable_names: tuple[str, ...] = ()
    library_preprocessing: Preprocessing | None = None
    first_layer_input: tuple[float, float] | None = None
    layout_is_free: bool = False
    thread_counts: tuple[int, ...] = ()


@dataclass(frozen=True)
class StepInput:
    """One optimisation step, fully determined.

    Args:
        images: uint8 handle of shape (B, S, S, 3); float32 in the same levels where draws overflow; with
            ``from_features`` features of shape (B, *shape) in their place.
        labels: int64, shape (B,).
        loss_weights: float32, shape (B,); the loss is their product with the images' cross-entropies, summed,
            so that class weights and their normalisation are the harness's.
        learning_rate: of this step, for factor 1.
        step: from 1, over all epochs; Adam's bias correction needs it.
        seed: of all that is random inside the network in this step (dropout, drop-path), 0 to 2**31 - 1.
        parts: the batch is computed in so many parts of nearly equal size, whose gradients add up to the step's.
        ema_decay: share of the old EMA of the weights in the new one, where the recipe has an EMA.
        from_features: whether the step begins behind the stages of :meth:`Engine.feature_spec`.
    """

    images: Handle
    labels: npt.NDArray[np.int64]
    loss_weights: npt.NDArray[np.float32]
    learning_rate: float
    step: int
    seed: int
    parts: int = 1
    ema_decay: float = 0.0
    from_features: bool = False

    def cuts(self) -> list[tuple[slice, int]]:
        """Return where each part lies in the batch, and the seed of what is random in it."""
        ends = np.linspace(0, len(self.labels), self.parts + 1).astype(int)
        places = [slice(int(start), int(end)) for start, end in pairwise(ends) if end > start]
        return [(place, part_seed(self.seed, number)) for number, place in enumerate(places)]


class NotKept(Exception):
    """Says in one clause why a trained network can't be kept, or gives no features."""


@dataclass(frozen=True)
class SavedNetwork:
    """How a library reads the files that :meth:`Engine.save_network` wrote.

    Args:
        files: names of the files, that of the library's own network first.
        reader: ``timm`` (``create_model``, then ``load_state_dict(strict=True)``), ``keras``
            (``keras.models.load_model``) or ``torch`` (``load_state_dict`` of the module that the adapter builds).
        arguments: of ``timm.create_model``; empty for other readers.
        head: a new head of the recipe's, where it does not stand in the place of the library's own; empty where all
            is in one file. ``method`` of the network gives its input; where none does it is empty, and TumorBoard
            alone can put the two together. ``pooling``, ``channels_first`` and ``prefix_tokens`` are of
            :class:`~benchmark.engines.torch.head.Pooling`; ``layers`` are the names of its dense layers in
            ``head.safetensors``, with a ReLU between two.
        licence: of the library's pretrained weights, as the library names it; empty where it does not.
    """

    files: tuple[str, ...]
    reader: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    head: Mapping[str, Any] = field(default_factory=dict)
    licence: str = ""


@dataclass(frozen=True)
class ExportedGraph:
    """What an exported file computes. The size of the batch is free.

    Args:
        whole: from uint8 images, shape (B, S, S, 3), to probabilities, float32 of shape (B, C); else from normalised
            input, float32 in the network's layout, to logits.
        temperature: by which logits are divided before the softmax.
    """

    whole: bool
    temperature: float = 1.0


class Engine(ABC):
    """An engine, made by :func:`benchmark.engines.create`. What an engine has no part in, it leaves out.

    By itself it computes on a CPU, and neither compiles, chooses a layout nor keeps a network. Every method raises
    ``RunFailure`` where the run must end with an outcome other than ``error``.
    """

    framework: str  # name of the engine in the table: "torch", "tensorflow"
    device: Device

    @abstractmethod
    def build(self, spec: BuildSpec) -> Network:
        """Build, initialise or load, and place the network; prepare the optimizer. Once per engine."""

    def set_compile(self, on: bool) -> None:
        """Switch the framework's compiler for the steps that follow; weights and optimizer are untouched."""
        if on:
            raise RunFailure(
                Outcome.UNSUPPORTED, f"The engine {self.framework} has no compiler: set execution.compile = 'off'."
            )

    def set_channels_last(self, on: bool) -> None:  # noqa: B027
        """Choose the layout of feature maps, where :attr:`Network.layout_is_free`; values are untouched."""

    def set_threads(self, count: int) -> None:  # noqa: B027
        """Let so many threads compute one operation, where :attr:`Network.thread_counts` offers a choice."""

    @abstractmethod
    def assert_frozen(self) -> None:
        """Raise ``RunFailure`` where frozen layers are not in inference mode, or their statistics have moved."""

    # data: uint8 in, handles out
    @abstractmethod
    def upload(self, pixels: npt.NDArray[Any]) -> Handle:
        """Put uint8 images of shape (B, S, S, 3), or features of shape (B, *shape), on the device.

        A CPU may compute from the array itself, which therefore must not be written to afterwards.
        """

    @abstractmethod
    def gather(self, images: Handle, positions: npt.NDArray[np.int64]) -> Handle:
        """Return the images, or features, at ``positions`` of an uploaded array, on the device."""

    def free_bytes(self) -> int:
        """Return the device memory that is free now; 0 on a CPU, where keeping a copy gains nothing."""
        return 0

    @abstractmethod
    def augment(self, images: Handle, draws: Draws) -> Handle:
        """Return the images varied as drawn (:mod:`benchmark.draws.augmentation`): uint8 to uint8.

        Draws that overflow give float32.
        """

    # arithmetic
    @abstractmethod
    def train_step(self, step: StepInput) -> Handle:
        """Do one optimisation step; return the loss (a scalar handle) without waiting for the device.

        The loss is that of the images alone: penalties of weights are left out.
        """

    @abstractmethod
    def normalize(self, images: Handle) -> Handle:
        """Return the network's input for uint8 images: float32, preprocessed, in the network's layout."""

    @abstractmethod
    def forward(self, inputs: Handle) -> Handle:
        """Return float32 logits of shape (B, num_classes) of normalised inputs, in inference mode."""

    def forward_images(self, images: Handle) -> Handle:
        """Return what :meth:`forward` gives for uint8 images: normalised and computed in one."""
        return self.forward(self.normalize(images))

    @abstractmethod
    def fetch(self, handles: Sequence[Handle]) -> list[npt.NDArray[Any]]:
        """Wait for the device and return the handles' values as arrays on the host.

        They are float32, but images (uint8) and features (of their own dtype).
        """

    def synchronize(self) -> None:  # noqa: B027
        """Wait until the device has done all that was asked."""

    # state
    @abstractmethod
    def state(self, *, optimizer: bool) -> dict[str, npt.NDArray[Any]]:
        """Return copies of what training changes: weights, running statistics.

        Where the recipe has an EMA of the weights, they are its; with ``optimizer`` they are the weights as trained,
        with the EMA and the optimizer's slots beside them.
        """

    @abstractmethod
    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """Return copies of all weights and running statistics, trained or frozen, in a fixed order.

        They are those of :meth:`forward`: the EMA, where the recipe has one.
        """

    @abstractmethod
    def load_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Put back what :meth:`state` returned; without the optimizer's slots, an EMA starts from it.

        Raises:
            ValueError: a state of another network.
        """

    def peak_memory_bytes(self) -> int:
        """Return the device allocator's peak since the engine was made (GPU), or the process's peak RSS (CPU)."""
        return host.peak_bytes()

    # keeping the outputs of frozen stages
    @abstractmethod
    def feature_spec(self) -> FeatureSpec:
        """Return what of the network may be computed once for each image: the frozen stages up to the last boundary
        that a single array of floats crosses; where all but the recipe's own head is frozen, its pooling too.

        Raises:
            NotCacheable: nothing is frozen, or what is frozen does not give each image an output of its own.
        """

    def compute_features(self, inputs: Handle) -> Handle:
        """Return the features, shape (B, *shape), of normalised inputs; in inference mode, without gradients."""
        raise NotImplementedError

    def forward_from_features(self, features: Handle) -> Handle:
        """Return what :meth:`forward` does, from features on."""
        raise NotImplementedError

    # Grad-CAM
    @abstractmethod
    def cam_stage(self) -> str:
        """Return the name of the stage whose output Grad-CAM explains.

        Raises:
            NoFeatureMap: the network has none; says why.
        """

    def features_and_gradients(self, inputs: Handle, classes: npt.NDArray[np.int64]) -> tuple[Handle, Handle]:
        """Return what :meth:`cam_stage` gives for normalised inputs, and the gradients with respect to it.

        In inference mode, each float32 of shape (B, H, W, K). The gradients are of each image's logit of its class
        in ``classes``, int64 of shape (B,).

        Raises:
            NoFeatureMap: the network has no such stage.
        """
        raise NotImplementedError

    # keeping a trained network and using it
    def forward_with_features(self, images: Handle) -> tuple[Handle, Handle]:
        """Return what :meth:`forward_images` does, and what reaches the head, its mean over all places: float32 of
        shape (B, K).

        Raises:
            NotKept: the head can't be told from the rest.
        """
        raise NotKept(f"the engine {self.framework} gives no features")

    def save_network(self, folder: Path) -> SavedNetwork:
        """Write the whole network, frozen stages included, under the names of its library; weights are those of
        :meth:`forward`, and float32.

        Args:
            folder: an empty one.

        Raises:
            NotKept: the engine can't.
            OSError: the disk is full.
        """
        raise NotKept(f"the engine {self.framework} keeps no trained networks")

    def load_network(self, folder: Path) -> None:
        """Put the weights that :meth:`save_network` wrote into the network, which was built anew to hold them.

        Raises:
            NotKept: they are of another network.
        """
        raise NotKept(f"the engine {self.framework} keeps no trained networks")

    def export(self, target: str, path: Path, graph: ExportedGraph) -> None:
        """Write the network, in inference mode, as a file or folder that another runtime computes.

        Args:
            target: one of :data:`benchmark.export_targets.TARGETS`.
            path: where to; a file, or a folder that is not there yet.
            graph: what is inside.

        Raises:
            NotKept: the engine, or the network, can't.
        """
        raise NotKept(f"the engine {self.framework} exports no networks")
