"""Do intervals cover, and are equal readers called equal? By simulated studies whose truth is known."""

import numpy as np
import pytest
from populations import Population

from benchmark.evaluation.bootstrap import Bootstrap
from benchmark.evaluation.comparison import compare
from benchmark.evaluation.intervals import correlation, count_interval

STUDIES = 1000  # a share of 95 % is then known within 0.7 % (one standard error)
RESAMPLES = 200


@pytest.mark.parametrize(
    ("population", "seeds"),
    [
        (Population(60, skill=2.5), 1),
        (Population(60, skill=4.5), 1),
        (Population(120, skill=4.5), 1),
        (Population(60, skill=3.5, seed_sd=0.2), 3),
    ],
)
def test_intervals_of_macro_f1_cover(population: Population, seeds: int) -> None:
    truth = population.true_macro_f1()
    generator = np.random.default_rng(5)
    covered = 0
    for study in range(STUDIES):
        readings = population.study(generator, [population.skill], seeds)[0]
        interval = Bootstrap(population.patients, study, RESAMPLES).resample(readings).estimate().interval()
        covered += interval.low <= truth <= interval.high
    assert 0.93 <= covered / STUDIES <= 0.97


@pytest.mark.parametrize("population", [Population(60, skill=2.5), Population(120, skill=4.5)])
def test_intervals_of_false_negatives_cover(population: Population) -> None:
    confusion = population.truth()
    share = 1 - confusion[0, 0] / confusion[0].sum()
    generator = np.random.default_rng(7)
    covered = naive = 0
    for _ in range(STUDIES):
        matrices = population.study(generator, [population.skill])[0, 0]
        clusters, labels, predicted = (
            np.repeat(axis, matrices.ravel()) for axis in np.indices(matrices.shape).reshape(3, -1)
        )
        wrong = (labels != predicted).astype(float)
        mine = labels == 0
        alike = correlation(wrong, labels, clusters)
        interval = count_interval(wrong[mine].sum(), clusters[mine], 1.0 if alike is None else alike)
        plain = count_interval(wrong[mine].sum(), np.arange(mine.sum()), 0.0)
        covered += interval.low <= share * mine.sum() <= interval.high
        naive += plain.low <= share * mine.sum() <= plain.high
    assert 0.93 <= covered / STUDIES <= 0.985  # few images of one class: counts are coarse, Wilson errs to the wide
    assert naive / STUDIES < 0.93  # slices of a patient are not independent


@pytest.mark.parametrize(("patients", "skill"), [(60, 2.5), (120, 4.5)])
def test_equal_readers_are_seldom_called_different(patients: int, skill: float) -> None:
    population = Population(patients, skill=skill)
    generator = np.random.default_rng(6)
    pairs = boards = 0
    for study in range(STUDIES // 2):
        rows = population.study(generator, [skill] * 4)
        bootstrap = Bootstrap(patients, study, RESAMPLES)
        estimates = [bootstrap.resample(row, i).estimate() for i, row in enumerate(rows)]
        pairs += sum(comparison.p < 0.05 for comparison in compare(estimates[:2]))
        boards += any(comparison.better is not None for comparison in compare(estimates))
    # at most 5 %, within two standard errors of this many studies
    limit = 0.05 + 2 * np.sqrt(0.05 * 0.95 / (STUDIES // 2))
    assert pairs / (STUDIES // 2) <= limit
    assert boards / (STUDIES // 2) <= limit


def test_a_real_difference_is_found() -> None:
    population = Population(150)
    generator = np.random.default_rng(8)
    found = 0
    for study in range(100):
        rows = population.study(generator, [3.5, 2.5])
        bootstrap = Bootstrap(150, study, RESAMPLES)
        found += (
            compare([bootstrap.resample(row, i).estimate() for i, row in enumerate(rows)])[0].better == 0
        )
    assert found >= 95
