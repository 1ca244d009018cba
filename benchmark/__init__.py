"""TumorBoard: which vision backbone to use for brain-tumour MRI, settled fairly."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from benchmark.version import __version__

if TYPE_CHECKING:
    from backbones import Backbone
    from benchmark.data.audit.audit import Audit
    from benchmark.models.load import LoadedModel
    from benchmark.reporting.results import Results

__all__ = ["__version__", "audit", "list_backbones", "load_model", "load_results", "run"]


def run(
    backbones: "Sequence[str]" = (),
    *,
    data: "Path | str | Sequence[Path | str]" = "phantom",
    cross: bool = False,
    recipe: "Path | str | None" = None,
    changes: "Mapping[str, object] | None" = None,
    seeds: "Sequence[int] | Literal['auto']" = "auto",
    folds: "Sequence[int] | Literal['all'] | None" = None,
    weights: str | None = None,
    limit: int | None = None,
    plugins: "Sequence[Path | str]" = (),
    device: "Literal['auto', 'cpu', 'cuda']" = "auto",
    out: "Path | str | None" = None,
    track: "Sequence[str]" = (),
) -> "Results":
    """Train and evaluate backbones as ``python -m benchmark`` does, with its progress, and return the results.

    What is done already is kept, and the board is written into the results folder. A run that fails is a row, as on
    the command line; ``runs["status"]`` and ``runs["reason"]`` tell.

    Args:
        backbones: names as ``python -m benchmark list`` shows them, ``timm:NAME`` and ``keras:NAME`` too; none is all
            that are registered.
        data: a source, as for ``--data``; several where they are crossed.
        cross: whether to train on each source and test on each, as ``--cross`` does.
        recipe: name or path; by default ``quick`` for the phantom, else ``default``.
        changes: recipe fields by dotted name, such as ``{"optimizer.learning_rate": 3e-4}``.
        seeds: of the runs; ``auto`` is 0, and where a network trained in under a minute 1 and 2 too, but for the
            phantom and the recipe ``tune``.
        folds: numbers of folds from 1, or ``"all"``; by default one split.
        weights: ``imagenet``, ``local``, ``none`` or a file.
        limit: use so many images only.
        plugins: Python files with backbones of your own, which are run.
        device: where to compute.
        out: the results folder; by default ``results/`` and the name of the data.
        track: trackers that are told what happens, as for ``--track``, such as ``["mlflow"]``.

    Raises:
        benchmark.errors.UserError: what was asked for can't be done; the message is the command's.
        KeyboardInterrupt: the user stopped it; the same call goes on from there.

    Examples:
        >>> import benchmark
        >>> results = benchmark.run(["torch/baseline_cnn"], changes={"epochs": 1}, limit=60)  # doctest: +SKIP
        >>> results.leaderboard()[["backbone", "macro_f1"]]  # doctest: +SKIP
    """
    from rich.console import Console

    from benchmark.cli.run import carry_out, planned
    from benchmark.data.options import DataOptions
    from benchmark.data.splits.splits import SplitOptions
    from benchmark.errors import UserError
    from benchmark.execution.planning.request import SPLIT_SEED, Request, crossed_sources
    from benchmark.records.settings import Settings
    from benchmark.tracking.trackers import tracked

    tracked(track)  # a name that none has is refused before anything is done
    if isinstance(seeds, str) and seeds != "auto":
        raise UserError(f"seeds = '{seeds}': give whole numbers, such as [0, 1, 2], or 'auto'.")
    chosen_folds = folds if folds is None or isinstance(folds, str) else tuple(folds)
    sources = (str(data),) if isinstance(data, str | Path) else tuple(map(str, data))
    options = DataOptions(source=sources[0] if sources else "", size=0)
    split = SplitOptions(seed=SPLIT_SEED, limit=limit, folds=chosen_folds)
    request = Request(
        backbones=tuple(backbones),
        all=not backbones,
        data=options,
        cross=crossed_sources(sources, options, split, cross=cross),
        split=split,
        recipe=None if recipe is None else str(recipe),
        changes=dict(changes or {}),
        seeds=() if isinstance(seeds, str) else tuple(seeds),
        weights=weights,
        device=device,
        out=None if out is None else Path(out),
        settings=Settings(plugins=tuple(Path(plugin) for plugin in plugins)),
        command="benchmark.run",
        track=tuple(track),
    )
    console = Console()
    plan = planned(request, console)
    if carry_out(plan, request, console).interrupted:
        raise KeyboardInterrupt
    return load_results(plan.out)


def list_backbones(plugins: "Sequence[Path | str]" = ()) -> "tuple[Backbone, ...]":
    """Return the declaration of every registered backbone, sorted by name. No framework is imported.

    Installed plug-ins are among them; of those that can't be imported, ``python -m benchmark list`` tells the reason.

    Args:
        plugins: Python files with backbones of your own, which are run.

    Raises:
        benchmark.errors.UserError: a file does not exist, or can't be used.

    Examples:
        >>> import benchmark
        >>> [backbone.name for backbone in benchmark.list_backbones() if backbone.framework == "keras"][:2]
        ['keras/baseline_cnn', 'keras/efficientnet_b0']
    """
    from benchmark.plugins import plugin_files, registry_with

    registry = registry_with(plugin_files(plugins))
    return tuple(registry.get(name) for name in sorted(registry.names()))


def audit(
    source: "Path | str",
    *,
    size: int = 224,
    limit: int | None = None,
    dedupe: bool = False,
    skip_corrupt: bool = False,
) -> "Audit":
    """Look for what could flatter a score on a data set: copies, patients on both sides of the split, shortcuts.

    The images are prepared and kept in the cache, as a run does. The split is that of a run without further options:
    the official one where there is one, else a hold-out by patient.

    Args:
        source: a folder, a zip file, a manifest, ``phantom`` or ``cheng``, as for ``--data``.
        size: side of the prepared images, in pixels.
        limit: use so many images only.
        dedupe: leave out training images that also stand in test, and count them.
        skip_corrupt: leave out images that can't be read.

    Returns:
        What was found; ``findings`` has it in sentences, ``leaks`` those that make scores too high.

    Raises:
        benchmark.errors.UserError: the source does not exist or can't be read.
    """
    from benchmark.data.audit.audit import audit_data
    from benchmark.data.options import DataOptions, open_data
    from benchmark.data.splits.splits import SplitOptions, make_splits

    data = open_data(DataOptions(source=str(source), size=size, skip_corrupt=skip_corrupt))
    (split,) = make_splits(data, SplitOptions(limit=limit, dedupe=dedupe))
    return audit_data(data, split)


def load_results(*folders: "Path | str") -> "Results":
    """Read one results folder, or several as one, into pandas frames: ``runs``, ``predictions`` and ``history``.

    Scores are computed from the records, and no machine-learning framework is imported. What can't be used is named
    in ``problems``; the frames and their columns are described in :class:`benchmark.reporting.results.Results`.

    Args:
        folders: each the ``--out`` of a run, at least one.

    Raises:
        benchmark.errors.UserError: a folder does not exist, or has no record at all.

    Examples:
        >>> import benchmark
        >>> results = benchmark.load_results("results/phantom")  # doctest: +SKIP
        >>> results.runs.groupby("backbone")["macro_f1"].mean()  # doctest: +SKIP
    """
    from benchmark.reporting.results import load_results as load

    return load(*folders)


def load_model(path: "Path | str", *, device: str = "cpu", plugins: "Sequence[Path | str]" = ()) -> "LoadedModel":
    """Load a kept model into this process, with the framework that it needs.

    A process holds one framework: where another one is imported already, the model is refused, and
    ``python -m benchmark predict`` asks it in a process of its own.

    Args:
        path: the model's folder, or a results folder, whose best row's model is loaded.
        device: ``cpu`` or ``cuda``.
        plugins: Python files that declare backbones, where the model's own comes from one; they are run.

    Returns:
        The model; its ``predict`` takes images and returns a pandas frame with a row for each.

    Raises:
        benchmark.errors.UserError: there is no such model, it is damaged, made by a newer version, or its framework
            is not installed.

    Examples:
        >>> import benchmark
        >>> model = benchmark.load_model("results/phantom")  # doctest: +SKIP
        >>> model.predict("scans/")[["image", "decision", "uncertainty"]]  # doctest: +SKIP
    """
    from benchmark.models.load import load

    return load(path, device=device, plugins=[Path(plugin).expanduser().resolve() for plugin in plugins])
