"""Engines: what runs a backbone of one framework, all found in one table. Importing this imports no framework.

A package adds an engine without a change here: it declares an entry point of the group ``tumorboard.engines``, named
as the engine, whose value is an :class:`EngineEntry`::

    [project.entry-points."tumorboard.engines"]
    jax = "tumorboard_jax:ENTRY"

Workers are new processes of the same installation, and so find it too.
"""

import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points

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


def _entries() -> Iterator[EngineEntry]:
    """Yield the entries of the table, those of installed packages last; one of an earlier's name is passed over."""
    names = set()
    for entry in _BUILT_IN:
        names.add(entry.name)
        yield entry
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        if point.name in names:
            continue
        names.add(point.name)
        try:
            loaded = point.load()
        except Exception as error:  # a package may raise anything
            raise UserError(
                f"The engine '{point.name}' ({point.value}) can't be loaded ({type(error).__name__}: {error}); mend "
                "or remove its package."
            ) from error
        if not isinstance(loaded, EngineEntry):
            raise UserError(f"The engine '{point.name}' ({point.value}) is not a benchmark.engines.EngineEntry.")
        yield loaded


def engine_entry(name: str) -> EngineEntry:
    """Return the entry of an engine.

    Raises:
        UserError: there is no engine of that name.
    """
    names = []
    for entry in _entries():
        if entry.name == name:
            return entry
        names.append(entry.name)
    raise UserError(f"There is no engine '{name}'.{nearest(name, names)} There are {', '.join(names)}.")


def engine_of(backbone: Backbone, preferred: str) -> str:
    """Return the name of the engine that runs a backbone: ``preferred`` where several do, as for Keras networks.

    Raises:
        UserError: none runs its framework.
    """
    able = []
    frameworks: dict[str, None] = {}
    for entry in _entries():
        frameworks |= dict.fromkeys(entry.runs)
        if backbone.framework in entry.runs:
            if entry.name == preferred:
                return preferred
            able.append(entry.name)
    if not able:
        raise UserError(
            f"{backbone.name}: no engine runs networks of '{backbone.framework}'."
            f"{nearest(backbone.framework, list(frameworks))} There are engines for {', '.join(frameworks)}."
        )
    return able[0]


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
