"""The engine: all that the harness asks of a framework.

An engine runs one backbone on one device. It takes every choice and every random number from the harness, so
that the common loop, and with it the result, does not depend on the framework. ``Handle`` stands for whatever
the framework calls an array on its device; only the engine looks inside one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from backbones import Backbone, Preprocessing
from benchmark.draws.augmentation import Draws
from benchmark.draws.randomness import part_seed
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
class Assignment:
    """What an engine is asked to build.

    Args:
        backbone: the adapter.
        recipe: resolved, but for the ``auto`` of :class:`~benchmark.recipe.Execution`.
        num_classes: number of logits.
        size: side of the square input, in pixels.
        weights: ``None``, ``"imagenet"`` or the path of a file.
        seed: from which initial weights are drawn.
        init_from: all weights that another run of the same network left, which then take the place of these.
    """

    backbone: Backbone
    recipe: Recipe
    num_classes: int
    size: int
    weights: Path | str | None
    seed: int
    init_from: Path | None = None


def native_dropout(assignment: Assignment) -> float:
    """Return the dropout that the adapter must build into its own head: 0 where the recipe's head takes its place.

    Raises:
        RunFailure: ``unsupported`` where the adapter has no place for it.
    """
    head = assignment.recipe.head
    if head.kind != "native" or not head.dropout:
        return 0.0
    if not assignment.backbone.takes_dropout:
        raise RunFailure(
            Outcome.UNSUPPORTED,
            f"The native head of {assignment.backbone.name} takes no dropout: use head.kind = 'linear' or "
            "'dense256'.",
        )
    return head.dropout


def draws_weights(assignment: Assignment) -> bool:
    """Return whether initial weights are drawn by the recipe's rule: where it has one and no weights come."""
    return assignment.recipe.initialization == "he" and assignment.weights is None


def weights_loaded(assignment: Assignment, built: str) -> str:
    """Return where initial weights came from, for the record: what the adapter built with, or another run."""
    return built if assignment.init_from is None else f"run {assignment.init_from.parent.name}"


@dataclass(frozen=True)
class Network:
    """What was built.

    Args:
        stages: names in order; the last is the head.
        stages_proven: whether the stages, composed, were shown to equal the whole model.
        parameters, trainable_parameters: numbers of scalars.
        gmacs: 1e9 multiply-accumulates of convolutions and matrix products in one forward pass of one image.
        preprocessing: what is applied to the pixels.
        weights_loaded: ``none``, or where the weights came from.
        weights_hash: SHA-256 over the initial values of all weights, in order.
        execution: the resolved choices (precision, tf32, channels_last, compile), for the record.
        conventions: what is fixed explicitly because frameworks differ (BatchNorm's eps, ...), for the record.
        stages_doubt: why the stages are not proven, one sentence; empty where they are.
        trainable_names: names, as in :meth:`Engine.weights`, of the weights that the optimiser has.
        library_preprocessing: what the network's library says its input must be, where it says so.
        layout_is_free: whether :meth:`Engine.set_channels_last` may choose.
        first_layer_input: mean and standard deviation of what reaches the first layer with weights, for a picture
            of evenly spread pixel values; ``None`` where the layer can't be watched.
    """

    stages: tuple[str, ...]
    stages_proven: bool
    parameters: int
    trainable_parameters: int
    gmacs: float
    preprocessing: Preprocessing
    weights_loaded: str
    weights_hash: str
    execution: Mapping[str, str]
    conventions: Mapping[str, str]
    stages_doubt: str = ""
    trainable_names: tuple[str, ...] = ()
    library_preprocessing: Preprocessing | None = None
    first_layer_input: tuple[float, float] | None = None
    layout_is_free: bool = False


class NoPrefix(Exception):
    """Says in one clause why nothing of a network may be computed once and kept."""


@dataclass(frozen=True)
class Prefix:
    """The frozen stages whose output for an image never changes while the others are trained.

    Args:
        stages: their names, in order.
        shape: of what is kept for one image, its *row*.
        dtype: of a row, by NumPy's name; bfloat16, which NumPy lacks, is kept as the bits of ``int16``.
        weights_hash: SHA-256 over the weights and running statistics of these stages.
    """

    stages: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    weights_hash: str


@dataclass(frozen=True)
class StepInput:
    """One optimisation step, fully determined.

    Args:
        images: uint8 handle of shape (B, S, S, 3); float32 in the same levels where draws overflow; with
            ``from_rows`` rows of the frozen prefix in their place.
        labels: int64, shape (B,).
        loss_weights: float32, shape (B,); the loss is their product with the images' cross-entropies, summed,
            so that class weights and their normalisation are the harness's.
        learning_rate: of this step, for factor 1.
        step: from 1, over all epochs; Adam's bias correction needs it.
        seed: of all that is random inside the network in this step (dropout, drop-path), 0 to 2**31 - 1.
        parts: the batch is computed in so many parts of nearly equal size, whose gradients add up to the step's.
        average_decay: share of the old average of the weights in the new one, where the recipe has one.
        from_rows: whether the step begins behind :meth:`Engine.prefix`.
    """

    images: Handle
    labels: npt.NDArray[np.int64]
    loss_weights: npt.NDArray[np.float32]
    learning_rate: float
    step: int
    seed: int
    parts: int = 1
    average_decay: float = 0.0
    from_rows: bool = False

    def cuts(self) -> list[tuple[slice, int]]:
        """Return where each part lies in the batch, and the seed of what is random in it."""
        ends = np.linspace(0, len(self.labels), self.parts + 1).astype(int)
        places = [slice(int(start), int(end)) for start, end in pairwise(ends) if end > start]
        return [(place, part_seed(self.seed, number)) for number, place in enumerate(places)]


def out_of_memory() -> RunFailure:
    """Return what an engine raises where a device, or the machine, has too little memory."""
    return RunFailure(Outcome.OOM, "Out of memory: use a smaller --batch-size or --size.")


class Engine(Protocol):
    """See the module. Made by :func:`benchmark.engines.create`.

    Every method raises ``RunFailure`` where the run must end with an outcome other than ``error``.
    """

    framework: str  # what executes: "torch" or "tensorflow"
    device: Device

    def build(self, assignment: Assignment) -> Network:
        """Build, initialise or load, and place the network; prepare the optimiser. Once per engine."""

    def set_compile(self, on: bool) -> None:
        """Switch torch.compile or XLA for the steps that follow; weights and optimiser are untouched."""

    def set_channels_last(self, on: bool) -> None:
        """Choose the layout of feature maps, where :attr:`Network.layout_is_free`; values are untouched."""

    def assert_frozen(self) -> None:
        """Raise ``RunFailure`` where frozen layers are not in inference mode, or their statistics have moved."""

    # data: uint8 in, handles out
    def upload(self, pixels: npt.NDArray[Any]) -> Handle:
        """Put uint8 images of shape (B, S, S, 3), or rows of the frozen prefix, on the device.

        A CPU may compute from the array itself, which therefore must not be written to afterwards.
        """

    def gather(self, images: Handle, positions: npt.NDArray[np.int64]) -> Handle:
        """Return the images, or rows, at ``positions`` of an uploaded array, on the device."""

    def free_bytes(self) -> int:
        """Return the device memory that is free now; 0 on a CPU, where keeping a copy gains nothing."""

    def augment(self, images: Handle, draws: Draws) -> Handle:
        """Return the images varied as drawn (:mod:`benchmark.draws.augmentation`): uint8 to uint8.

        Draws that overflow give float32.
        """

    # arithmetic
    def train_step(self, step: StepInput) -> Handle:
        """Do one optimisation step; return the loss (a scalar handle) without waiting for the device.

        The loss is that of the images alone: penalties of weights are left out.
        """

    def normalize(self, images: Handle) -> Handle:
        """Return the network's input for uint8 images: preprocessed, in the framework's layout."""

    def forward(self, inputs: Handle) -> Handle:
        """Return float logits of shape (B, num_classes) of normalised inputs, in inference mode."""

    def prefix(self) -> Prefix:
        """Return what of the network may be computed once for each image: the frozen stages up to the last boundary
        that a single array of floats crosses; where all but the recipe's own head is frozen, its pooling too.

        Raises:
            NoPrefix: nothing is frozen, or what is frozen does not give each image an output of its own.
        """

    def run_prefix(self, inputs: Handle) -> Handle:
        """Return the rows, shape (B, *shape), of normalised inputs; in inference mode, without gradients."""

    def forward_rest(self, rows: Handle) -> Handle:
        """Return what :meth:`forward` does, from rows on."""

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

    def fetch(self, handles: Sequence[Handle]) -> list[npt.NDArray[Any]]:
        """Wait for the device and return the handles' values as arrays on the host: float32, but images and rows."""

    def synchronize(self) -> None:
        """Wait until the device has done all that was asked."""

    # state
    def state(self, *, optimizer: bool) -> dict[str, npt.NDArray[Any]]:
        """Return copies of what training changes: weights, running statistics.

        Where the recipe averages weights, they are the averages; with ``optimizer`` they are the weights as trained,
        with the averages and the optimiser's slots beside them.
        """

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """Return copies of all weights and running statistics, trained or frozen, in a fixed order.

        They are those of :meth:`forward`: averages, where the recipe has them.
        """

    def load_state(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Put back what :meth:`state` returned; without the optimiser's slots, averages start from it."""

    def peak_memory_bytes(self) -> int:
        """Return the device allocator's peak since the engine was made (GPU), or the process's peak RSS (CPU)."""
