"""Recall by stratum: what it is, what the classes alone would give, and whether the test keeps its level."""

from collections.abc import Callable

import numpy as np
import pytest

from benchmark.evaluation.bootstrap import Bootstrap
from benchmark.evaluation.clusters import ClusteredImages
from benchmark.evaluation.strata import FEWEST_CLUSTERS, Stratified, stratify


def images_of(labels: np.ndarray, patients: np.ndarray) -> ClusteredImages:
    known, clusters = np.unique(patients, return_inverse=True)
    ids = np.array([f"{k:05d}" for k in range(len(labels))])
    return ClusteredImages(
        ids, labels, patients.astype(str), np.zeros(len(labels), np.int64), clusters.astype(np.int64), len(known)
    )


def test_recall_and_what_the_classes_alone_would_give() -> None:
    """Counted by hand: class 0 is read right 3 of 4 times, class 1 1 of 4 times."""
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    right = np.array([1, 1, 1, 0, 1, 0, 0, 0], dtype=float)
    strata = np.array([0, 0, 0, 1, 0, 1, 1, 1])
    found = stratify(images_of(labels, np.arange(8)), right, None, strata).strata
    assert [stratum.images for stratum in found] == [4, 4]
    assert [stratum.recall for stratum in found] == [1.0, 0.0]
    assert [stratum.expected for stratum in found] == pytest.approx([(3 * 0.75 + 0.25) / 4, (0.75 + 3 * 0.25) / 4])
    assert found[0].interval.low < 1.0
    assert found[0].missed is None


def test_missed_is_of_the_tumours_of_a_stratum() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1])
    healthy = np.array([1, 0, 0, 0, 1, 0.5])
    found = stratify(
        images_of(labels, np.arange(6)), 1 - healthy, healthy, np.array([0, 0, 1, 1, 0, 1]), negative=1
    ).strata
    assert [(stratum.tumours, stratum.missed) for stratum in found] == [(2, 0.5), (2, 0.0)]
    assert found[0].missed_interval is not None
    assert found[0].missed_interval.low < 0.5 < found[0].missed_interval.high


def test_too_few_patients_in_a_stratum_give_no_p() -> None:
    labels = np.zeros(40, np.int64)
    right = np.random.default_rng(0).random(40).round()
    few = np.array([0] * 36 + [1] * (FEWEST_CLUSTERS - 1))
    assert stratify(images_of(labels, np.arange(40)), right, None, few).p is None


def cohort(seed: int, *, harder: float) -> Stratified:
    """Return 60 patients of 5 slices in three strata: classes differ in difficulty and are unevenly spread, patients
    differ, and the last stratum is harder by ``harder`` (log odds).
    """
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(60), 5)
    labels = (patient % 3).astype(np.int64)
    lean = np.array([[0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [0.2, 0.2, 0.6]])[labels]
    strata = (random.random((300, 1)) > lean.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    ease = np.array([2.0, 1.0, 0.0])[labels] + random.normal(0, 1, 60)[patient] - harder * (strata == 2)
    right = (random.random(300) < 1 / (1 + np.exp(-ease))).astype(float)
    images = images_of(labels, patient)
    return stratify(images, right, None, strata, bootstrap=Bootstrap(images.count, seed, resamples=400))


def share(count: int, holds: Callable[[int], bool]) -> float:
    return sum(holds(seed) for seed in range(count)) / count


def rejected(seed: int, harder: float) -> bool:
    p = cohort(seed, harder=harder).p
    assert p is not None
    return p < 0.05


def test_the_test_keeps_its_level_where_strata_differ_by_their_classes_only() -> None:
    """300 cohorts: 5 % with a standard error of 1.3 %."""
    assert 0.02 <= share(300, lambda seed: rejected(seed, 0.0)) <= 0.09


def test_the_test_sees_a_stratum_that_is_harder() -> None:
    assert share(60, lambda seed: rejected(seed, 1.5)) > 0.8
