"""Every shipped recipe and suite entry goes well on every kind of network, or is refused with its sentence."""

import re

import pytest

from tests.engines.matrix import outcomes

pytestmark = pytest.mark.slow
# What a network this small, or frozen as a whole, can't do; whatever else is raised is a fault.
REFUSALS = (
    r"There is no stage '\w+' to train from\..* There are .*\.",
    r"trainable_from = 100 leaves nothing to train: the network has \d+ layers\.",
    r"Nothing of own/small is left to train, its head included: use head\.kind = 'linear' or 'dense256', .*\.",
)


@pytest.mark.parametrize(
    ("engine", "framework"),
    [
        pytest.param("torch", "torch", id="torch"),
        pytest.param("torch", "keras", id="keras-on-torch"),
        pytest.param("tensorflow", "keras", id="tensorflow", marks=pytest.mark.tensorflow),
    ],
)
def test_every_recipe_goes_well_on_every_kind_of_network_or_is_refused(engine: str, framework: str) -> None:
    for kind, counts in outcomes(engine, framework).items():
        for sentence in counts:
            assert sentence == "ok" or any(re.fullmatch(refusal, sentence) for refusal in REFUSALS), (kind, sentence)
        assert counts["ok"] > sum(counts.values()) * (0.25 if kind == "all of it frozen" else 0.8), (kind, counts)
