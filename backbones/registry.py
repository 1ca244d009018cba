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
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

Build = Callable[..., Any]

ENTRY_POINT_GROUP = "tumorboard.backbones"
# Origins of backbones that are the harness's own or a library's, not a plug-in's.
OWN_ORIGINS = ("built-in", "timm:", "keras:")
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
        framework: the module that its network is made with: ``"torch"``, ``"keras"`` (which runs on TensorFlow or on
            torch), or another that an installed engine runs.
        build: called with those of ``num_classes``, ``weights``, ``input_size``, ``dropout`` that its signature
            names; returns a model that gives logits, or a list of stages whose last is the head. ``weights`` arrives
            resolved: ``None``, ``"imagenet"`` or a ``pathlib.Path``. ``dropout`` is the recipe's ``head.dropout``
            where its head is the native one, else 0: an adapter that names it builds dropout of that rate into its
            head, and one that does not is never asked for any.
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
        parameters: number of scalars that training can change, as built for four classes at ``input_size``.
        stage_count: number of stages that the harness finds in it; both are told by ``list``, which builds nothing.
        family: networks that a recipe may treat alike (``families.vgg``), such as ``vgg``; empty is none.
        note: one line that tells it from its namesakes (``ResNet50 v1: stride on the first 1x1``).
        cam_stage: name of the stage whose output Grad-CAM explains; by default the last with a feature map.
        origin: where the declaration was found: ``built-in``, ``timm:``, ``keras:``, a plug-in's file or package.
        source_hash: SHA-256 of the declaring file, part of each run's identity.
    """

    name: str
    framework: str
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
    parameters: int | None = None
    stage_count: int | None = None
    family: str = ""
    note: str = ""
    cam_stage: str | None = None
    origin: str = "built-in"
    source_hash: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not self.name or not all(c.isalnum() or c in "/_-.:" for c in self.name):
            raise ValueError(f"backbone name {self.name!r}: use letters, digits and / _ - . : only")
        if not self.framework.isidentifier():
            raise ValueError(f"backbone {self.name}: framework must be a module's name, not {self.framework!r}")
        if self.input_size < 8:
            raise ValueError(f"backbone {self.name}: input_size must be at least 8 pixels, not {self.input_size}")

    @property
    def takes_dropout(self) -> bool:
        """Whether ``build`` has a place for dropout in the head that it makes."""
        return "dropout" in inspect.signature(self.build).parameters

    def make(self, num_classes: int, weights: "Path | str | None", input_size: int, dropout: float = 0.0) -> Any:
        """Call ``build`` with those of the four arguments that its signature names."""
        offered: Mapping[str, Any] = {
            "num_classes": num_classes,
            "weights": weights,
            "input_size": input_size,
            "dropout": dropout,
        }
        parameters = inspect.signature(self.build).parameters
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return self.build(**{name: value for name, value in offered.items() if name != "dropout" or value})
        return self.build(**{name: value for name, value in offered.items() if name in parameters})

    def left_open(self) -> dict[str, str]:
        """Return what the declaration leaves to defaults, and what these are, in words.

        Keys are ``preprocessing``, ``weights``, ``stages`` and ``cam_stage``; those that it declares are absent.
        """
        found = {}
        if self.preprocessing is None:
            found["preprocessing"] = "what the built model's library asks for, or RGB of 0-1 where it says nothing"
        elif self.preprocessing is UNIT:
            found["preprocessing"] = "RGB of 0-1 (pixels / 255), no mean or std"
        if self.imagenet is None and self.local_weights is None:
            found["weights"] = "none; it trains from scratch"
        if self.stages is None:
            found["stages"] = "found in its graph, or features and head where it can't be read"
        if self.cam_stage is None:
            found["cam_stage"] = "the last stage before the head that gives a feature map"
        return found

    def missing_modules(self) -> tuple[str, ...]:
        """Return the modules that this backbone needs and that are not installed, without importing any."""
        needed = (self.framework, *self.requires)
        return tuple(module for module in needed if importlib.util.find_spec(module) is None)


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


def backbone(name: str, *, framework: str, **declared: Any) -> Callable[[Build], Build]:
    """Declare the decorated function as the ``build`` of a backbone.

    Args:
        name, framework, declared: see :class:`Backbone`.

    Returns:
        A decorator that leaves the function as it is.

    Examples:
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


def _register(load: Callable[[], ModuleType], name: str, origin: str, registry: Registry) -> None:
    """Import a module and register what it declares; what it raises becomes a :class:`BrokenPlugin`."""
    try:
        declared = getattr(load(), _DECLARED, None)
        if not declared:
            raise ImportError("it declares no backbone: decorate a function with @backbone(...)")
        for entry in declared:
            registry.add(dataclasses.replace(entry, origin=origin))
    except (Exception, SystemExit) as error:  # a plug-in may raise anything; it must not take the others along
        said = " ".join(str(error).split())
        place = _line_in(origin, error)
        registry.broken.append(BrokenPlugin(name, origin, f"{type(error).__name__}: {said}{place}"))


def _line_in(file: str, error: BaseException) -> str:
    """Return the line of a plug-in's file at which an error arose, for people; empty where it arose elsewhere."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f" (line {lines[-1]})" if lines else ""


def _load_file(path: Path) -> ModuleType:
    # the path's digest keeps files of one name apart
    name = f"tumorboard_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look for a class's module there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def load_registry(plugins: tuple[Path, ...] = ()) -> Registry:
    """Return every backbone: built in, from installed packages, and from the given plug-in files."""
    registry = Registry()
    for module in sorted(m.name for m in pkgutil.iter_modules([str(Path(__file__).parent)])):
        if module != "registry" and not module.startswith("_"):
            _register(partial(importlib.import_module, f"backbones.{module}"), module, "built-in", registry)
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        load = partial(importlib.import_module, point.module)
        _register(load, point.name, f"package {point.value}", registry)
    for path in (given.expanduser().resolve() for given in plugins):
        _register(partial(_load_file, path), path.name, str(path), registry)
    return registry
