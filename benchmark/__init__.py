"""TumorBoard: which vision backbone to use for brain-tumour MRI, settled fairly."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.version import __version__

if TYPE_CHECKING:
    from backbones import Backbone
    from benchmark.data.audit.audit import Audit
    from benchmark.reporting.results import Results

__all__ = ["__version__", "audit", "list_backbones", "load_results"]


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
    from backbones.registry import load_registry
    from benchmark.errors import UserError

    files = tuple(Path(plugin).expanduser().resolve() for plugin in plugins)
    for file in files:
        if not file.is_file():
            raise UserError(f"There is no plug-in file '{file}'.")
    registry = load_registry(files)
    for broken in registry.broken:
        if broken.origin in map(str, files):
            raise UserError(f"The plug-in '{broken.origin}' can't be used: {broken.reason}.")
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
    from benchmark.data import DataOptions, SplitOptions, audit_data, make_splits, open_data

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
