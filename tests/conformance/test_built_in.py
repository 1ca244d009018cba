"""The four cheapest built-in backbones hold to the suite; ``python -m benchmark check --all`` checks all of them."""

import pytest

from backbones.registry import load_registry
from benchmark.conformance.checks import CHECKS
from benchmark.conformance.runner import examine


@pytest.mark.parametrize(
    "name", ["torch/baseline_cnn", "keras/baseline_cnn", "timm/tf_efficientnet_lite0", "timm/efficientnet_b0"]
)
def test_it_passes_every_check(name: str) -> None:
    results = examine(load_registry().get(name), ())
    assert {result.check: result.detail for result in results if result.status != "passed"} == {}
    assert [result.check for result in results] == [check.name for check in CHECKS]
