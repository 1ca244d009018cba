"""TumorBoard: which vision backbone to use for brain-tumour MRI, settled fairly."""

from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.version import __version__

if TYPE_CHECKING:
    from benchmark.reporting.results import Results

__all__ = ["__version__", "load_results"]


def load_results(*folders: "Path | str") -> "Results":
    """Read one results folder, or several as one, into pandas frames: ``runs``, ``predictions`` and ``history``.

    Scores are computed from the records, and no machine-learning framework is imported. What can't be used is named
    in ``problems``; the frames and their columns are described in :class:`benchmark.reporting.results.Results`.

    Args:
        folders: each the ``--out`` of a run, at least one.

    Raises:
        benchmark.errors.UserError: a folder does not exist, or has no record at all.

    Example:
        >>> import benchmark
        >>> results = benchmark.load_results("results/phantom")  # doctest: +SKIP
        >>> results.runs.groupby("backbone")["macro_f1"].mean()  # doctest: +SKIP
    """
    from benchmark.reporting.results import load_results as load

    return load(*folders)
