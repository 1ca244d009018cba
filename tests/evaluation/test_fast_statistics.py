"""What is computed in fewer steps is, to the last bit, what the plain way gives."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import rankdata

from benchmark.evaluation import calibration_interval as of_calibration
from benchmark.evaluation.bootstrap import Bootstrap, running_sums
from benchmark.evaluation.decisions.selective import _areas, _by_confidence, _curves
from benchmark.evaluation.roc import ranks_of_sorted
from benchmark.evaluation.temperature import RANGE, cross_entropy, fit_temperature, scaled

RNG = np.random.default_rng(5)


def probabilities_of(images: int, skill: float = 2.0, digits: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    labels = RNG.integers(0, 4, images)
    logits = RNG.normal(0, 1, (images, 4))
    logits[np.arange(images), labels] += skill
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return labels, (chances if digits is None else np.round(chances, digits)).astype(np.float32)


@pytest.mark.parametrize("distinct", [1, 3, 40, 10**9])
def test_ranks_are_those_of_scipy(distinct: int) -> None:
    for count in (0, 1, 2, 500):
        values = np.sort(RNG.integers(0, distinct, count)).astype(np.float64)
        np.testing.assert_array_equal(ranks_of_sorted(values), rankdata(values))


def test_a_temperature_is_that_of_the_cross_entropy() -> None:
    for kind in (np.float32, np.float64):
        labels, probabilities = probabilities_of(333)
        probabilities = probabilities.astype(kind)
        optimum = minimize_scalar(
            lambda logarithm: cross_entropy(labels, scaled(probabilities, float(np.exp(logarithm)))),  # noqa: B023
            bounds=np.log(RANGE),
            method="bounded",
            options={"xatol": 1e-4},
        )
        assert fit_temperature(labels, probabilities) == float(np.exp(optimum.x))


@pytest.mark.parametrize("digits", [None, 1])  # with one digit many images are equally sure
@pytest.mark.parametrize("right", [0, 50, 300])
@pytest.mark.parametrize("kind", [np.uint16, np.float32, np.float64])
def test_areas_of_resamples_are_those_of_curves(digits: int | None, right: int, kind: type) -> None:
    labels, probabilities = probabilities_of(300, digits=digits)
    order, ends = _by_confidence(probabilities)
    wrong = (probabilities.argmax(axis=1) != labels)[order].astype(np.float64)
    wrong[:right] = 0  # the surest are right, as they mostly are
    weights = RNG.multinomial(299, np.full(300, 1 / 300), 40)
    areas = _areas(wrong, ends, weights.T.astype(kind))
    np.testing.assert_allclose(areas, _curves(wrong, ends, weights.astype(np.float64))[0], rtol=1e-13)
    alone = [_areas(wrong, ends, weights[[number]].T.astype(kind))[0] for number in range(3)]
    np.testing.assert_allclose(areas[:3], alone, rtol=1e-13)


def test_the_interval_of_calibration_does_not_depend_on_how_much_is_gone_through_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for gap in (0.0, 0.02, 0.3):
        gaps = np.stack([RNG.normal(gap, 0.3, (3, 80, 15)), RNG.integers(0, 3, (3, 80, 15)) + 0.5], axis=-1)
        resampled = Bootstrap(80, resamples=200).resample(gaps)
        intervals = []
        for together, chunk in ((56, 10**9), (8, 60_000), (1, 1000)):
            monkeypatch.setattr(of_calibration, "_TOGETHER", together)
            monkeypatch.setattr(of_calibration, "_CHUNK", chunk)
            intervals.append(of_calibration.calibration_interval(resampled))
        assert intervals[0] is not None
        assert intervals[0] == intervals[1] == intervals[2]


def test_draws_are_numbers_in_which_their_sums_are_exact() -> None:
    bootstrap = Bootstrap(40, resamples=10)
    for copies, kind in ((1, np.uint16), (1700, np.float32)):
        clusters = np.repeat(np.arange(40), copies)
        drawn = bootstrap.by_image(clusters, 2, 7)
        assert drawn.dtype == kind
        total = bootstrap.draws[2:7].T[clusters].astype(np.int64).cumsum(axis=0)
        np.testing.assert_array_equal(running_sums(drawn.copy()), total)
