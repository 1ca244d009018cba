"""Scores against scikit-learn's, against the seed notebook's table, and where they are undefined."""

import math

import numpy as np
import pytest
from sklearn import metrics

from benchmark.evaluation.metrics import accuracy, balanced_accuracy, cohen_kappa, f1_per_class, macro_f1, mcc, score

NAMES = ("glioma", "meningioma", "notumor", "pituitary")


def readings(seed: int, n: int = 200, classes: int = 4, skill: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, n)
    logits = generator.normal(0, 1, (n, classes))
    logits[np.arange(n), labels] += skill
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return labels, chances.astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_scikit_learn(seed: int) -> None:
    labels, chances = readings(seed)
    predicted = chances.argmax(axis=1)
    scores = score(labels, chances, NAMES, "notumor")
    assert scores.macro_f1 == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))
    assert scores.accuracy == pytest.approx(metrics.accuracy_score(labels, predicted))
    balanced = metrics.balanced_accuracy_score(labels, predicted)
    assert balanced_accuracy(scores.confusion) == pytest.approx(balanced)
    assert mcc(scores.confusion) == pytest.approx(metrics.matthews_corrcoef(labels, predicted))
    assert scores.auroc == pytest.approx(metrics.roc_auc_score(labels, chances, multi_class="ovr"), abs=1e-6)
    assert np.array_equal(scores.confusion, metrics.confusion_matrix(labels, predicted))
    expected = metrics.precision_recall_fscore_support(labels, predicted)
    found = [[getattr(each, name) for each in scores.classes] for name in ("precision", "recall", "f1", "support")]
    assert np.allclose(found, expected)


@pytest.mark.parametrize("skill", [-2.0, 0.0, 1.0, 4.0])
def test_cohen_kappa_agrees_with_scikit_learn(skill: float) -> None:
    runs = [readings(seed, skill=skill) for seed in range(3)]
    matrices = np.stack([score(*run, NAMES, "notumor").confusion for run in runs])
    expected = [metrics.cohen_kappa_score(labels, chances.argmax(axis=1)) for labels, chances in runs]
    assert cohen_kappa(matrices) == pytest.approx(expected)


def test_cohen_kappa_where_it_is_known() -> None:
    # Cohen's own kind of case: 20 + 15 of 50 agree, 0.5 * 0.6 + 0.5 * 0.4 would by chance
    assert cohen_kappa(np.array([[20, 5], [10, 15]])) == pytest.approx((0.7 - 0.5) / (1 - 0.5))
    assert cohen_kappa(np.diag([3, 4, 5])) == 1
    assert math.isnan(cohen_kappa(np.array([[7, 0], [0, 0]])))


def test_two_classes() -> None:
    labels, chances = readings(0, classes=2)
    scores = score(labels, chances, ("tumour", "notumor"), "notumor")
    assert scores.auroc == pytest.approx(metrics.roc_auc_score(labels, chances[:, 1]), abs=1e-6)
    assert scores.macro_f1 == pytest.approx(metrics.f1_score(labels, chances.argmax(axis=1), average="macro"))


def test_both_kinds_of_false_negatives() -> None:
    # two gliomas found, one called meningioma, two called notumor; one healthy slice called pituitary
    labels = np.array([0, 0, 0, 0, 0, 2, 2])
    predicted = np.array([0, 0, 1, 2, 2, 2, 3])
    scores = score(labels, np.eye(4, dtype=np.float32)[predicted], NAMES, "notumor")
    glioma, meningioma, notumor, pituitary = scores.classes
    assert (glioma.false_negatives, glioma.missed) == (3, 2)
    assert (notumor.false_negatives, notumor.missed) == (1, None)
    assert (meningioma.false_negatives, meningioma.missed) == (0, 0)
    assert pituitary.support == 0


def test_without_a_negative_class_nothing_is_missed() -> None:
    labels, chances = readings(0, classes=3)
    scores = score(labels, chances, ("glioma", "meningioma", "pituitary"), None)
    assert [each.missed for each in scores.classes] == [None, None, None]


def test_a_class_without_test_images_is_undefined_and_not_zero() -> None:
    labels = np.array([0, 0, 1, 1])
    chances = np.eye(3, dtype=np.float32)[[0, 0, 1, 0]]
    scores = score(labels, chances, ("a", "b", "c"))
    assert math.isnan(scores.auroc)
    assert math.isnan(scores.classes[2].f1)
    assert math.isnan(scores.classes[2].recall)
    assert scores.macro_f1 == pytest.approx(metrics.f1_score(labels, [0, 0, 1, 0], average="macro"))
    predicted = [0, 2, 1, 0]  # the class that nobody has is left out of the mean even where it is predicted
    scores = score(labels, np.eye(3, dtype=np.float32)[predicted], ("a", "b", "c"))
    assert scores.macro_f1 == pytest.approx(metrics.f1_score(labels, predicted, labels=[0, 1], average="macro"))


def test_a_class_that_is_never_predicted_has_no_precision_but_an_f1_of_zero() -> None:
    scores = score(np.array([0, 1]), np.eye(2, dtype=np.float32)[[0, 0]], ("a", "b"))
    assert math.isnan(scores.classes[1].precision)
    assert scores.classes[1].f1 == 0
    assert mcc(scores.confusion) == 0


def test_stacks_of_matrices_are_scored_one_by_one() -> None:
    stack = np.random.default_rng(0).integers(0, 30, (7, 4, 4))
    for measure in (accuracy, balanced_accuracy, f1_per_class, macro_f1, mcc):
        assert np.allclose(measure(stack), [measure(matrix) for matrix in stack])


@pytest.mark.parametrize(
    ("chances", "words"),
    [
        ([[0.5, 0.6], [0.5, 0.5]], "not a distribution"),
        ([[1.2, -0.2], [0.5, 0.5]], "not a distribution"),
        ([[np.nan, 1.0], [0.5, 0.5]], "not finite"),
        ([[0.2, 0.3, 0.5], [0.2, 0.3, 0.5]], "shape"),
    ],
)
def test_refuses_what_is_not_a_distribution(chances: list[list[float]], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        score(np.array([0, 1]), np.array(chances, dtype=np.float32), ("a", "b"))


def test_refuses_labels_without_a_class_and_no_labels() -> None:
    chances = np.full((2, 2), 0.5, dtype=np.float32)
    with pytest.raises(ValueError, match="labels run from 0 to 2"):
        score(np.array([0, 2]), chances, ("a", "b"))
    with pytest.raises(ValueError, match="no labels"):
        score(np.array([], dtype=np.int64), chances[:0], ("a", "b"))
