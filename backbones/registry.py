"""The registry: what a backbone declares, and how one is found by name.

Nothing here imports an ML framework: a backbone's framework is imported inside its ``build`` alone, so that
listing, help and planning stay fast.
"""

import dataclasses
import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

Framework = Literal["torch", "keras"]
Build = Callable[..., Any]

ENTRY_POINT_GROUP = "tumorboard.backbones"
_DECLARED = "__backbones__"  # the name under which a module keeps what it declares


@dataclass(frozen=True)
class Preprocessing:
    """What a network expects of its input: ``(pixels * scale - mean) / std``, per channel.

    Args:
        mean: one value per channel, in the units of ``pixels * scale``, in ``channel_order``.
        std: likewise.
        scale: factor on the uint8 pixels (1/255 gives 0-1; 1 keeps 0-255).
        channel_order: ``"rgb"``, or ``"bgr"`` for networks trained in Caffe's order.
    """

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    scale: float = 1 / 255
    channel_order: Literal["rgb", "bgr"] = "rgb"

    def __post_init__(self) -> None:
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0 or self.scale <= 0:
            raise ValueError(f"preprocessing needs three means, three positive stds and a positive scale: {self}")


UNIT = Preprocessing()
IMAGENET = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
HALF = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
CAFFE = Preprocessing(mean=(103.939, 116.779, 123.68), scale=1.0, channel_order="bgr")
RAW = Preprocessing(scale=1.0)  # the network normalises by itself: feed 0-255


@dataclass(frozen=True)
class Backbone:
    """A named network that can be built for a number of classes: the adapter's declaration.

    Args:
        name: ``library/network``, lower case.
        framework: ``"torch"`` or ``"keras"`` (the latter runs on TensorFlow or on torch).
        build: called with those of ``num_classes``, ``weights``, ``input_size`` that its signature names;
            returns a model that gives logits, or a list of stages whose last is the head. ``weights`` arrives
            resolved: ``None``, ``"imagenet"`` or a ``pathlib.Path``.
        library: where the network comes from: ``own``, ``timm``, ``keras``, ``keras_cv``, or a plug-in's own.
        input_size: side of the square input that the network was made for, in pixels.
        preprocessing: what its input must be; ``None`` where only the built model can tell.
        imagenet: identity of its ImageNet weights (a hub id with revision or tag), ``None`` where it has none.
        local_weights: returns the path of weights that are on this machine without any network (packaged or
            already cached), or ``None``.
        keras_backends: for Keras networks, the backends that can run it.
        requires: modules that must be importable, beside the framework's own.
        stages: ``stages(model)`` returns the steps of the built model's forward pass in order, the head last; by
            default they are found in the model's graph. The harness proves either before it relies on them.
        unsupported: returns a reason why the backbone does not apply here, or ``None``.
        note: one line that tells it from its namesakes (``ResNet50 v1: stride on the first 1x1``).
        cam_stage: name of the stage whose output Grad-CAM explains; by default the last with a feature map.
        origin: where the declaration was found: ``built-in``, ``timm:``, ``keras:``, a plug-in's file or package.
        source_hash: SHA-256 of the declaring file, part of each run's identity.
    """

    name: str
    framework: Framework
    build: Build
    library: str = "own"
    input_size: int = 224
    preprocessing: Preprocessing | None = UNIT
    imagenet: str | None = None
    local_weights: Callable[[], Path | None] | None = None
    keras_backends: tuple[str, ...] = ("tensorflow", "torch")
    requires: tuple[str, ...] = ()
    stages: Callable[[Any], Sequence[Any]] | None = None
    unsupported: Callable[[], str | None] | None = None
    note: str = ""
    cam_stage: str | None = None
    origin: str = "built-in"
    source_hash: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not self.name or not all(c.isalnum() or c in "/_-.:" for c in self.name):
            raise ValueError(f"backbone name {self.name!r}: use letters, digits and / _ - . : only")
        if self.framework not in ("torch", "keras"):
            raise ValueError(f"backbone {self.name}: framework must be 'torch' or 'keras', not {self.framework!r}")
        if self.input_size < 8:
            raise ValueError(f"backbone {self.name}: input_size must be at least 8 pixels, not {self.input_size}")

    def make(self, num_classes: int, weights: "Path | str | None", input_size: int) -> Any:
        """Call ``build`` with those of the three arguments that its signature names."""
        offered: Mapping[str, Any] = {
            "num_classes": num_classes,
            "weights": weights,
            "input_size": input_size,
        }
        parameters = inspect.signature(self.build).parameters
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return self.build(**offered)
        return self.build(**{name: value for name, value in offered.items() if name in parameters})

    def missing_modules(self) -> tuple[str, ...]:
        """Return the modules that this backbone needs and that are not installed, without importing any."""
        needed = ({"torch": ("torch",), "keras": ("keras",)}[self.framework], self.requires)
        return tuple(module for group in needed for module in group if importlib.util.find_spec(module) is None)


class MissingWeights(Exception):
    """Raised by ``build`` where the weights it was asked for can't be had; the message is one sentence."""


@dataclass(frozen=True)
class BrokenPlugin:
    """A plug-in that could not be imported: listed with its reason, never fatal."""

    name: str
    origin: str
    reason: str


class Registry:
    """Backbones by name. Made once per process and handed on; there is no global one."""

    def __init__(self) -> None:
        self._backbones: dict[str, Backbone] = {}
        self.broken: list[BrokenPlugin] = []

    def add(self, entry: Backbone) -> None:
        """Register a backbone; a second one of the same name raises ``ValueError``."""
        if entry.name in self._backbones:
            first = self._backbones[entry.name].origin
            raise ValueError(f"backbone {entry.name} is declared twice: by {first} and by {entry.origin}")
        self._backbones[entry.name] = entry

    def names(self) -> tuple[str, ...]:
        """Return the registered names, sorted; ``timm:`` and ``keras:`` names are not among them."""
        return tuple(sorted(self._backbones))

    def get(self, name: str) -> Backbone:
        """Return a backbone by name, ``timm:``, ``keras:`` and ``reference:`` names included; raises ``KeyError``."""
        if name in self._backbones:
            return self._backbones[name]
        library, colon, model = name.partition(":")
        if colon and model and library in ("timm", "keras", "reference"):
            module = importlib.import_module(f"backbones._any_{library}")
            found: Backbone = module.find(model)
            return found
        raise KeyError(name)


def source_hash_of(build: Build) -> str:
    """Return the SHA-256 of the file that defines a function; empty where there is no file."""
    path = Path(inspect.getfile(build))
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def backbone(name: str, *, framework: Framework, **declared: Any) -> Callable[[Build], Build]:
    """Declare the decorated function as the ``build`` of a backbone.

    Args:
        name, framework, declared: see :class:`Backbone`.

    Returns:
        A decorator that leaves the function as it is.

    Example:
        >>> @backbone("torch/tiny", framework="torch", input_size=64)
        ... def tiny(num_classes):
        ...     from torch import nn
        ...     return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))
    """

    def register(build: Build) -> Build:
        entry = Backbone(name=name, framework=framework, build=build, source_hash=source_hash_of(build), **declared)
        namespace: dict[str, Any] = build.__globals__
        namespace.setdefault(_DECLARED, []).append(entry)  # found there by whoever loads the module
        return build

    return register


def _register(load: Callable[[], ModuleType], origin: str, registry: Registry) -> None:
    """Import a module and register what it declares; what it raises becomes a :class:`BrokenPlugin`."""
    try:
        declared = getattr(load(), _DECLARED, None)
        if not declared:
            raise ImportError("it declares no backbone: decorate a function with @backbone(...)")
        for entry in declared:
            registry.add(dataclasses.replace(entry, origin=origin))
    except (
        Exception,
        SystemExit,
    ) as error:  # a plug-in may raise anything; it must not take the others along
        registry.broken.append(BrokenPlugin(origin.rpartition("/")[2], origin, f"{type(error).__name__}: {error}"))


def _load_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tumorboard_plugin_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_registry(plugins: tuple[Path, ...] = ()) -> Registry:
    """Return every backbone: built in, from installed packages, and from the given plug-in files."""
    import backbones

    registry = Registry()
    for module in sorted(m.name for m in pkgutil.iter_modules(backbones.__path__)):
        if module != "registry" and not module.startswith("_"):
            _register(partial(importlib.import_module, f"backbones.{module}"), "built-in", registry)
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        _register(partial(importlib.import_module, point.module), f"package {point.value}", registry)
    for path in plugins:
        _register(partial(_load_file, path), str(path), registry)
    return registry
