"""What the torch engine trains: a network as a list of stages, from a torch module or from Keras on torch.

The engine knows nothing else of a network. A torch module and a Keras model differ in who switches to training
mode, in the layout of the input and in where dropout takes its randomness from; all three are asked for here.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from backbones import Preprocessing
from benchmark.engines.base import SavedNetwork


@dataclass(frozen=True)
class TorchStage:
    """One step of the forward pass.

    Args:
        name: unique within the network.
        call: ``call(x, training)`` returns the stage's output; ``training`` is a plain bool. It must not change
            ``x``. With ``training=False`` it is in inference mode whatever the rest does: BatchNorm included.
        parameters: what the optimiser may change, by names unique within the network, in a fixed order.
        buffers: returns what else training changes (running statistics), by names unique within the network.
            Called anew each time, because a module may put another tensor in its place.
    """

    name: str
    call: Callable[[Tensor, bool], Tensor]
    parameters: Mapping[str, torch.nn.Parameter]
    buffers: Callable[[], Mapping[str, Tensor]] = field(default=dict)


@dataclass(kw_only=True, eq=False)
class TorchNetwork(ABC):
    """A network, built, initialised or loaded, its head replaced as the recipe asks, on its device.

    Whoever builds it also sets the recipe's BatchNorm momentum and variance on every BatchNorm layer, and raises
    ``RunFailure`` (``missing_weights``, ``unsupported``) where it can't be built as asked.

    Args:
        stages: in order; the last is the head.
        split_head: the same, but that a head which the recipe made of a pooling and layers is two: what comes from
            the pooling is small, and as fixed as what goes into it.
        first_trainable: number of the first stage in which something is trained.
        stages_unverified: why the stages, composed, were not shown to equal the whole model, one sentence; empty
            where they were.
        modules: those that hold the weights, each once.
        layout: of the input of the first stage.
        channels_last: whether an ``nchw`` input is wanted in torch's channels_last memory format.
        preprocessing: what the pixels become before the first stage.
        library_preprocessing: what the network's library says its input must be, where it says so.
        weights_loaded: ``none``, or where the weights came from.
        conventions: what was fixed explicitly because frameworks differ, for the record.
        fixed_parameters: number of scalars that are frozen layer by layer, and so are no stage's parameters.
    """

    stages: tuple[TorchStage, ...]
    split_head: tuple[TorchStage, ...]
    first_trainable: int
    stages_unverified: str
    modules: tuple[torch.nn.Module, ...]
    layout: Literal["nchw", "nhwc"]
    channels_last: bool
    preprocessing: Preprocessing
    library_preprocessing: Preprocessing | None
    weights_loaded: str
    conventions: Mapping[str, str]
    fixed_parameters: int = 0

    def set_training(self, first_trainable: int | None) -> None:  # noqa: B027
        """Prepare stages from ``first_trainable`` on for calls with ``training=True``, all others for ``False``.

        ``None`` prepares all for inference. A torch module switches ``train()`` and ``eval()`` here and its
        stages rely on it; a Keras model, which takes ``training`` at each call, does nothing. The engine calls
        it when the mode changes, not at each step.
        """

    @abstractmethod
    def frozen_in_training(self, first_trainable: int) -> list[str]:
        """Return the names of layers before a stage, or otherwise frozen, that are not in inference mode."""

    def fixed_inside(self) -> Mapping[str, Tensor]:
        """Return what is frozen layer by layer, running statistics included, by name; nothing where stages are."""
        return {}

    @abstractmethod
    def begin_step(self, seed: int, batch_size: int) -> None:
        """Make all that is random inside the network in the calls that follow a function of ``seed``."""

    def end_step(self) -> None:  # noqa: B027
        """Do what remains after the forward and backward pass of a training step, if anything does."""

    @abstractmethod
    def first_kernel_input(self, inputs: Tensor) -> Tensor | None:
        """Return what reaches the first layer with a kernel for normalised inputs; ``None`` if it can't be seen."""

    @abstractmethod
    def save(self, folder: Path, example: Tensor) -> SavedNetwork:
        """Write all weights as the network's library reads them; ``example`` is two normalised inputs.

        Called in inference mode. Raises :class:`~benchmark.engines.base.NotKept` where it can't be.
        """

    def load(self, folder: Path) -> None:  # noqa: B027
        """Fill the network from what :meth:`save` wrote; raises ``NotKept`` where that is of another network. Nothing
        is to be done where the adapter has read the file, which holds the weights, as that of a Keras network has.
        """
