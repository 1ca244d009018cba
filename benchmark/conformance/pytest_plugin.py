"""The conformance suite as a pytest plug-in, for contributors' own continuous integration.

``pytest --tumorboard-check my_net.py`` (or a registered name; repeatable) collects one test for each check of
each backbone that the file declares. Without the option the plug-in does nothing and imports nothing.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from backbones import Backbone
    from benchmark.conformance.report import CheckResult

_RESULTS = pytest.StashKey[dict[str, dict[str, Any]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--tumorboard-check``."""
    group = parser.getgroup("tumorboard", "conformance of TumorBoard backbones")
    group.addoption(
        "--tumorboard-check",
        action="append",
        default=[],
        metavar="NAME|FILE",
        help="check this backbone, or those that this file declares (repeatable)",
    )


class ConformanceFailure(Exception):
    """Carries what a check said."""


class CheckItem(pytest.Item):
    """One check of one backbone."""

    def __init__(self, *, backbone: "Backbone", plugins: tuple[Path, ...], check: str, **options: Any) -> None:
        super().__init__(**options)
        self.backbone, self.plugins, self.check = backbone, plugins, check

    def runtest(self) -> None:
        """Examine the backbone with its first test; read the result with the others."""
        from benchmark.conformance.runner import examine

        by_backbone = self.config.stash.setdefault(_RESULTS, {})
        if self.backbone.name not in by_backbone:
            by_backbone[self.backbone.name] = {each.check: each for each in examine(self.backbone, self.plugins)}
        results: dict[str, CheckResult] = by_backbone[self.backbone.name]
        result = results.get(self.check) or results["stays_alive"]
        if result.status == "skipped":
            pytest.skip(result.detail)
        if not result.good:
            raise ConformanceFailure(result.detail)

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """Show what the check said, without a traceback into the harness."""
        if isinstance(excinfo.value, ConformanceFailure):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Name the test by backbone and check."""
        return self.path, None, f"{self.backbone.name}: {self.check}"


class Conformance(pytest.Collector):
    """The checks of the backbones named on the command line."""

    def collect(self) -> Iterator[CheckItem]:
        """Yield a test for each check of each backbone."""
        from benchmark.conformance.checks import CHECKS
        from benchmark.conformance.selection import find_backbones

        for asked in self.config.getoption("--tumorboard-check"):
            backbones, plugins = find_backbones((asked,), (), everything=False)
            for backbone in backbones:
                for check in CHECKS:
                    name = f"{backbone.name}::{check.name}"
                    yield CheckItem.from_parent(self, name=name, backbone=backbone, plugins=plugins, check=check.name)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    """Add the conformance tests to whatever else was collected."""
    if session.config.getoption("--tumorboard-check"):
        collector = Conformance.from_parent(session, name="conformance", path=session.path)
        items.extend(collector.collect())
