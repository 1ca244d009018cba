"""The test against guessing, against all deals of the labels, against scikit-learn, and by simulation."""

import itertools

import numpy as np
import pytest
from populations import Probabilities
from sklearn.metrics import roc_auc_score

from benchmark.evaluation.clusters import ClusteredImages
from benchmark.evaluation.permutation import ChanceTest, Deals, mean_ranks
from benchmark.records.record import Predictions


def images_of(labels: np.ndarray, groups: np.ndarray, folds: int = 1) -> ClusteredImages:
    ids = np.array([f"{number:05d}" for number in range(len(labels))])
    chances = np.zeros((len(labels), 1), dtype=np.float32)
    tests = [
        Predictions(ids[k::folds], np.full(len(ids[k::folds]), "test"), labels[k::folds], groups[k::folds], chances)
        for k in range(folds)
    ]
    return ClusteredImages.of(tests)


def chance_test(chances: np.ndarray, images: ClusteredImages, permutations: int) -> ChanceTest | None:
    return Deals(images, 0, permutations).tests([mean_ranks(chances, images)])[0]


def random_chances(generator: np.random.Generator, count: int, classes: int) -> np.ndarray:
    return generator.dirichlet(np.ones(classes), count).astype(np.float32)


def test_p_is_the_share_of_all_deals_of_labels_among_patients() -> None:
    of_patient, each = np.array([0, 0, 1, 1, 2, 2]), 3
    labels, groups = np.repeat(of_patient, each), np.repeat(list("abcdef"), each)
    chances = random_chances(np.random.default_rng(4), len(labels), 3)
    chances[np.arange(len(labels)), labels] += 0.25
    chances /= chances.sum(axis=1, keepdims=True)
    found = chance_test(chances[None], images_of(labels, groups), permutations=4000)
    assert found is not None

    def area(truth: np.ndarray) -> float:
        return float(np.mean([roc_auc_score(truth == c, chances[:, c]) for c in range(3)]))

    assert found.auroc == pytest.approx(area(labels))
    every = np.array([area(np.repeat(deal, each)) for deal in itertools.permutations(of_patient)])
    assert found.p_better == pytest.approx((every >= found.auroc - 1e-9).mean(), abs=0.02)
    assert found.p_worse == pytest.approx((every <= found.auroc + 1e-9).mean(), abs=0.02)


def test_patients_are_dealt_and_not_their_slices() -> None:
    # a network that recognises patients and knows nothing of classes: its slices agree, and that is no knowledge
    generator = np.random.default_rng(0)
    by_patient = by_slice = 0
    for _ in range(200):
        labels, groups = np.repeat(generator.integers(0, 3, 24), 8), np.repeat([f"p{k:02d}" for k in range(24)], 8)
        chances = np.repeat(random_chances(generator, 24, 3), 8, axis=0)[None]
        whole = chance_test(chances, images_of(labels, groups), permutations=199)
        parted = chance_test(chances, images_of(labels, np.full(len(labels), "")), permutations=199)
        assert whole is not None
        assert parted is not None
        by_patient += whole.p_better <= 0.05
        by_slice += parted.p_better <= 0.05
    assert by_patient / 200 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 200)
    assert by_slice / 200 > 0.2


def test_what_a_network_knows_is_seen_though_it_answers_one_class() -> None:
    test = Probabilities(patients=40, skill=1.5).study(np.random.default_rng(1))
    images = ClusteredImages.of([test])
    chances = images.aligned([test])
    assert chances is not None
    biased = chances.astype(np.float64) * [1e3, 1, 1, 1]
    biased /= biased.sum(axis=1, keepdims=True)
    known, one_class = (chance_test(each[None], images, permutations=499) for each in (chances, biased))
    assert known is not None
    assert one_class is not None
    assert (biased.argmax(axis=1) == 0).mean() > 0.85
    assert known.p_better == one_class.p_better == 1 / 500
    reversed_ = chance_test(1 - chances[None], images, permutations=499)
    assert reversed_ is not None
    assert reversed_.p_worse == 1 / 500


def test_folds_have_no_common_scale_of_probability() -> None:
    generator = np.random.default_rng(2)
    labels = np.tile([0, 0, 1, 1], 25)
    chances = random_chances(generator, 100, 2)
    chances[1::2] = [0.99, 0.01]  # the second fold's network says nothing, and is sure of it
    chances[0::2, 1] = np.where(labels[0::2] == 1, 0.4, 0.2)
    images = images_of(labels, np.full(100, ""), folds=2)
    ordered = np.concatenate([chances[0::2], chances[1::2]])
    found = chance_test(ordered[None], images, permutations=99)
    assert found is not None
    assert found.auroc == pytest.approx((1.0 + 0.5) / 2, abs=0.15)
    assert chance_test(ordered[None], images_of(np.zeros(100, dtype=np.int64), np.full(100, "")), 0) is None
