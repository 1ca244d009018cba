"""Selective prediction, conformal sets and net benefit: by hand, by definition, and by simulation."""

import numpy as np
import pytest
from populations import Probabilities

from benchmark.evaluation.bootstrap import Bootstrap
from benchmark.evaluation.clusters import ClusteredImages, Readings
from benchmark.evaluation.decisions.net_benefit import (
    PREVALENCE,
    net_benefit,
    net_benefits,
    of_all,
    tumour_probabilities,
)
from benchmark.evaluation.decisions.prior_shift import with_shares
from benchmark.evaluation.decisions.selective import (
    conformal,
    conformal_estimates,
    conformal_scores,
    risk_coverage,
    selective_estimates,
)
from benchmark.records.record import Predictions


def certain(confidence: np.ndarray) -> np.ndarray:
    return np.column_stack([confidence, 1 - confidence])


def test_risk_and_coverage_by_hand() -> None:
    confidence, right = np.array([0.95, 0.9, 0.8, 0.7, 0.6]), np.array([1, 0, 1, 1, 0])
    found = risk_coverage(1 - right, certain(confidence))
    assert found.coverage.tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert found.risk.tolist() == pytest.approx([0, 1 / 2, 1 / 3, 1 / 4, 2 / 5])
    assert found.area == pytest.approx(np.mean([0, 1 / 2, 1 / 3, 1 / 4, 2 / 5]))
    assert found.coverage_at(0.25) == pytest.approx(0.8)
    assert found.coverage_at(0.05) == pytest.approx(0.2)


def test_images_of_equal_confidence_count_as_in_random_order() -> None:
    generator = np.random.default_rng(0)
    confidence = generator.choice([0.6, 0.75, 0.9], 40)
    wrong = (generator.random(40) < 0.4).astype(np.int64)
    areas = []
    for _ in range(4000):
        order = np.lexsort((generator.random(40), -confidence))
        areas.append((np.cumsum(wrong[order]) / np.arange(1, 41)).mean())
    assert risk_coverage(wrong, certain(confidence)).area == pytest.approx(np.mean(areas), abs=0.002)
    assert len(risk_coverage(wrong, certain(confidence)).risk) == 3  # answered together or not at all


def test_the_best_and_an_idle_confidence_have_the_areas_of_the_literature() -> None:
    # Geifman, Uziel & El-Yaniv 2019, section 2: the best order has r + (1 - r) ln(1 - r); a constant one has r
    wrong = np.repeat([0, 1], [8000, 2000])
    best = risk_coverage(wrong, certain(np.linspace(1.0, 0.5, 10_000)))
    assert best.area == pytest.approx(0.2 + 0.8 * np.log(0.8), abs=1e-3)
    assert risk_coverage(wrong, certain(np.full(10_000, 0.7))).area == pytest.approx(0.2, abs=1e-3)


def test_the_interval_of_the_area_covers() -> None:
    population = Probabilities(patients=150, skill=3.0)
    large = population.study(np.random.default_rng(98), 60_000)
    truth = risk_coverage(large.labels, large.probabilities).area
    generator, covered, studies = np.random.default_rng(14), 0, 200
    for _ in range(studies):
        test = population.study(generator)
        images = ClusteredImages.of([test])
        chances = images.aligned([test])
        assert chances is not None
        estimate = selective_estimates(Readings(images, chances[None], ()), Bootstrap(images.count, 0, 200))["aurc"]
        assert estimate.value == pytest.approx(risk_coverage(test.labels, test.probabilities).area)
        interval = estimate.interval()
        assert interval is not None
        covered += interval.low <= truth <= interval.high
    assert 0.95 - 2 * np.sqrt(0.95 * 0.05 / studies) <= covered / studies <= 0.99


def test_conformal_sets_hold_what_they_promise_class_by_class() -> None:
    population = Probabilities(patients=200, skill=2.0, slices=4.0)
    generator, held, one_each, pooled = np.random.default_rng(15), [], [], []
    for _ in range(150):
        validation, test = population.study(generator), population.study(generator, 100)
        found = conformal(validation, 4)
        mine = test.labels == 1
        held.append(found.sets(test.probabilities[mine])[:, 1].mean())
        # one image of each patient, so that all images count alike in the average over studies
        one_each.append(conformal_scores(validation, test)["conformal_coverage"])
        pooled.append(conformal_scores(validation, test)["conformal_least_coverage"])
    error = 2 * np.std(held) / np.sqrt(len(held))
    assert 0.9 - error <= np.mean(held) <= 0.9 + 1 / 40 + error  # 1 / (n + 1) of about 50 patients a class, and room
    assert np.mean(pooled) < np.mean(one_each)


def test_a_class_with_too_few_validation_patients_is_in_every_set() -> None:
    labels = np.repeat([0, 1], [60, 8])
    ids, chances = np.array([f"{n:02d}" for n in range(68)]), certain(np.linspace(0.1, 0.9, 68)).astype(np.float32)
    validation = Predictions(ids, np.full(68, "validation"), labels, ids, chances)
    found = conformal(validation, 2)
    assert np.isinf(found.limits[1])
    scores = np.sort(1 - chances[:60, 0].astype(float))
    assert found.limits[0] == scores[int(np.ceil(61 * 0.9)) - 1]
    one_patient = Predictions(ids, validation.parts, labels, np.full(68, "p"), chances)
    assert np.isinf(conformal(one_patient, 2).limits).all()  # sixty slices of one patient are one


def test_net_benefit_by_hand() -> None:
    # 1,000 people at a prevalence of 10 %: 90 of 100 found, 90 of 900 called for nothing, at a threshold of 20 %
    assert net_benefit(0.9, 0.9, 0.2) == pytest.approx((90 - 90 * 0.25) / 1000)
    assert of_all(PREVALENCE) == pytest.approx(0.0)  # at the threshold that is the prevalence, acting on all is even
    assert of_all(0.05) == pytest.approx(0.1 - 0.9 / 19)


def test_probabilities_for_the_stated_prevalence_are_worth_most() -> None:
    generator = np.random.default_rng(3)
    labels = (generator.random(20_000) < 0.7).astype(np.int64)  # in training and here 70 % have a tumour
    feature = generator.normal(2.0 * labels)
    odds = 0.7 / 0.3 * np.exp(2 * feature - 2)
    chances = np.column_stack([1 / (1 + odds), odds / (1 + odds)])
    ids = np.array([f"{n:05d}" for n in range(len(labels))])
    both = Predictions(ids, np.full(len(ids), "test"), labels, ids, chances)
    found = net_benefits(both, both, 0, np.array([0.3, 0.7]))
    for threshold in ("05", "10", "20"):
        assert found[f"net_benefit_{threshold}_both"] > found[f"net_benefit_{threshold}"]
    corrected = tumour_probabilities(chances, both, 0, np.array([0.3, 0.7]))["_both"]
    exact = with_shares(chances, np.array([0.3, 0.7]), np.array([1 - PREVALENCE, PREVALENCE]))[:, 1]
    np.testing.assert_allclose(corrected, exact, atol=0.02)


def test_what_sets_really_hold_has_an_interval() -> None:
    population = Probabilities(patients=120, skill=2.5)
    generator = np.random.default_rng(16)
    validation, test = population.study(generator), population.study(generator)
    images = ClusteredImages.of([test])
    chances = images.aligned([test])
    assert chances is not None
    estimate = conformal_estimates(Readings(images, chances[None], ((validation,),)), Bootstrap(images.count, 0, 300))
    interval = estimate["conformal_coverage"].interval()
    value = conformal_scores(validation, test)["conformal_coverage"]
    assert interval is not None
    assert interval.low < value < interval.high
    assert estimate["conformal_coverage"].value == pytest.approx(value)
