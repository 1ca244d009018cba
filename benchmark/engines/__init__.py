"""Engines: what runs a backbone of one framework, all found in one table. Importing this imports no framework.

A package adds an engine without a change here: it declares an entry point of the group ``tumorboard.engines``, named
as the engine, whose value is an :class:`EngineEntry`::

    [project.entry-points."tumorboard.engines"]
    jax = "tumorboard_jax:ENTRY"

Workers are new processes of the same installation, and so find it too.
"""

import pkgutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points

from backbones import Backbone
from benchmark.engines.base import BuildSpec, Device, Engine, Gpu, Handle, Network, StepInput
from benchmark.errors import UserError, nearest

__all__ = [
    "BuildSpec", "Device", "Engine", "EngineEntry", "Gpu", "Handle", "Network", "StepInput",
    "create", "engine_entry", "engine_of", "library_packages",
]  # fmt: skip

ENTRY_POINT_GROUP = "tumorboard.engines"


@dataclass(frozen=True)
class EngineEntry:
    """What the harness must know of an engine before its framework is imported.

    Code is named as ``module:attribute`` and imported only when it is used.

    Args:
        name: the engine's, as records and ``--keras-backend`` give it.
        engine: the class; called with ``device`` (``cpu`` or ``cuda``), ``tf32`` and ``deterministic``.
        runs: the frameworks, as :attr:`backbones.Backbone.framework` names them, whose networks it trains.
        requires: modules that must be installed.
        excludes: packages that must not come into its process.
        environment: variables that its worker must have before the framework is imported.
        environment_defaults: likewise, unless the user has set them.
        packages: distributions whose versions are kept with each result.
        find_gpu: a function that imports the framework and returns the :class:`Gpu` that it sees, or ``None``; empty
            for an engine that computes on the CPU alone.
        free_memory: a function that frees what a finished run left in the framework; empty where nothing does.
        holds_memory: whether a worker on the CPU is faster where freed memory is not given back to the system.
    """

    name: str
    engine: str
    runs: tuple[str, ...]
    requires: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    environment_defaults: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    find_gpu: str = ""
    free_memory: str = ""
    holds_memory: bool = False

    def visible_gpu(self) -> Gpu | None:
        """Return the GPU that the framework sees, which is imported into this process."""
        gpu: Gpu | None = pkgutil.resolve_name(self.find_gpu)() if self.find_gpu else None
        return gpu

    def free(self) -> None:
        """Free what a finished run left in the framework, which this process has imported."""
        if self.free_memory:
            pkgutil.resolve_name(self.free_memory)()


# TensorFlow and torch in one process crash.
_BUILT_IN = (
    EngineEntry(
        name="torch",
        engine="benchmark.engines.torch.engine:TorchEngine",
        runs=("torch", "keras"),
        requires=("torch",),
        excludes=("tensorflow",),
        environment={"KERAS_BACKEND": "torch"},
        packages=("torch", "torchvision", "timm"),
        find_gpu="benchmark.engines.torch.device:visible_gpu",
        free_memory="benchmark.engines.torch.device:free_memory",
        holds_memory=True,
    ),
    EngineEntry(
        name="tensorflow",
        engine="benchmark.engines.tensorflow.engine:TensorFlowEngine",
        runs=("keras",),
        requires=("tensorflow",),
        excludes=("torch",),
        environment={"KERAS_BACKEND": "tensorflow"},
        environment_defaults={"TF_CPP_MIN_LOG_LEVEL": "2"},
        packages=("tensorflow", "keras", "keras-cv"),
        find_gpu="benchmark.engines.tensorflow.device:visible_gpu",
        free_memory="benchmark.engines.tensorflow.device:free_memory",
    ),
)


def _installed() -> list[EntryPoint]:
    """Return the entry points of installed packages, but those named as an engine that is built in."""
    points = sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name)
    return [point for point in points if point.name not in {entry.name for entry in _BUILT_IN}]


def _load(point: EntryPoint) -> EngineEntry:
    try:
        entry = point.load()
        if not isinstance(entry, EngineEntry):
            raise TypeError("it is not a benchmark.engines.EngineEntry")
    except Exception as error:  # a package may raise anything
        reason = f"{type(error).__name__}: {error}"
        raise UserError(
            f"The engine '{point.name}' ({point.value}) can't be loaded ({reason}); mend or remove its package."
        ) from error
    return entry


def _entries() -> Iterator[EngineEntry]:
    """Yield every entry of the table that can be loaded."""
    yield from _BUILT_IN
    for point in _installed():
        with suppress(UserError):
            yield _load(point)


def engine_entry(name: str) -> EngineEntry:
    """Return the entry of an engine.

    Raises:
        UserError: there is no engine of that name, or its package is broken.
    """
    built_in = {entry.name: entry for entry in _BUILT_IN}
    if name in built_in:
        return built_in[name]
    installed = {point.name: point for point in _installed()}
    if name in installed:
        return _load(installed[name])
    names = [*built_in, *installed]
    raise UserError(f"There is no engine '{name}'.{nearest(name, names)} There are {', '.join(names)}.")


def engine_of(backbone: Backbone, preferred: str) -> str:
    """Return the name of the engine that runs a backbone: ``preferred`` where several do, as for Keras networks.

    Raises:
        UserError: none runs its framework.
    """
    entries = list(_entries())
    names = [entry.name for entry in entries if backbone.framework in entry.runs]
    if names:
        return preferred if preferred in names else names[0]
    for point in _installed():
        _load(point)  # the engine may be there, and broken
    frameworks = list(dict.fromkeys(framework for entry in entries for framework in entry.runs))
    raise UserError(
        f"{backbone.name}: no engine runs networks of '{backbone.framework}'."
        f"{nearest(backbone.framework, frameworks)} There are engines for {', '.join(frameworks)}."
    )


def library_packages() -> tuple[str, ...]:
    """Return the distributions of all frameworks in the table, whose versions are kept with each result."""
    return tuple(package for entry in _entries() for package in entry.packages)


def create(name: str, device: str, *, tf32: bool, deterministic: bool) -> Engine:
    """Return an engine. One process may make engines of one framework only.

    Args:
        name: as in the table.
        device: ``"cpu"`` or ``"cuda"``.
        tf32: whether float32 matrix products and convolutions may use TF32 on a GPU.
        deterministic: whether arithmetic must be repeatable bit for bit.

    Raises:
        UserError: there is no engine of that name.
        RunFailure: ``missing_dependency`` where the framework can't be imported, ``unsupported`` where it does
            not see the device.
    """
    engine: Engine = pkgutil.resolve_name(engine_entry(name).engine)(device, tf32=tf32, deterministic=deterministic)
    return engine
