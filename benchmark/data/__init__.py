"""Data sets: opened from any source, prepared once, split without leaks."""

from benchmark.data.dataset import DataSet, Split
from benchmark.data.prepare import load_prepared, open_dataset
from benchmark.data.split_files import load_split, save_split
from benchmark.data.splits import make_split

__all__ = ["DataSet", "Split", "load_prepared", "load_split", "make_split", "open_dataset", "save_split"]
