"""Do intervals cover, and are equal readers called equal? By simulated studies whose truth is known."""

import numpy as np
import pytest
from populations import Population, Probabilities

from benchmark.evaluation.bootstrap import Bootstrap
from benchmark.evaluation.calibration import (
    at_specificity,
    brier,
    calibration_error,
    expected_cost,
    reliability,
    reports,
    threshold_at,
)
from benchmark.evaluation.calibration_interval import calibration_interval
from benchmark.evaluation.clusters import ClusteredImages, Readings, gaps_by_cluster
from benchmark.evaluation.comparison import compare, rank_intervals
from benchmark.evaluation.intervals import Interval, correlation, count_interval, wilson
from benchmark.evaluation.metrics import accuracy, mcc, score
from benchmark.evaluation.multiple_testing import holm
from benchmark.evaluation.predictions import Setting, estimates_of
from benchmark.records.record import Predictions

STUDIES = 1000  # a share of 95 % is then known within 0.7 % (one standard error)
RESAMPLES = 200


@pytest.mark.parametrize(
    ("population", "seeds"),
    [
        (Population(24, skill=2.5), 1),
        (Population(24, skill=3.5), 1),
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
        assert interval is not None
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


@pytest.mark.parametrize(
    ("population", "seeds"),
    [(Population(60, skill=2.5), 1), (Population(120, skill=4.5), 1), (Population(60, skill=3.5, seed_sd=0.2), 3)],
)
def test_equal_readers_are_seldom_called_different(population: Population, seeds: int) -> None:
    generator = np.random.default_rng(6)
    pairs = boards = 0
    for study in range(STUDIES // 2):
        rows = population.study(generator, [population.skill] * 4, seeds)
        bootstrap = Bootstrap(population.patients, study, 1000)  # the step-down is read off the resamples
        estimates = [bootstrap.resample(row, i).estimate() for i, row in enumerate(rows)]
        pairs += sum(comparison.p < 0.05 for comparison in compare(estimates[:2]))
        boards += any(comparison.better is not None for comparison in compare(estimates))
    # at most 5 %, within two standard errors of this many studies
    limit = 0.05 + 2 * np.sqrt(0.05 * 0.95 / (STUDIES // 2))
    assert pairs / (STUDIES // 2) <= limit
    assert boards / (STUDIES // 2) <= limit


def test_rank_intervals_hold_all_true_ranks_at_once_and_decide_more_than_holm() -> None:
    population = Population(60)
    skills = [3.6, 3.6, 3.0, 2.6, 2.6, 2.0]
    true = [(1, 2), (1, 2), (3, 3), (4, 5), (4, 5), (6, 6)]  # equal readers share their ranks
    generator = np.random.default_rng(12)
    studies, hold, decided, by_holm = 400, 0, 0, 0
    for study in range(studies):
        rows = population.study(generator, skills)
        bootstrap = Bootstrap(population.patients, study, RESAMPLES)
        found = compare([bootstrap.resample(row, i).estimate() for i, row in enumerate(rows)])
        ranks = rank_intervals(len(skills), found)
        hold += all(each.first <= low and high <= each.last for each, (low, high) in zip(ranks, true, strict=True))
        decided += sum(pair.better is not None for pair in found)
        by_holm += sum(p < 0.05 for p in holm(np.array([pair.p for pair in found])))
    assert hold / studies >= 0.95 - 2 * np.sqrt(0.95 * 0.05 / studies)
    assert decided > 1.02 * by_holm


def test_a_real_difference_is_found() -> None:
    population = Population(150)
    generator = np.random.default_rng(8)
    found = 0
    for study in range(100):
        rows = population.study(generator, [3.5, 2.5])
        bootstrap = Bootstrap(150, study, RESAMPLES)
        found += compare([bootstrap.resample(row, i).estimate() for i, row in enumerate(rows)])[0].better == 0
    assert found >= 95


CLASSES = ("glioma", "meningioma", "notumor", "pituitary")
COSTS = np.array([[0, 1, 20, 1], [1, 0, 20, 1], [2, 2, 0, 2], [1, 1, 20, 0]], dtype=float)
MEASURES = {"accuracy": (accuracy, 0.0), "mcc": (mcc, -1.0)}
SETTING = Setting(CLASSES, "notumor", n_train=1000, n_test=400, measures=MEASURES, costs=COSTS)


def scored(test: Predictions, validation: Predictions) -> dict[str, float]:
    """Return the scores of one network by column name, its threshold chosen on validation images."""
    labels, chances = test.labels, test.probabilities
    threshold = threshold_at(validation.labels, validation.probabilities, 2)
    assert threshold is not None
    reported, ill = reports(chances, 2, threshold), labels != 2
    matched = at_specificity((labels, chances), (labels, chances), 2)
    assert matched is not None
    found = score(labels, chances, CLASSES, "notumor")
    return {
        "accuracy": found.accuracy,
        "mcc": float(mcc(found.confusion)),
        "auroc": found.auroc,
        "brier": brier(labels, chances),
        "ece": reliability(labels, chances).error,
        "sensitivity_at_95": float(reported[ill].mean()),
        "specificity_at_95": float((~reported[~ill]).mean()),
        "sensitivity_matched": matched.sensitivity,
        "cost": float(expected_cost(found.confusion, COSTS)),
        **{f"f1_{each.name}": each.f1 for each in found.classes},
        **{f"recall_{each.name}": each.recall for each in found.classes},
    }


def intervals_of(test: Predictions, validation: Predictions) -> dict[str, Interval]:
    """Return the intervals of these scores."""
    images = ClusteredImages.of([test])
    chances = images.aligned([test])
    assert chances is not None
    readings = Readings(images, chances[None], ((validation,),))
    return estimates_of(readings, Bootstrap(images.count, 1, RESAMPLES), SETTING, 0)[1]


@pytest.mark.parametrize(
    "population", [Probabilities(patients=150, skill=3.0, temperature=0.6), Probabilities(patients=400, skill=4.0)]
)
def test_intervals_of_all_scores_cover(population: Probabilities) -> None:
    large = population.study(np.random.default_rng(98), 60_000)
    truth = scored(large, large)  # of the threshold that validation images without number give
    generator, others = np.random.default_rng(9), np.random.default_rng(10)
    studies = 300
    covered = dict.fromkeys(truth, 0)
    for _ in range(studies):
        test = population.study(generator)
        validation = population.study(others, population.patients // 2)
        values, intervals = scored(test, validation), intervals_of(test, validation)
        for name in covered:
            covered[name] += intervals[name].low <= truth[name] <= intervals[name].high
            assert intervals[name].low <= values[name] <= intervals[name].high
    shares = {name: count / studies for name, count in covered.items()}
    error = 2 * np.sqrt(0.95 * 0.05 / studies)  # of a share of 95 % in this many studies
    # the threshold rests on as many validation images as the correlation within patients leaves, rounded to few
    most = {"sensitivity_at_95": 0.985, "specificity_at_95": 0.985}
    wrong = {
        name: share
        for name, share in shares.items()
        if not 0.93 - error / 2 <= share <= most.get(name, 0.97) + error / 2
    }
    assert wrong == {}


def test_the_threshold_that_few_images_gave_is_part_of_the_interval() -> None:
    """33 images without a tumour give a threshold whose specificity may be anything from 0.84 to 0.99."""
    population = Probabilities(patients=400, skill=2.0, slices=1.0)
    large = population.study(np.random.default_rng(98), 100_000)
    truth = scored(large, large)
    generator = np.random.default_rng(13)
    names, studies = ("sensitivity_at_95", "specificity_at_95"), 300
    covered, without = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for _ in range(studies):
        test, validation = population.study(generator), population.study(generator, 132)
        images = ClusteredImages.of([test])
        values, intervals = scored(test, validation), intervals_of(test, validation)
        for name in names:
            covered[name] += intervals[name].low <= truth[name] <= intervals[name].high
            mine = images.labels != 2 if name == "sensitivity_at_95" else images.labels == 2
            alone = wilson(values[name] * mine.sum(), int(mine.sum()))
            without[name] += alone.low <= truth[name] <= alone.high
    error = 2 * np.sqrt(0.95 * 0.05 / studies)
    for name in names:
        assert 0.95 - error <= covered[name] / studies <= 0.985
        assert without[name] < 0.85 * studies


@pytest.mark.parametrize(
    ("population", "most"),
    [
        (Probabilities(patients=150, skill=3.0, temperature=0.6), 0.97),
        (Probabilities(patients=400, skill=4.0), 0.97),
        (Probabilities(patients=150, skill=3.0, temperature=1.0, patient_sd=0.0), 0.97),
        # where the error is no more than noise gives, the interval reaches from 0, below which no error can lie
        (Probabilities(patients=24, skill=2.0, temperature=1.0, slices=5.0), 0.99),
        (Probabilities(patients=150, skill=1.0, temperature=1.6), 0.99),
    ],
)
def test_intervals_of_the_calibration_error_cover(population: Probabilities, most: float) -> None:
    """The error is biased: what is observed, and the usual interval around it, lie too high."""
    large = population.study(np.random.default_rng(98), 100_000)
    truth = reliability(large.labels, large.probabilities).error
    generator = np.random.default_rng(11)
    studies, covered, usual = 400, 0, 0
    for study in range(studies):
        test = population.study(generator)
        images = ClusteredImages.of([test])
        chances = images.aligned([test])
        assert chances is not None
        gaps = Bootstrap(images.count, study, RESAMPLES).resample(gaps_by_cluster(images, chances)[None])
        interval, plain = calibration_interval(gaps), gaps.estimate(calibration_error).interval()
        assert interval is not None
        assert plain is not None
        covered += interval.low <= truth <= interval.high
        usual += plain.low <= truth <= plain.high
    error = np.sqrt(0.95 * 0.05 / studies)  # of a share of 95 % in this many studies
    assert 0.93 - error <= covered / studies <= most + error
    assert usual < covered
