"""Data sets: opened from any source, prepared once, split without leaks, audited.

Names are imported when they are used, so that reading the command line's options does not import NumPy.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.data.audit.audit import Audit, audit_data
    from benchmark.data.dataset import DataSet, Split
    from benchmark.data.options import DataOptions, open_data
    from benchmark.data.preparation.prepare import load_prepared, open_dataset
    from benchmark.data.splits.files import load_split, save_split, save_split_table
    from benchmark.data.splits.splits import SplitOptions, make_split, make_splits

__all__ = [
    "Audit",
    "DataOptions",
    "DataSet",
    "Split",
    "SplitOptions",
    "audit_data",
    "load_prepared",
    "load_split",
    "make_split",
    "make_splits",
    "open_data",
    "open_dataset",
    "save_split",
    "save_split_table",
]

_HOMES = {
    **dict.fromkeys(("DataSet", "Split"), "dataset"),
    **dict.fromkeys(("DataOptions", "open_data"), "options"),
    **dict.fromkeys(("load_prepared", "open_dataset"), "preparation.prepare"),
    **dict.fromkeys(("load_split", "save_split_table", "save_split"), "splits.files"),
    **dict.fromkeys(("SplitOptions", "make_split", "make_splits"), "splits.splits"),
    **dict.fromkeys(("Audit", "audit_data"), "audit.audit"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
