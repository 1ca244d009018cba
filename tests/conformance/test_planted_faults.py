"""Each planted fault is caught by the check that is there for it, and the advice fits."""

from pathlib import Path

import pytest

from benchmark.conformance.checks import CHECKS
from benchmark.conformance.report import CheckResult
from benchmark.conformance.runner import examine
from benchmark.conformance.selection import find_backbones
from tests.conformance.planted import PLANTED, SOUND, Planted


def checked(folder: Path, source: str, *only: str) -> list[CheckResult]:
    path = folder / "faulty.py"
    path.write_text(source)
    (backbone,), plugins = find_backbones((str(path),), (), everything=False)
    return examine(backbone, plugins, only=only)


def test_a_sound_backbone_passes_every_check(tmp_path: Path) -> None:
    results = checked(tmp_path, SOUND)
    assert {result.check: result.detail for result in results if result.status != "passed"} == {}
    assert [result.check for result in results] == [check.name for check in CHECKS]


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.fault.replace(" ", "-"))
def test_a_planted_fault_is_caught(tmp_path: Path, planted: Planted) -> None:
    (result,) = checked(tmp_path, planted.source, planted.check)
    assert result.status == "failed", result
    assert planted.says in result.detail


def test_every_check_is_failed_by_a_planted_fault() -> None:
    assert {check.name for check in CHECKS} == {planted.check for planted in PLANTED}
