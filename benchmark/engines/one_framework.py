"""One framework a process: both in one crash, and some libraries import whichever they find."""

import sys
from typing import Any

from benchmark.engines import engine_entry
from benchmark.records.outcomes import Outcome, RunFailure


class _Without:
    """A finder of modules that does not find one package; all else is left to the finder it stands for."""

    def __init__(self, finder: Any, package: str) -> None:
        self._finder, self.package = finder, package

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] == self.package:
            return None
        return self._finder.find_spec(name, path, target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)


def shut_out_other_framework(engine: str) -> None:
    """Make the frameworks that an engine excludes look as if they were not installed.

    Two in one process crash, and some libraries import whichever they find (keras-cv imports torch).
    """
    for other in engine_entry(engine).excludes:
        if not any(isinstance(finder, _Without) and finder.package == other for finder in sys.meta_path):
            sys.meta_path[:] = [_Without(finder, other) for finder in sys.meta_path]


def assert_one_framework(engine: str) -> None:
    """Raise ``RunFailure`` where another framework came into this process: its result may not be trusted."""
    for other in engine_entry(engine).excludes:
        if other in sys.modules:
            raise RunFailure(
                Outcome.ERROR,
                f"The backbone's code imported {other} into a process that runs {engine}; import one only.",
            )
