"""The plan: what the user asked for, resolved into runs before anything is trained.

Whatever can be known to be wrong is found here, and nothing is written until all of it is right.
"""

import importlib.util
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from backbones import Backbone
from backbones.registry import OWN_ORIGINS, Registry
from benchmark.dependencies import how_to_install
from benchmark.engines import engine_entry, engine_of
from benchmark.errors import UserError
from benchmark.execution.planning.datasets import Fold, Images, Say
from benchmark.execution.planning.devices import DeviceChoice, choose_devices
from benchmark.execution.planning.request import Request
from benchmark.execution.planning.side_by_side import Environments, largest_first, worker_environments
from benchmark.execution.planning.suite_expansion import Entry, entries_of, for_backbone
from benchmark.execution.planning.weights import Weights, resolve_weights
from benchmark.execution.worker.job import Job, Runs
from benchmark.file_names import file_name
from benchmark.plugins import plugin_files, registry_with
from benchmark.recipe import Recipe
from benchmark.recipe.suite import Suite, load_suite
from benchmark.records.outcomes import Outcome
from benchmark.records.record import BackboneFacts
from benchmark.records.run import Run
from benchmark.records.suite_membership import known_figures

# Validation images by which a learning rate is chosen, at least: the standard error of a share of 0.8 is 0.07 then.
LEAST_TO_TUNE = 30


@dataclass(frozen=True)
class Plan(Runs):
    """All that the user asked for: the runs, and what belongs to all of them. Nothing is written yet.

    Args:
        out, jobs: as of :class:`~benchmark.execution.worker.job.Runs`.
        images: all that they are trained on; its method ``save`` keeps the splits.
        notes: what a user must know before reading the board.
        suite: the suite that the runs come from, ``None`` where they come from options.
        members: the keys of the runs of each entry of the suite, by the entry's name.
        environments: what the environment of each worker has for its own; as many runs go on side by side.
    """

    images: Images
    notes: tuple[str, ...] = ()
    suite: Suite | None = None
    members: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    environments: Environments = ({},)

    @property
    def for_gpu(self) -> frozenset[str]:
        """Keys of the runs that are meant for a GPU, or for a small ``--limit``."""
        marked = [entry.name for entry in self.suite.entries if entry.gpu] if self.suite else []
        return frozenset(key for name in marked for key in self.members.get(name, ()))

    def is_slow(self, job: Job) -> bool:
        """Return whether a run is meant for a GPU, or for a small ``--limit``, and has neither."""
        return job.key in self.for_gpu and job.run.device_kind == "cpu" and job.data.limit is None


def make_plan(request: Request, say: Say = lambda *_: None) -> Plan:
    """Resolve a request.

    Args:
        request: what the user asked.
        say: is told what is being done where something takes long.

    Raises:
        UserError: anything that the user can mend.
    """
    suite = load_suite(request.suite) if request.suite else None
    if suite is not None:
        known_figures(suite)  # which the report will need
    registry = registry_with(plugin_files(request.settings.plugins))
    entries = entries_of(request, registry, suite)
    if request.split.limit is not None and request.split.limit < 1:
        raise UserError(f"--limit {request.split.limit}: give at least one image.")
    if request.rerun + request.rerun_speeds + request.only_failed > 1:
        raise UserError(
            "--rerun does finished runs again, --rerun-speeds measures their speeds again, --only-failed leaves them "
            "alone: give one of them."
        )
    _check_executor(request)
    if request.out is not None:
        _check_writable(request.out)
    engines = {
        engine_of(backbone, request.settings.keras_backend) for entry in entries for backbone in entry.backbones
    }
    notes: list[str] = []
    devices = _devices(request, engines, notes.append)

    images = Images(request, say)
    parts = [
        (own, backbone, images.folds(own.recipe, _size(backbone, own.recipe), own.folds))
        for entry in entries
        for backbone in entry.backbones
        for own in (for_backbone(entry, backbone),)
    ]
    every = [fold for _, _, folds in parts for fold in folds]
    _check_batch_size(request, every)
    out = (request.out or Path("results") / (file_name(_data_name(request, every), dots=False) or "data")).absolute()
    _check_writable(out)
    jobs, members = _Maker(request, devices, out).make(parts)
    notes += [f"Plug-in {plugin.origin} is left out: {plugin.reason}." for plugin in registry.broken]
    notes += _defaults(backbone for entry in entries for backbone in entry.backbones)
    notes += _namesakes(registry, (backbone for entry in entries for backbone in entry.backbones))
    notes += dict.fromkeys(note for fold in every for note in fold.notes())
    environments = _environments(request, jobs)
    if len(environments) > 1:
        jobs = largest_first(jobs, {backbone.name: backbone.parameters or 0 for _, backbone, _ in parts})
    settings = {"workers": len(environments)}
    jobs = tuple(job.model_copy(update={"settings": job.settings.model_copy(update=settings)}) for job in jobs)
    plan = Plan(out, jobs, images, tuple(notes), suite, members, environments)
    return replace(plan, notes=(*plan.notes, *_marked(plan)))


def _check_executor(request: Request) -> None:
    """Raise ``UserError`` where something was asked of a cluster that only this machine can do."""
    if request.executor == "local":
        return
    if request.settings.workers != "auto":
        raise UserError("--workers is for this machine alone: say at_once in a file for --cluster.")
    if request.rerun_speeds:
        raise UserError("--rerun-speeds measures on this machine, with nothing beside: leave --executor out.")


def _devices(request: Request, engines: set[str], say: Callable[[str], None]) -> dict[str, DeviceChoice]:
    """Return the device of each engine: this machine's, unless the cluster's description says what workers get."""
    gpus = None if request.executor == "local" else request.cluster.gpus
    if gpus is None:
        return choose_devices(request.device, engines, say)
    if request.device == ("cpu" if gpus else "cuda"):
        raise UserError(f"--device {request.device}, and gpus = {gpus} in the cluster file: give one of them.")
    if gpus:  # its name is its node's to tell
        return dict.fromkeys(engines, DeviceChoice("cuda", "GPU", request.cluster.bfloat16))
    return choose_devices("cpu", engines, say)


def _environments(request: Request, jobs: Sequence[Job]) -> Environments:
    """Return what each worker of this machine has for its own; on a cluster that is for its nodes to say.

    Speeds on a processor are measured anew with all of it.
    """
    on_processor = all(job.run.device_kind == "cpu" for job in jobs)
    anew = request.rerun_speeds and request.settings.workers == "auto" and on_processor
    if request.executor != "local" or anew:
        return ({},)
    return worker_environments(request.settings.workers, jobs)


def _marked(plan: Plan) -> list[str]:
    """Return a sentence on runs that take long without a GPU."""
    slow = [job for job in plan.jobs if plan.is_slow(job)]
    if not slow:
        return []
    return [
        f"{len(slow)} of {len(plan.jobs)} runs ({slow[0].recipe_name}, ...) are meant for a GPU and take long "
        "without one: give --limit, or choose others with --entry; --dry-run estimates the time."
    ]


def _defaults(backbones: Iterable[Backbone]) -> list[str]:
    """Return a sentence for each plug-in's backbone that leaves something to defaults."""
    notes = []
    for backbone in dict.fromkeys(backbones):
        left = backbone.left_open()
        if left and backbone.origin not in OWN_ORIGINS:
            defaults = "; ".join(f"{field} ({default})" for field, default in left.items())
            notes.append(f"{backbone.name} leaves to defaults: {defaults}.")
    return notes


def _namesakes(registry: Registry, backbones: Iterable[Backbone]) -> list[str]:
    """Return a sentence for each network of a library that is also declared here, and so may come twice."""
    declared = {_bare(name): name for name in registry.names()}
    notes = []
    for backbone in dict.fromkeys(backbones):
        library, colon, model = backbone.name.partition(":")
        twin = declared.get(_bare(f"{library}/{model.partition('.')[0]}")) if colon else None
        if twin is not None:
            weights = registry.get(twin).imagenet
            fixed = f", whose weights are {weights}" if weights else ""
            notes.append(
                f"{backbone.name} is what the installed {library} makes of that name. It is not {twin}{fixed}: they "
                "are two rows of a board."
            )
    return notes


def _bare(name: str) -> str:
    """Return a name without what libraries write differently: ``keras/EfficientNetB0``, ``keras/efficientnet_b0``."""
    return name.replace("_", "").casefold()


def _check_batch_size(request: Request, folds: Iterable[Fold]) -> None:
    batch_size = request.changes.get("batch_size")
    fewest = min((len(fold.split.train) for fold in folds if not fold.untrainable), default=0)
    if batch_size is not None and batch_size > fewest > 0:
        raise UserError(f"--batch-size {batch_size} is more than the {fewest} training images; give less.")


def _size(backbone: Backbone, recipe: Recipe) -> int:
    return recipe.size or backbone.input_size


def _data_name(request: Request, folds: Sequence[Fold]) -> str:
    """Return what the results are of: the data set, or all that are crossed."""
    if not request.cross:
        return folds[0].data.name
    return "-".join(("cross", *(fold.data.name for fold in folds[: len(request.cross)])))


def _check_writable(out: Path) -> None:
    """Raise ``UserError`` where the results folder can't be written; makes nothing."""
    out = out.absolute()
    nearest_existing = next(path for path in (out, *out.parents) if path.exists())
    if not nearest_existing.is_dir():
        raise UserError(f"--out {out}: {nearest_existing} is a file; give a folder.")
    if not os.access(nearest_existing, os.W_OK | os.X_OK):
        raise UserError(f"--out {out}: the folder {nearest_existing} is not writable; give another.")


class _Maker:
    """Makes the jobs of a plan.

    Args:
        request: what all of them share.
        devices: by engine.
        out: the results folder.
    """

    def __init__(self, request: Request, devices: Mapping[str, DeviceChoice], out: Path) -> None:
        self._request, self._devices, self._out = request, devices, out
        files = plugin_files(request.settings.plugins)
        self._settings = request.settings.model_copy(update={"plugins": files})

    def make(
        self, parts: Iterable[tuple[Entry, Backbone, tuple[Fold, ...]]]
    ) -> tuple[tuple[Job, ...], dict[str, tuple[str, ...]]]:
        """Return one job for each distinct run, named after every entry that asks for it, and each entry's keys."""
        jobs: dict[str, Job] = {}
        titles: dict[str, dict[str, None]] = {}
        members: dict[str, dict[str, None]] = {}
        keys: dict[tuple[str, ...], str] = {}
        for entry, backbone, folds in parts:
            for seed in entry.seeds:
                for fold in folds:
                    which = backbone.name, str(seed), fold.data.fingerprint, fold.split.name
                    parent = None if entry.parent is None else keys[entry.parent, *which]
                    job = self._job(entry, backbone, seed, fold, parent)
                    keys[entry.name, *which] = job.key
                    keep = job.keep_final or (job.key in jobs and jobs[job.key].keep_final)
                    jobs[job.key] = jobs.get(job.key, job).model_copy(update={"keep_final": keep})
                    titles.setdefault(job.key, {})[entry.title] = None
                    members.setdefault(entry.name, {})[job.key] = None
        named = (job.model_copy(update={"recipe_name": _joined(tuple(titles[key]))}) for key, job in jobs.items())
        return tuple(named), {name: tuple(keys) for name, keys in members.items()}

    def _job(self, entry: Entry, backbone: Backbone, seed: int, fold: Fold, parent: str | None) -> Job:
        """Return one run, continuing from the run of key ``parent``,
        with every choice resolved that can be before its framework is imported.
        """
        request, recipe = self._request, entry.recipe
        engine = engine_of(backbone, request.settings.keras_backend)
        device = self._devices[engine]
        precision = recipe.execution.precision
        if precision in ("auto", "native"):
            native = device.bfloat16 and (device.kind == "cuda" or precision == "native")
            precision = "bfloat16" if native else "float32"
        verdict = _verdict(backbone, engine)
        if fold.untrainable:
            verdict = (Outcome.BAD_DATA, fold.untrainable)
        few = _too_few_to_tune(recipe, len(fold.split.validation))
        if few and verdict is None:
            verdict = (Outcome.BAD_DATA, few)
        try:
            weights = resolve_weights(backbone, entry.policy)
        except Exception as error:  # a plug-in's local_weights may raise anything; it becomes that run's row
            weights = Weights(policy=entry.policy, requested="none", used="none")
            verdict = (Outcome.ERROR, f"Its local_weights raised {type(error).__name__}: {error}")
        run = Run(
            backbone=backbone.name,
            backbone_source=backbone.source_hash,
            recipe=recipe.with_values({"size": _size(backbone, recipe), "execution.precision": precision}),
            data_fingerprint=fold.data.fingerprint,
            images_hash=fold.images_hash,
            split_hash=fold.table_hash,
            seed=seed,
            engine=engine,
            device_kind=device.kind,
            precision=precision,
            weights=weights.requested,
            init_from=parent,
        )
        return Job(
            run=run,
            recipe_name=entry.title,
            backbone=BackboneFacts(
                name=backbone.name,
                framework=engine,
                library=backbone.library,
                note=backbone.note,
                origin=backbone.origin,
            ),
            data=fold.facts(),
            audit=fold.audit,
            weights=weights,
            settings=self._settings,
            device=device.name,
            data_folder=fold.folder,
            split_file=fold.split_file(self._out),
            out=self._out,
            keep_final=entry.followed,
            command=request.command,
            verdict=verdict,
        )


def _joined(titles: tuple[str, ...]) -> str:
    """Return the title of a run that several entries name: ``flip, as written`` and ``flip, corrected`` are one."""
    heads = {title.partition(", ")[0] for title in titles}
    if len(titles) > 1 and len(heads) == 1:
        return f"{heads.pop()}, {' = '.join(title.partition(', ')[2] for title in titles)}"
    return " = ".join(titles)


def _too_few_to_tune(recipe: Recipe, validation: int) -> str:
    """Return why a learning rate can't be chosen by so many validation images; empty where it can, or is given."""
    rates = len(recipe.tuning.learning_rates)
    if rates < 2 or validation >= LEAST_TO_TUNE:
        return ""
    return (
        f"Validation has {validation} images: too few to choose among {rates} learning rates by (at least "
        f"{LEAST_TO_TUNE}). Give a recipe with one rate, such as default, or more images."
    )


def _verdict(backbone: Backbone, engine: str) -> tuple[Outcome, str] | None:
    """Return how the run must end where that is clear without starting it."""
    if backbone.framework == "keras" and engine not in backbone.keras_backends:
        runs_on = " or ".join(backbone.keras_backends)
        return Outcome.UNSUPPORTED, f"{backbone.name} runs on Keras's {runs_on} backend only (--keras-backend)."
    missing = [*backbone.missing_modules()]
    missing += [module for module in engine_entry(engine).requires if importlib.util.find_spec(module) is None]
    if missing:
        missing = list(dict.fromkeys(missing))
        return (
            Outcome.MISSING_DEPENDENCY,
            f"Not installed: {', '.join(missing)}; {how_to_install(missing)} and give the same command again.",
        )
    return None
