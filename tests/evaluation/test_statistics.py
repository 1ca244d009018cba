"""Formulas against published worked examples and independent implementations."""

import numpy as np
import numpy.typing as npt
import pytest
from populations import Population
from scipy.stats import chi2
from sklearn.metrics import brier_score_loss, roc_auc_score

from benchmark.evaluation.bootstrap import Bootstrap
from benchmark.evaluation.calibration import (
    at_specificity,
    brier,
    by_patient,
    calibration_error,
    expected_cost,
    reliability,
    threshold_at,
)
from benchmark.evaluation.calibration_interval import calibration_interval
from benchmark.evaluation.clusters import ClusteredImages, Readings, confusion_by_cluster, gaps_by_cluster
from benchmark.evaluation.comparison import (
    Comparisons,
    RankInterval,
    compare,
    mcnemar_clustered,
    mcnemar_each,
    nadeau_bengio_each,
    rank_intervals,
)
from benchmark.evaluation.decisions.operating_point import thresholds
from benchmark.evaluation.intervals import (
    clopper_pearson,
    correlation,
    count_interval,
    effective_size,
    logit_interval,
    satterthwaite,
    wilson,
)
from benchmark.evaluation.metrics import accuracy, macro_f1
from benchmark.evaluation.multiple_testing import holm, stepped_down
from benchmark.evaluation.predictions import Setting, estimates_of
from benchmark.evaluation.roc import clustered_variance, influence
from benchmark.records.record import Predictions


# Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3
@pytest.mark.parametrize(
    ("count", "trials", "published"),
    [
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0000, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
    ],
)
def test_intervals_of_shares(count: int, trials: int, published: tuple[float, float]) -> None:
    interval = wilson(count, trials)
    assert (round(interval.low, 4), round(interval.high, 4)) == published


def test_exact_intervals_of_shares() -> None:
    # Newcombe 1998, table I, method 5 (Clopper and Pearson)
    for (count, trials), published in {
        (81, 263): (0.2527, 0.3676),
        (15, 148): (0.0578, 0.1617),
        (0, 20): (0.0, 0.1684),
        (1, 29): (0.0009, 0.1776),
    }.items():
        interval = clopper_pearson(count, trials)
        assert (round(interval.low, 4), round(interval.high, 4)) == published


def test_what_does_not_vary_has_no_interval() -> None:
    assert logit_interval(0.0, 0.0, 10, 20, -1.0, 1.0) is None  # the correlation of a constant answer
    whole = logit_interval(1.0, 0.0, 10, 20)
    assert whole is not None
    assert whole.low == pytest.approx(wilson(20, 20).low)


def test_no_event_in_300_is_not_an_interval_of_zero() -> None:
    alone = count_interval(0, np.arange(300), 0.0)
    of_sixty_patients = count_interval(0, np.repeat(np.arange(60), 5), 1.0)
    assert alone.low == of_sixty_patients.low == 0
    assert alone.high == pytest.approx(300 * (1 - 0.025 ** (1 / 300)))  # Clopper and Pearson
    assert of_sixty_patients.high > 4 * alone.high


def test_effective_size_runs_from_clusters_to_images() -> None:
    sizes = np.full(500, 4)
    assert effective_size(sizes, 0.0) == pytest.approx(2000, rel=0.01)
    assert effective_size(sizes, 1.0) == pytest.approx(500, rel=0.01)
    assert effective_size(np.ones(30, dtype=np.int64), 1.0) == 30  # nothing is clustered


def test_correlation_within_clusters() -> None:
    generator = np.random.default_rng(0)
    clusters = np.repeat(np.arange(2000), 4)
    labels = clusters % 3
    by_patient_only = (generator.random(2000) < 0.3)[clusters].astype(float)
    independent = (generator.random(8000) < 0.3).astype(float)
    assert correlation(by_patient_only, labels, clusters) == pytest.approx(1.0, abs=0.02)
    assert correlation(independent, labels, clusters) == pytest.approx(0.0, abs=0.03)
    assert correlation(np.zeros(8000), labels, clusters) is None


def test_classes_of_unlike_difficulty_are_not_correlation() -> None:
    clusters = np.repeat(np.arange(2000), 4)
    labels = clusters % 2
    events = (np.random.default_rng(0).random(8000) < np.where(labels == 0, 0.05, 0.6)).astype(float)
    assert correlation(events, labels, clusters) == pytest.approx(0.0, abs=0.03)


def test_holm_as_in_r() -> None:
    # p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm"), and the same shuffled
    assert holm(np.array([0.01, 0.02, 0.03, 0.04, 0.05])) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert holm(np.array([0.04, 0.01, 0.05, 0.02, 0.03])) == pytest.approx([0.09, 0.05, 0.09, 0.08, 0.09])
    assert holm(np.array([0.6, 0.9])).tolist() == [1.0, 1.0]
    assert holm(np.array([])).tolist() == []


def romano_wolf(p_values: np.ndarray, deviations: np.ndarray) -> list[float]:
    """Correct p-values by deviations of shape (B, M), all at hand."""
    sizes = np.ascontiguousarray(np.abs(deviations).T)
    return stepped_down(p_values, lambda tests: sizes[tests], len(deviations)).tolist()


def test_romano_wolf_of_all_pairs_is_tukeys() -> None:
    # means of 5 groups with one known variance: the largest of all differences has Tukey's studentized range
    from scipy.stats import norm, studentized_range

    generator = np.random.default_rng(0)
    pairs = [(i, j) for i in range(5) for j in range(i + 1, 5)]
    drawn = generator.normal(size=(200_000, 5))
    deviations = np.stack([(drawn[:, i] - drawn[:, j]) / np.sqrt(2) for i, j in pairs], axis=1)
    statistics = np.zeros(len(pairs))
    statistics[3] = 2.9
    adjusted = romano_wolf(2 * norm.sf(statistics), deviations)
    exact = studentized_range.sf(2.9 * np.sqrt(2), 5, np.inf)
    assert adjusted[3] == pytest.approx(exact, rel=0.02)
    assert exact < holm(2 * norm.sf(statistics))[3]  # Holm's allows for any dependence


def test_romano_wolf_steps_down_as_it_is_defined() -> None:
    # Romano & Wolf 2005, algorithm 2.1 in p-values: in each step the largest statistic of those that are left
    from scipy.stats import norm

    generator = np.random.default_rng(1)
    common = generator.normal(size=(999, 1))
    deviations = 0.7 * common + 0.7 * generator.normal(size=(999, 6))
    statistics = np.array([2.4, 0.3, 3.1, 1.9, 2.4, 1.0])
    expected: dict[int, float] = {}
    floor, left = 0.0, list(range(6))
    for test in np.argsort(-statistics, kind="stable"):
        largest = np.abs(deviations[:, left]).max(axis=1)
        floor = max(floor, (np.sum(largest >= statistics[test]) + 1) / 1000)
        expected[int(test)] = floor
        left.remove(int(test))
    p_values = 2 * norm.sf(statistics)
    bound = holm(p_values)
    assert romano_wolf(p_values, deviations) == pytest.approx(
        [max(p_values[k], min(expected[k], bound[k])) for k in range(6)]
    )
    assert romano_wolf(np.array([]), np.zeros((999, 0))) == []
    assert romano_wolf(np.array([1e-9]), deviations[:, :1]) == [1e-9]  # the resamples do not limit one test


def test_mcnemar_exact() -> None:
    # Fay 2010 (R package exact2x2), table 21, 9, 2, 12: p = 0.06543
    assert mcnemar_each(np.array([9, 0]), np.array([2, 0])) == pytest.approx([0.06543, 1.0], abs=1e-5)


def test_mcnemar_in_clusters() -> None:
    def clustered(differences: npt.ArrayLike) -> npt.NDArray[np.float64]:
        d = np.asarray(differences, dtype=np.float64)
        return mcnemar_clustered(np.array([d.sum()]), np.array([(d**2).sum()]), len(d))

    # parathyroid glands of 21 patients, PET against SPECT (Obuchowski 1998; 2.86 as Durkalski 2003 reports it)
    pet_less_spect = [-2, -1, 0, 0, -1, 0, 0, 0, 1, 0, 0, 0, 0, 0, -2, 0, 0, -1, 0, 0, 0]
    (p,) = clustered(pet_less_spect)
    assert chi2.isf(p, 1) == pytest.approx(2.86, abs=0.005)
    # patients of 29 psychiatrists (Durkalski 2003: 7.19)
    before = [0, 1, 1, 1, 0, 3, 3, 3, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, 1, 1, 2, 0, 0, 0, 0, 0, 0, 0]
    after = [4, 2, 3, 2, 1, 3, 0, 2, 2, 4, 2, 4, 3, 2, 1, 3, 1, 2, 0, 0, 0, 2, 1, 2, 2, 0, 0, 1, 1]
    (p,) = clustered(np.subtract(before, after))
    assert chi2.isf(p, 1) == pytest.approx(7.19, abs=0.005)
    assert p == pytest.approx(0.0073, abs=1e-4)


def test_nadeau_bengio_by_hand() -> None:
    # d = 1, 2, 3, 4, 5 (%): mean 3, variance 2.5; ten-to-one split: t = 3 / sqrt((1/5 + 1/10) 2.5)
    from scipy.stats import t

    (p,) = nadeau_bengio_each(np.array([[0.01, 0.02, 0.03, 0.04, 0.05]]), n_train=1000, n_test=100)
    assert p == pytest.approx(2 * t.sf(3 / np.sqrt(0.3 * 2.5), 4))
    assert 0.02 < p < 0.03  # two-sided, 4 degrees of freedom, t = 3.46
    assert nadeau_bengio_each(np.array([[0.0, 0.0], [0.1, 0.1]]), 10, 5).tolist() == [1.0, 0.0]


def test_satterthwaite_of_welch() -> None:
    # Welch's degrees of freedom for s1^2 = 4, n1 = 10, s2^2 = 9, n2 = 8 (by the textbook formula)
    a, b = 4 / 10, 9 / 8
    assert satterthwaite((a, 9), (b, 7)) == pytest.approx((a + b) ** 2 / (a**2 / 9 + b**2 / 7))
    assert satterthwaite((a, 9), (0.0, 0)) == 9


def test_reliability_by_hand() -> None:
    labels = np.array([0, 0, 0, 0])
    chances = np.array([[0.95, 0.05], [0.95, 0.05], [0.65, 0.35], [0.35, 0.65]])
    diagram = reliability(labels, chances, bins=10)
    assert list(diagram.counts) == [0, 0, 0, 0, 0, 0, 2, 0, 0, 2]
    assert diagram.accuracy[6] == 0.5
    # half the images are off by 0.15 (0.65 said, 0.5 right), half by 0.05 (0.95 said, 1 right)
    assert diagram.error == pytest.approx(0.5 * 0.15 + 0.5 * 0.05)


def test_brier_is_twice_scikit_learns_for_two_classes() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 100)
    positive = generator.random(100)
    found = brier(labels, np.column_stack([1 - positive, positive]))
    assert found == pytest.approx(2 * brier_score_loss(labels, positive))


def test_threshold_is_chosen_on_validation_images() -> None:
    healthy, ill = np.arange(20) / 100, np.array([0.05, 0.30, 0.90])
    chances = np.concatenate([healthy, ill])
    both = np.column_stack([1 - chances, chances])
    labels = np.array([0] * 20 + [1] * 3)
    point = at_specificity((labels, both), (labels, both), negative=0)
    assert point is not None
    assert point.specificity == pytest.approx(0.95)  # 19 of 20 stay below
    assert point.sensitivity == pytest.approx(2 / 3)
    only_ill = at_specificity((labels[20:], both[20:]), (labels, both), negative=0)
    assert only_ill is None


def test_a_resampled_threshold_is_that_of_the_images_drawn() -> None:
    generator = np.random.default_rng(3)
    scores = generator.random(33).round(2)  # with ties
    weights = generator.multinomial(32, np.full(33, 1 / 33), 20)
    weights[0] = 1
    weights[1] = 0
    order = np.argsort(scores)
    found = thresholds(scores[order], np.cumsum(weights[:, order].T, axis=0, dtype=np.float64))
    for drawn, threshold in zip(weights, found, strict=True):
        healthy = np.repeat(scores, drawn)
        chances = np.column_stack([1 - healthy, healthy])
        labels = np.append(np.zeros(len(healthy), dtype=np.int64), 1)
        expected = threshold_at(labels, np.append(chances, [[0.5, 0.5]], axis=0), 0)
        assert threshold == pytest.approx(expected, nan_ok=True) if len(healthy) else np.isnan(threshold)


def test_slices_of_a_patient_are_pooled() -> None:
    labels = np.array([1, 0, 0, 0, 1, 2])
    chances = np.array([[0.4, 0.6, 0], [0.2, 0.8, 0], [0.9, 0.1, 0], [0.7, 0.3, 0], [0, 1, 0], [0, 0, 1]])
    patients = np.array(["a", "a", "b", "b", "mixed", "mixed"])
    truth, pooled, names = by_patient(labels, chances, patients, negative=0)
    assert list(names) == ["a", "b"]
    assert list(truth) == [1, 0]  # one slice with a tumour makes a patient with a tumour
    assert pooled == pytest.approx(np.array([[0.3, 0.7, 0], [0.8, 0.2, 0]]))


def test_expected_cost() -> None:
    confusion = np.array([[8, 2], [1, 9]])
    assert expected_cost(confusion, np.array([[0.0, 1.0], [5.0, 0.0]])) == pytest.approx((2 * 1 + 1 * 5) / 20)


def test_influence_of_auroc_against_the_jackknife() -> None:
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 3, 150)
    logits = generator.normal(0, 1, (150, 3)).round(1)  # with ties
    logits[np.arange(150), labels] += 1
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)

    def area(keep: np.ndarray) -> float:
        return float(roc_auc_score(labels[keep], chances[keep], multi_class="ovr"))

    left_out = np.array([area(np.arange(150) != i) for i in range(150)])
    jackknife = 149 / 150 * ((left_out - left_out.mean()) ** 2).sum()
    both = influence(labels, chances)
    assert both is not None
    assert both[0] == pytest.approx(area(np.full(150, True)))
    found = both[1]
    assert found.sum() == pytest.approx(0, abs=1e-9)
    assert clustered_variance(found, np.arange(150), 150) == pytest.approx(jackknife, rel=0.05)


def test_confusions_by_cluster_add_up() -> None:
    ids = np.array(["b", "a", "d", "c"])
    chances = np.eye(2, dtype=np.float32)[[0, 1, 1, 0]]
    predictions = Predictions(ids, np.full(4, "test"), np.array([0, 1, 0, 1]), np.array(["p", "q", "p", ""]), chances)
    images = ClusteredImages.of([predictions])
    assert images.count == 3  # p, q, and the image whose patient is unknown
    aligned = images.aligned([predictions])
    assert aligned is not None
    assert confusion_by_cluster(images, aligned).sum(axis=0).tolist() == [[1, 1], [1, 1]]
    other = Predictions(ids, predictions.parts, np.array([1, 1, 0, 1]), predictions.groups, chances)
    assert images.aligned([other]) is None  # same images, other labels


def test_bootstrap_error_of_accuracy_is_the_textbooks() -> None:
    # 400 independent images, 80 % right: standard error sqrt(0.8 * 0.2 / 400) = 0.02
    right = np.array([[[1, 0], [0, 0]]] * 320 + [[[0, 1], [0, 0]]] * 80)
    readings = right[None]
    estimate = Bootstrap(400, resamples=4000).resample(readings).estimate(lambda m: m[..., 0, 0] / m.sum((-1, -2)))
    assert estimate.error == pytest.approx(0.02, rel=0.05)


def test_seeds_are_resampled_from_three_on() -> None:
    population = Population(80, seed_sd=0.5)
    matrices = population.study(np.random.default_rng(0), [3.0], seeds=3)[0]
    bootstrap = Bootstrap(80)
    two, three = (bootstrap.resample(matrices[:n]).estimate() for n in (2, 3))
    assert two.seed_variance == 0
    spread = macro_f1(matrices.sum(axis=1)).var(ddof=1) / 3
    assert three.seed_variance == pytest.approx(spread)
    assert three.error**2 > spread


def test_a_perfect_score_has_an_interval() -> None:
    perfect = np.zeros((1, 50, 2, 2), dtype=np.int64)
    perfect[0, :25, 0, 0] = perfect[0, 25:, 1, 1] = 1
    interval = Bootstrap(50).resample(perfect).estimate().interval()
    assert interval.high == 1
    assert interval.low == pytest.approx(wilson(50, 50).low)


def test_rows_that_cannot_be_told_apart_share_a_rank() -> None:
    population = Population(150)
    good, same, poor = population.study(np.random.default_rng(3), [4.0, 4.0, 1.5])
    bootstrap = Bootstrap(150)
    estimates = [bootstrap.resample(row, i).estimate() for i, row in enumerate((good, same, poor))]
    found = compare(estimates)
    assert rank_intervals(3, found) == [RankInterval(1, 2), RankInterval(1, 2), RankInterval(3, 3)]
    smallest = min(pair.p_adjusted for pair in found)
    assert smallest < 1e-6  # far below one in the number of resamples


def test_rank_counts_the_rows_that_are_significantly_better() -> None:
    nothing = np.zeros(3)
    found = Comparisons(
        first=np.array([0, 0, 1]),
        second=np.array([1, 2, 2]),
        difference=np.array([0.02, 0.10, 0.08]),
        low=nothing,
        high=nothing,
        p=np.array([0.2, 0.001, 0.06]),
        p_adjusted=np.array([0.2, 0.003, 0.12]),
        p_mcnemar=nothing,
    )
    assert rank_intervals(3, found) == [RankInterval(1, 2), RankInterval(1, 3), RankInterval(2, 3)]


def test_a_row_compared_with_itself_is_not_different() -> None:
    matrices = Population(40).study(np.random.default_rng(0), [2.0])[0]
    bootstrap = Bootstrap(40)
    twice = [bootstrap.resample(matrices, i).estimate() for i in (0, 1)]
    assert compare(twice)[0].p == 1.0


def perfect_study() -> tuple[ClusteredImages, Readings]:
    """Return 60 patients of two slices: gliomas of 5 patients, always seen, and pituitaries of 5, never seen."""
    labels = np.repeat([0] * 5 + [1] * 25 + [2] * 25 + [3] * 5, 2)
    said = np.where(labels == 3, 1, labels)
    chances = np.full((120, 4), 0.1, dtype=np.float32)
    chances[np.arange(120), said] = 0.7
    ids = np.array([f"{number:03d}" for number in range(120)])
    groups = np.array([f"p{number // 2:02d}" for number in range(120)])
    images = ClusteredImages.of([Predictions(ids, np.full(120, "test"), labels, groups, chances)])
    healthy = Predictions(ids[:4], np.full(4, "validation"), np.array([2, 2, 0, 0]), ids[:4], chances[[60, 61, 0, 1]])
    return images, Readings(images, chances[None], ((healthy,),))


def test_scores_at_their_limit_rest_on_the_patients_of_their_class() -> None:
    images, readings = perfect_study()
    classes = ("glioma", "meningioma", "notumor", "pituitary")
    setting = Setting(classes, "notumor", 300, 120, measures={"accuracy": (accuracy, 0.0)}, grouped=True)
    _, found = estimates_of(readings, Bootstrap(images.count), setting, 0)
    five = wilson(5, 5).low
    for name in ("recall_glioma", "f1_glioma", "precision_glioma"):
        assert (found[name].low, found[name].high) == (pytest.approx(five), 1.0)
    assert (found["recall_pituitary"].low, found["recall_pituitary"].high) == (0.0, pytest.approx(wilson(0, 5).high))
    assert found["f1_pituitary"].high == pytest.approx(wilson(0, 5).high)
    assert found["sensitivity_at_95"].low == pytest.approx(wilson(35, 35).low)
    assert found["specificity_at_95"].low == pytest.approx(wilson(25, 25).low)
    assert found["fn_glioma"].low == 0
    assert found["fn_glioma"].high > 10 * (1 - wilson(10, 10).low)  # ten slices of five patients are not ten
    assert all(interval.low < interval.high for interval in found.values())


def test_calibration_that_is_no_worse_than_noise_reaches_zero() -> None:
    generator = np.random.default_rng(0)
    chances = generator.dirichlet(np.ones(4), 400)
    labels = np.array([generator.choice(4, p=row) for row in chances])  # right as often as it says
    ids = np.array([f"{number:03d}" for number in range(400)])
    found = {}
    for name, truth in (("calibrated", labels), ("wrong", (labels + 1) % 4)):
        predictions = Predictions(ids, np.full(400, "test"), truth, np.full(400, ""), chances.astype(np.float32))
        images = ClusteredImages.of([predictions])
        gaps = gaps_by_cluster(images, predictions.probabilities)
        assert calibration_error(gaps.sum(axis=0)) == pytest.approx(reliability(truth, chances).error, abs=1e-6)
        found[name] = calibration_interval(Bootstrap(400).resample(gaps[None]))
    assert found["calibrated"].low == 0
    assert found["wrong"].low > 0.1


def test_folds_are_aligned_one_after_the_other() -> None:
    folds = []
    for fold in range(2):
        ids = np.array([f"{fold}{letter}" for letter in "ba"])
        chances = np.eye(2, dtype=np.float32)[[fold, 1]]
        folds.append(Predictions(ids, np.full(2, "test"), np.array([0, 1]), np.array(["p", f"q{fold}"]), chances))
    images = ClusteredImages.of(folds)
    assert images.image_ids.tolist() == ["0a", "0b", "1a", "1b"]
    assert images.count == 3  # p is in both folds
    readings = Readings.of({"x": [folds[0]], "y": [folds[1]]}, images)
    assert readings is not None
    assert readings.macro_f1_by_fold().tolist() == [1.0, pytest.approx(1 / 3)]
    assert readings.right().tolist() == [1, 1, 1, 0]
    assert Readings.of({"x": [folds[0]]}, images) is None


def test_the_share_of_seeds_in_a_variance_is_that_of_a_table_of_two_ways() -> None:
    """Scores that are a seed's effect plus a patient's: the variance of their mean is the sum of two known parts."""
    random = np.random.default_rng(0)
    of_seeds, of_patients = np.array([-0.02, 0.0, 0.05]), random.normal(0, 0.2, 400)
    scores = 0.5 + of_seeds[:, None] + of_patients
    parts = np.stack([scores, np.ones_like(scores)], axis=-1)
    found = Bootstrap(400, 0).resample(parts).estimate(lambda sums: sums[..., 0] / sums[..., 1])
    own, rest = of_seeds.var(ddof=1) / 3, of_patients.var(ddof=1) / 400
    assert found.seed_variance == pytest.approx(own)
    assert found.error**2 == pytest.approx(own + rest, rel=0.1)
    assert found.seed_share == pytest.approx(own / (own + rest), rel=0.1)
    assert Bootstrap(400, 0).resample(parts[:1]).estimate(lambda sums: sums[..., 0] / sums[..., 1]).seed_share == 0.0
