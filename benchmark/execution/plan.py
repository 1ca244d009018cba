"""The plan: what the user asked for, resolved into runs before anything is trained.

Whatever can be known to be wrong is found here, and nothing is written until all of it is right.
"""

import importlib
import importlib.util
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backbones import Backbone
from backbones.registry import Registry, load_registry
from benchmark.errors import UserError, nearest
from benchmark.execution.devices import DeviceChoice, choose_devices
from benchmark.execution.job import Job
from benchmark.record import BackboneFacts, DataFacts
from benchmark.run import Run
from benchmark.execution.store import short
from benchmark.execution.weights import Weights, check_policy, resolve_weights
from benchmark.hashing import hash_json
from benchmark.outcomes import Outcome
from benchmark.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    from benchmark.data.dataset import DataSet, Split

PHANTOM = "phantom"
# One split for all seeds, so that a seed varies the training and never the images that judge it.
SPLIT_SEED = 0
MAX_SEED = 2**31 - 1

Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What the user asked for. ``None`` leaves the choice to the plan.

    Args:
        backbones: names, ``timm:NAME`` and ``keras:NAME`` included.
        all: every registered backbone as well.
        plugins: files that declare further backbones.
        data: the phantom, a folder, a zip ...
        recipe: name or path.
        changes: dotted recipe fields and their values.
        seeds: at least one.
        weights: ``imagenet``, ``local``, ``none`` or a path.
        allow_scratch: go on without pretrained weights where they can't be had.
        device: ``auto``, ``cpu`` or ``cuda``.
        keras_backend: ``tensorflow`` or ``torch``.
        limit: number of images.
        skip_corrupt: leave out images that can't be read.
        out: results folder.
        timeout: seconds for one run.
        rerun: do again what is done.
        only_failed: do only what was tried and failed.
        keep_weights: keep checkpoints of finished runs.
        command: what was typed, for the record.
    """

    backbones: tuple[str, ...] = ()
    all: bool = False
    plugins: tuple[Path, ...] = ()
    data: str = PHANTOM
    recipe: str | None = None
    changes: Mapping[str, Any] | None = None
    seeds: tuple[int, ...] = (0,)
    weights: str | None = None
    allow_scratch: bool = False
    device: str = "auto"
    keras_backend: str = "tensorflow"
    limit: int | None = None
    skip_corrupt: bool = False
    out: Path | None = None
    timeout: float | None = None
    rerun: bool = False
    only_failed: bool = False
    keep_weights: bool = False
    command: str = ""


@dataclass(frozen=True)
class Plan:
    """The runs, in the order in which they are done.

    Args:
        out: the results folder, writable.
        jobs: one for each distinct run.
        notes: what a user must know before reading the board.
    """

    out: Path
    jobs: tuple[Job, ...]
    notes: tuple[str, ...] = ()


def make_plan(request: Request, say: Say = lambda _: None) -> Plan:
    """Resolve a request.

    Args:
        request: what the user asked.
        say: gets a sentence where something takes long.

    Raises:
        UserError: anything that the user can mend.
    """
    registry = load_registry(_plugin_files(request.plugins))
    chosen = _chosen(request, registry)
    recipe_name, recipe = _recipe(request)
    policy = check_policy(request.weights or ("local" if request.data == PHANTOM else "imagenet"))
    if not request.seeds or min(request.seeds) < 0 or max(request.seeds) > MAX_SEED:
        raise UserError(f"--seed: give whole numbers from 0 to {MAX_SEED}.")
    if request.limit is not None and request.limit < 1:
        raise UserError(f"--limit {request.limit}: give at least one image.")
    if request.rerun and request.only_failed:
        raise UserError("--rerun does again what is done, --only-failed leaves it: give one of them.")
    if request.out is not None:
        _check_writable(request.out)
    devices = choose_devices(request.device, {_engine(entry, request.keras_backend) for entry in chosen})

    images = {size: _open(request, recipe, size, say) for size in sorted({_size(entry, recipe) for entry in chosen})}
    data, split = next(iter(images.values()))
    batch_was_asked = "batch_size" in (request.changes or {})
    if batch_was_asked and recipe.batch_size > len(split.train):
        raise UserError(
            f"--batch-size {recipe.batch_size} is more than the {len(split.train)} training images; give less."
        )
    out = (request.out or Path("results") / _folder_name(data.name)).absolute()
    _check_writable(out)

    setting = _Setting(request, recipe_name, recipe, policy, devices, out)
    jobs: dict[str, Job] = {}
    for entry in chosen:
        for seed in request.seeds:
            job = _job(setting, entry, seed, *images[_size(entry, recipe)])
            jobs.setdefault(job.key, job)
    _save_splits(out, images.values())
    notes = [f"Plug-in {plugin.origin} is left out: {plugin.reason}." for plugin in registry.broken]
    return Plan(out=out, jobs=tuple(jobs.values()), notes=(*notes, *split.leaks))


def _plugin_files(paths: Iterable[Path]) -> tuple[Path, ...]:
    files = tuple(dict.fromkeys(path.expanduser().resolve() for path in paths))
    for path in files:
        if not path.is_file():
            raise UserError(f"--plugin {path}: no such file.")
    return files


def _chosen(request: Request, registry: Registry) -> tuple[Backbone, ...]:
    """Return the backbones that were asked for, each once."""
    files = {str(path) for path in _plugin_files(request.plugins)}
    for broken in registry.broken:
        if broken.origin in files:
            raise UserError(f"--plugin {broken.origin} can't be used: {broken.reason}.")
    names = (*(registry.names() if request.all else ()), *request.backbones)
    if not names:
        raise UserError("Name at least one backbone with --backbone, or give --all; 'list' shows their names.")
    return tuple(find_backbone(registry, name) for name in dict.fromkeys(names))


def find_backbone(registry: Registry, name: str) -> Backbone:
    """Return a backbone by name; raises ``UserError`` with the nearest name where there is none."""
    try:
        return registry.get(name)
    except KeyError:
        library = name.partition(":")[0]
        known = registry.names()
        if name.startswith(("timm:", "keras:")):
            known = importlib.import_module(f"backbones._any_{library}").known_names()
        hint = nearest(name, known) or " 'python -m benchmark list' shows what there is."
        raise UserError(f"Unknown backbone '{name}'.{hint}") from None


def _recipe(request: Request) -> tuple[str, Recipe]:
    """Return the recipe with the user's changes, and a name that tells it from the unchanged one."""
    name = request.recipe or ("quick" if request.data == PHANTOM else "default")
    base = load_recipe(name)
    changes = dict(request.changes or {})
    recipe = base.with_values(changes)
    shown = Path(name).stem if name.endswith(".toml") else name
    different = {field: value for field, value in sorted(changes.items()) if _field(base, field) != value}
    if different:
        shown += " + " + ", ".join(f"{field.rpartition('.')[2]}={value}" for field, value in different.items())
    return shown, recipe


def _field(recipe: Recipe, dotted: str) -> Any:
    value: Any = recipe.model_dump()
    for part in dotted.split("."):
        value = value[part]
    return value


def _size(entry: Backbone, recipe: Recipe) -> int:
    return recipe.size or entry.input_size


def _engine(entry: Backbone, keras_backend: str) -> str:
    """Return what executes a backbone: ``torch`` or ``tensorflow``."""
    return "torch" if entry.framework == "torch" else keras_backend


def _open(request: Request, recipe: Recipe, size: int, say: Say) -> "tuple[DataSet, Split]":
    """Return the data set at one size, and its split: the same images for every size and seed."""
    from benchmark.data import make_split, open_dataset

    data = open_dataset(
        request.data,
        size=size,
        resize=recipe.resize,
        skip_corrupt=request.skip_corrupt,
        progress=_progress_lines(request.data, size, say),
    )
    split = make_split(data, seed=SPLIT_SEED, validation_fraction=recipe.validation_fraction, limit=request.limit)
    return data, split


def _progress_lines(source: str, size: int, say: Say) -> Callable[[int, int], None]:
    """Return a callback that says at every tenth how far the decoding of a data set is."""
    said = -1

    def progress(done: int, total: int) -> None:
        nonlocal said
        tenth = 10 * done // max(1, total)
        if tenth != said:
            said = tenth
            say(f"Preparing {source} at {size} px: {done} of {total} images")

    return progress


def _folder_name(name: str) -> str:
    """Return a data set's name as one folder's name, whatever is in it."""
    return "".join(c if c.isalnum() or c in "_-" else "-" for c in name)[:80] or "data"


def _check_writable(out: Path) -> None:
    """Raise ``UserError`` where the results folder can't be written; makes nothing."""
    out = out.absolute()
    nearest_existing = next(path for path in (out, *out.parents) if path.exists())
    if not nearest_existing.is_dir():
        raise UserError(f"--out {out}: {nearest_existing} is a file; give a folder.")
    if not os.access(nearest_existing, os.W_OK | os.X_OK):
        raise UserError(f"--out {out}: the folder {nearest_existing} is not writable; give another.")


def _save_splits(out: Path, images: "Iterable[tuple[DataSet, Split]]") -> None:
    from benchmark.data import save_split

    try:
        for _, split in images:
            path = _split_file(out, split)
            path.parent.mkdir(parents=True, exist_ok=True)
            save_split(split, path)
    except OSError as error:
        raise UserError(f"--out {out} can't be written: {error.strerror or error}.") from None


def _split_file(out: Path, split: "Split") -> Path:
    return out / "splits" / f"{short(split.hash)}.npz"


@dataclass(frozen=True)
class _Setting:
    """What all runs of a plan have in common."""

    request: Request
    recipe_name: str
    recipe: Recipe
    policy: str
    devices: Mapping[str, DeviceChoice]
    out: Path


def _job(setting: _Setting, entry: Backbone, seed: int, data: "DataSet", split: "Split") -> Job:
    """Return one run with every choice resolved that can be before its framework is imported."""
    request, recipe, policy, out = setting.request, setting.recipe, setting.policy, setting.out
    engine = _engine(entry, request.keras_backend)
    device = setting.devices[engine]
    precision = recipe.execution.precision
    if precision == "auto":
        precision = "bfloat16" if device.kind == "cuda" and device.bfloat16 else "float32"
    verdict = _verdict(entry, engine)
    try:
        weights = resolve_weights(entry, policy)
    except Exception as error:  # a plug-in's local_weights may raise anything; it becomes that run's row
        weights = Weights(policy=policy, requested="none", used="none")
        verdict = (Outcome.ERROR, f"Its local_weights raised {type(error).__name__}: {error}")
    run = Run(
        backbone=entry.name,
        backbone_source=entry.source_hash,
        recipe=recipe.with_values({"size": _size(entry, recipe), "execution.precision": precision}),
        data_fingerprint=data.fingerprint,
        images_hash=_images_hash(data, split),
        split_hash=split.hash,
        seed=seed,
        engine=engine,
        device_kind=device.kind,
        precision=precision,
        weights=weights.requested,
    )
    assert data.folder is not None, "an opened data set lies in a folder"
    return Job(
        run=run,
        recipe_name=setting.recipe_name,
        backbone=BackboneFacts(
            name=entry.name, framework=engine, library=entry.library, note=entry.note, origin=entry.origin
        ),
        data=_data_facts(data, split),
        weights=weights,
        allow_scratch=request.allow_scratch,
        device=device.name,
        keras_backend=request.keras_backend,
        plugins=_plugin_files(request.plugins),
        data_folder=data.folder,
        split_file=_split_file(out, split),
        out=out,
        keep_weights=request.keep_weights,
        command=request.command,
        verdict=verdict,
    )


def _verdict(entry: Backbone, engine: str) -> tuple[Outcome, str] | None:
    """Return how the run must end where that is clear without starting it."""
    if entry.framework == "keras" and engine not in entry.keras_backends:
        runs_on = " or ".join(entry.keras_backends)
        return Outcome.UNSUPPORTED, f"{entry.name} runs on Keras's {runs_on} backend only (--keras-backend)."
    missing = [*entry.missing_modules()]
    if importlib.util.find_spec(engine) is None:
        missing.append(engine)
    if missing:
        names = ", ".join(dict.fromkeys(missing))
        return Outcome.MISSING_DEPENDENCY, f"Not installed: {names}; install it and give the same command again."
    return None


def _images_hash(data: "DataSet", split: "Split") -> str:
    import numpy as np

    chosen = np.sort(np.concatenate([split.train, split.validation, split.test]))
    return hash_json([str(name) for name in data.image_ids[chosen]])


def _data_facts(data: "DataSet", split: "Split") -> DataFacts:
    return DataFacts(
        name=data.name,
        fingerprint=data.fingerprint,
        class_names=data.class_names,
        negative_class=data.negative_class,
        synthetic=data.synthetic,
        grouped=data.groups is not None,
        split=split.name,
        split_hash=split.hash,
        limit=split.limited_to,
        n_train=len(split.train),
        n_validation=len(split.validation),
        n_test=len(split.test),
        leaks=split.leaks,
    )
