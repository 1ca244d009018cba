"""What a job names, as its worker finds it: the backbone, the images, the kept outputs of frozen stages."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backbones import Backbone
from backbones.registry import load_registry
from benchmark.data.dataset import DataSet, Split
from benchmark.data.preparation.cache import cache_root
from benchmark.data.preparation.prepare import load_prepared
from benchmark.data.splits.files import load_split, split_table
from benchmark.engines import BuildSpec, Engine, create
from benchmark.errors import UserError
from benchmark.execution.worker.job import Job
from benchmark.hashing import hash_bytes
from benchmark.records.outcomes import Outcome, RunFailure
from benchmark.training.feature_cache import Caching
from benchmark.training.feature_store import FeatureStore


def find_declared(job: Job) -> Backbone:
    """Return the adapter that the plan saw, read anew.

    Raises:
        RunFailure: it is no longer there or its file has changed, it lacks a module, or it says that it does not
            apply.
    """
    registry = load_registry(job.settings.plugins)
    try:
        backbone = registry.get(job.run.backbone)
    except KeyError:
        broken = "; ".join(f"{plugin.origin}: {plugin.reason}" for plugin in registry.broken)
        raise RunFailure(
            Outcome.ERROR, f"The worker does not find the backbone {job.run.backbone} ({broken})."
        ) from None
    if backbone.source_hash != job.run.backbone_source:
        raise RunFailure(Outcome.ERROR, f"The file that declares {backbone.name} changed meanwhile; try again.")
    reason = backbone.unsupported() if backbone.unsupported else None
    if reason:
        raise RunFailure(Outcome.UNSUPPORTED, reason)
    return backbone


def load_images(job: Job) -> tuple[DataSet, Split]:
    """Return the prepared images of a run, and their split.

    Raises:
        RunFailure: ``bad_data`` where they can't be read, or are not those that were planned: who may write to the
            results folder may change the split there.
    """
    try:
        data = load_prepared(job.data_folder)
        split = load_split(job.split_file)
        table = split_table(data, (split,))
    except (UserError, OSError, ValueError, IndexError) as error:
        raise RunFailure(Outcome.BAD_DATA, f"The prepared data can't be read: {error}") from error
    if data.fingerprint != job.run.data_fingerprint or hash_bytes(table) != job.run.split_hash:
        raise RunFailure(
            Outcome.BAD_DATA, f"The prepared images or the split in {job.split_file} changed meanwhile; try again."
        )
    return data, split


def new_engine(job: Job) -> Engine:
    """Import the framework of a run, and return the engine that does it."""
    run, execution = job.run, job.run.recipe.execution
    return create(run.engine, run.device_kind, tf32=execution.tf32, deterministic=execution.deterministic)


def build_spec(
    job: Job,
    backbone: Backbone,
    num_classes: int,
    weights: Path | str | None = None,
    init_from: Path | None = None,
) -> BuildSpec:
    """Return what a run's engine is asked to build; see :class:`BuildSpec`."""
    recipe = job.run.recipe
    return BuildSpec(backbone, recipe, num_classes, recipe.size, weights, job.run.seed, init_from)


def feature_store(job: Job) -> FeatureStore | None:
    """Return where what is computed of images alone is kept; ``None`` where nothing is."""
    if job.settings.cache_budget == 0:
        return None
    return FeatureStore(cache_root() / "prefixes", job.settings.cache_budget)


def caching_of(job: Job, backbone: Backbone, provenance: Mapping[str, Any]) -> Caching | None:
    """Return where the outputs of frozen stages are kept, with what of this process may change them."""
    store = feature_store(job)
    if store is None:
        return None
    versions = {name: provenance[name] for name in ("tumorboard", "python", "libraries")}
    origin = {"backbone": backbone.name, "source": backbone.source_hash, **versions}
    return Caching(store, origin)
