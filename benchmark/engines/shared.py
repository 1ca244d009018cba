"""What all engines have in common, so that no two state a rule in dialects of their own. NumPy only."""

import contextlib
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from backbones import Preprocessing
from benchmark import host
from benchmark.dependencies import how_to_install
from benchmark.draws.augmentation import Draws
from benchmark.engines.base import BuildSpec, Device, Engine, Gpu, Handle, NotKept
from benchmark.engines.cam_stage import NoFeatureMap
from benchmark.engines.freezing import FeatureSpec, NotCacheable
from benchmark.engines.warm_start import read_final
from benchmark.recipe import BatchNorm, Execution
from benchmark.records.outcomes import Outcome, RunFailure

Arrays = Mapping[str, npt.NDArray[Any]]

EMA = "ema/"  # begins the names under which a state keeps the EMA of weights


def cpu() -> Device:
    """Return this machine's processor."""
    return Device("cpu", host.processor(), int(psutil.virtual_memory().total))


def out_of_memory() -> RunFailure:
    """Return what an engine raises where a device, or the machine, has too little memory."""
    return RunFailure(Outcome.OOM, "Out of memory: use a smaller --batch-size or --size.")


def resolve_precision(precision: str, kind: str, find_gpu: Callable[[], Gpu | None]) -> str:
    """Return ``float32``, ``bfloat16`` or ``float16``.

    ``auto`` is bfloat16 on a GPU that has it natively, ``native`` on a processor too.

    Args:
        precision: the recipe's.
        kind: of the device, ``cpu`` or ``cuda``.
        find_gpu: returns the visible GPU; not called for a processor.

    Raises:
        RunFailure: ``unsupported`` for float16 on a CPU.
    """
    if precision in ("auto", "native"):
        if kind == "cuda":
            gpu = find_gpu()
            native = gpu is not None and gpu.bfloat16
        else:
            native = precision == "native" and host.multiplies_bfloat16()
        return "bfloat16" if native else "float32"
    if precision == "float16" and kind == "cpu":
        raise RunFailure(
            Outcome.UNSUPPORTED, "float16 needs a GPU: use execution.precision = 'float32' or 'bfloat16'."
        )
    return precision


def native_dropout(spec: BuildSpec) -> float:
    """Return the dropout that the adapter must build into its own head: 0 where the recipe's head takes its place.

    Raises:
        RunFailure: ``unsupported`` where the adapter has no place for it.
    """
    head = spec.recipe.head
    if head.kind != "native" or not head.dropout:
        return 0.0
    if not spec.backbone.takes_dropout:
        raise RunFailure(
            Outcome.UNSUPPORTED,
            f"The native head of {spec.backbone.name} takes no dropout: use head.kind = 'linear' or 'dense256'.",
        )
    return head.dropout


def assert_trainable(spec: BuildSpec, parameters: int) -> None:
    """Raise ``RunFailure``, ``unsupported``, where no parameter of a network is left to train."""
    if not parameters:
        raise RunFailure(
            Outcome.UNSUPPORTED,
            f"Nothing of {spec.backbone.name} is left to train, its head included: use head.kind = 'linear' or "
            "'dense256', which are trained.",
        )


def stage_factors(spec: BuildSpec, stages: int) -> list[float]:
    """Return the factor on the learning rate of each of a network's stages, the head's last.

    ``layer_decay ** d`` for a stage with d others between it and the end (Howard & Ruder 2018, section 3.1, whose
    ``eta / 2.6`` from layer to layer is a decay of 0.385; Bao et al. 2022, BEiT).

    Raises:
        RunFailure: ``unsupported`` where a rule of stages is asked of a network that has one only.
    """
    rule = spec.recipe.optimizer
    if stages == 1 and (rule.layer_decay, rule.head_learning_rate_factor) != (1.0, 1.0):
        raise RunFailure(
            Outcome.UNSUPPORTED,
            "The network's stages can't be told apart: use optimizer.layer_decay = 1 and "
            "optimizer.head_learning_rate_factor = 1.",
        )
    factors = [rule.layer_decay ** (stages - 1 - number) for number in range(stages)]
    factors[-1] *= rule.head_learning_rate_factor
    return factors


def batch_norm_conventions(epsilons: Collection[float], rule: BatchNorm) -> dict[str, str]:
    """Return what a record says of BatchNorm, from the epsilon of each such layer and the recipe's rule.

    Epsilon is left as the network's own: it belongs to the weights.
    """
    if not epsilons:
        return {"batch_norm": "none"}
    return {
        "batch_norm_epsilon": ", ".join(f"{value:g}" for value in sorted(set(epsilons))),
        "batch_norm_momentum": f"{rule.momentum:g}",
        "batch_norm_variance": rule.variance,
    }


def hash_of_values(values: Iterable[npt.NDArray[Any]]) -> str:
    """Return the SHA-256 over the values of arrays, in order."""
    digest = hashlib.sha256()
    for value in values:
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def hash_of_weights(named: Iterable[tuple[str, npt.NDArray[Any]]]) -> str:
    """Return the SHA-256 over names, shapes, dtypes and values of weights, in order."""
    digest = hashlib.sha256()
    for name, value in named:
        digest.update(f"{name} {value.dtype} {value.shape}\n".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def exporting(framework: str, target: str, targets: Collection[str]) -> Iterator[None]:
    """Raise ``NotKept`` where a framework has no export to a target, or what exports inside fails or is not there."""
    if target not in targets:
        raise NotKept(f"{framework} has no export to {target}")
    try:
        yield
    except Exception as error:  # whatever of a network's code can't be exported
        if isinstance(error, ImportError) and error.name:
            raise NotKept(f"{target} needs {error.name}: {how_to_install([error.name])}") from error
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise NotKept(f"{framework} can't export it to {target} ({reason})") from error


def factor_and_shift(preprocessing: Preprocessing) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return ``(pixels * scale - mean) / std`` as a factor on the pixels and what is then subtracted.

    Returns:
        Two float32 arrays of shape (3,), a value for each channel.
    """
    std = np.array(preprocessing.std)
    return (preprocessing.scale / std).astype(np.float32), (np.array(preprocessing.mean) / std).astype(np.float32)


def random_pixels(count: int, size: int) -> npt.NDArray[np.uint8]:
    """Return random images, always the same, uint8 of shape (count, size, size, 3)."""
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def even_pixels(size: int) -> npt.NDArray[np.uint8]:
    """Return a grey image in which every level occurs about as often, uint8 of shape (1, size, size, 3)."""
    grey = np.resize(np.arange(256, dtype=np.uint8), (size, size))
    return np.repeat(grey[None, ..., None], 3, axis=-1)


class SharedEma(ABC):
    """The exponential moving average (EMA) of a network's weights, and its exchange with them."""

    _shown = False

    def show(self, ema: bool) -> None:
        """Put the EMA in the place of the weights, or the weights as trained back into theirs."""
        if ema != self._shown:
            self._exchange()
            self._shown = ema

    @abstractmethod
    def _exchange(self) -> None:
        """Exchange the values of the weights and of their EMA."""

    @abstractmethod
    def restart(self) -> None:
        """Let the EMA be what the weights are now."""


class SharedEngine(Engine):
    """The half of an engine that is the same on every framework; a framework's engine derives from it.

    One that varies images, keeps features or explains overrides ``_vary``, ``_frozen_stages`` or ``_cam``.

    Args:
        tf32, deterministic: see :func:`benchmark.engines.create`.
    """

    framework: str
    device: Device
    _size = 0  # side of the images, in pixels; set by ``build``
    _ema: SharedEma | None = None

    def __init__(self, *, tf32: bool, deterministic: bool) -> None:
        self._tf32, self._deterministic = tf32, deterministic

    def _execution(self, asked: Execution, *, precision: str, channels_last: bool, threads: int) -> dict[str, str]:
        """Return the resolved choices, for the record."""
        return {
            "precision": precision,
            "tf32": "on" if self._tf32 else "off",
            "channels_last": "on" if channels_last else "off",
            "compile": asked.compile,
            "deterministic": "on" if self._deterministic else "off",
            "threads": str(threads),
        }

    def _start_from_run(self, spec: BuildSpec) -> None:
        """Replace the initial weights by those that another run left, where the spec names one."""
        if spec.init_from is not None:
            weights = self._all_weights()
            self._assign(weights, read_final(spec.init_from, {name: tuple(w.shape) for name, w in weights.items()}))

    # made when first asked for, where an engine can

    @cached_property
    def _vary(self) -> Callable[[Handle, Draws], Handle]:
        """What varies images as drawn."""
        raise RunFailure(
            Outcome.UNSUPPORTED, f"The engine {self.framework} varies no images: use a recipe without augmentation."
        )

    @cached_property
    def _frozen_stages(self) -> Any:
        """The stages whose outputs can be kept, with their ``spec``; found out on a few images."""
        raise NotCacheable(f"the engine {self.framework} keeps no outputs of frozen stages")

    @cached_property
    def _cam(self) -> Any:
        """What explains the network, with the ``name`` of a stage."""
        raise NoFeatureMap(f"The engine {self.framework} explains no networks.")

    def augment(self, images: Handle, draws: Draws) -> Handle:
        return self._vary(images, draws)

    def feature_spec(self) -> FeatureSpec:
        spec: FeatureSpec = self._frozen_stages.spec
        return spec

    def cam_stage(self) -> str:
        name: str = self._cam.name
        return name

    # frozen layers

    def _statistics_moved(self) -> list[str]:
        """Return the names of frozen layers that are not in inference mode, or of statistics that have moved."""
        return []

    def assert_frozen(self) -> None:
        moved = self._statistics_moved()
        if moved:
            raise RunFailure(
                Outcome.ERROR, f"The frozen {moved[0]} is not in inference mode: its statistics may move."
            )

    # state

    @abstractmethod
    def _all_weights(self) -> Mapping[str, Any]:
        """Return all weights and running statistics by name, in a fixed order."""

    @abstractmethod
    def _trained_weights(self) -> Mapping[str, Any]:
        """Return those that training changes."""

    @abstractmethod
    def _slots(self) -> Mapping[str, Any]:
        """Return what else training changes: slots of the optimizer, the EMA, the scale of the loss."""

    @abstractmethod
    def _values(self, tensors: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
        """Return copies of values on the host."""

    @abstractmethod
    def _assign(self, tensors: Mapping[str, Any], values: Arrays) -> None:
        """Give each tensor the values of its name."""

    def _show_ema(self, ema: bool) -> None:
        """Put the EMA in the place of the weights, or back, where the recipe has one."""
        if self._ema is not None:
            self._ema.show(ema)

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        self._show_ema(True)
        return self._values(self._all_weights())

    def state(self, *, optimizer: bool) -> dict[str, npt.NDArray[Any]]:
        self._show_ema(not optimizer)
        return self._values({**self._trained_weights(), **(self._slots() if optimizer else {})})

    def load_state(self, state: Arrays) -> None:
        weights, slots = self._trained_weights(), self._slots()
        tensors = {**weights, **slots} if any(name in state for name in slots) else weights
        odd = set(state) ^ set(tensors)
        if odd:
            raise ValueError(f"the state does not fit the network: {min(odd)} is in one of them only")
        self._show_ema(False)
        self._assign(tensors, state)
        if self._ema is not None and tensors is weights:
            self._ema.restart()
