"""Errors on spoilt images: by hand, against published figures, and how often the interval of mCE holds the truth."""

import numpy as np
import numpy.typing as npt
from sklearn.metrics import f1_score

from benchmark.evaluation.bootstrap import Bootstrap, Estimate
from benchmark.evaluation.clusters import ClusteredImages
from benchmark.evaluation.robustness.corruption_error import CorruptionScores, beside, corruption_scores

# Mean error of AlexNet over the severities of 15 corruptions of ImageNet-C, as Hendrycks's own code has it
# (github.com/google-research/augmix, imagenet.py), and corruption errors of ResNet-50, in percent of it, with their
# mean, in table 1 of Hendrycks & Dietterich 2019.
ALEXNET = (0.886428, 0.894468, 0.922640, 0.819880, 0.826268, 0.785948, 0.798360, 0.866816, 0.826572, 0.819324,
           0.564592, 0.853204, 0.646056, 0.717840, 0.606500)  # fmt: skip
RESNET50 = (80, 82, 83, 75, 89, 78, 80, 78, 75, 66, 57, 71, 85, 77, 77)
RESNET50_MCE = 76.7


def images_of(labels: npt.NDArray[np.int64], patients: npt.NDArray[np.int64]) -> ClusteredImages:
    ids = np.array([f"{k:05d}" for k in range(len(labels))])
    groups = np.array([f"p{k}" for k in patients])
    return ClusteredImages(ids, labels, groups, labels * 0, patients, int(patients.max()) + 1)


def scores_with(errors: npt.NDArray[np.float64], clean: float) -> CorruptionScores:
    """Return scores of which the errors alone are known."""
    estimates = tuple(Estimate(float(each.mean()), np.full(2, each.mean()), 0.0, 0, 30) for each in errors)
    whole = Estimate(float(errors.mean()), np.zeros(2), 0.0, 0, 30)
    return CorruptionScores(1 - errors, errors, np.ones(errors.shape, int), clean, estimates, estimates, whole, whole)


def test_mce_of_resnet_50_is_as_published() -> None:
    alexnet = np.repeat(np.array(ALEXNET)[:, None], 5, axis=1)
    resnet = alexnet * np.array(RESNET50)[:, None] / 100
    found = beside(scores_with(resnet, 0.239), scores_with(alexnet, 0.435))
    assert abs(100 * found.mean - RESNET50_MCE) < 0.5  # the table's corruption errors are rounded to whole percents
    np.testing.assert_allclose(100 * found.errors, RESNET50)
    # relative mCE in the same table: 105.0
    assert abs(100 * found.relative_mean - 105.0) < 1.0


def test_errors_by_hand() -> None:
    mine = np.array([[0.2, 0.2, 0.3, 0.3, 0.5], [0.1, 0.1, 0.1, 0.1, 0.1]])
    reference = np.array([[0.4, 0.4, 0.6, 0.6, 1.0], [0.2, 0.3, 0.4, 0.5, 0.6]])
    found = beside(scores_with(mine, 0.1), scores_with(reference, 0.2))
    np.testing.assert_allclose(found.errors, [0.5, 0.25])
    assert found.mean == 0.375
    np.testing.assert_allclose(found.relative, [1.0 / 2.0, 0.0], atol=1e-12)
    flat = beside(scores_with(mine, 0.1), scores_with(np.full((2, 5), 0.2), 0.2))
    assert np.isnan(flat.relative_mean)  # the reference loses nothing


def test_scores_of_decisions_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    labels, patients = random.integers(0, 3, 200), np.arange(200) // 4
    decisions = random.integers(-1, 3, (2, 2, 5, 200)).astype(np.int16)
    decisions[1] = np.where(decisions[0] < 0, -1, np.maximum(decisions[1], 0))
    clean = random.integers(0, 3, (2, 200))
    found = corruption_scores(decisions, clean, images_of(labels, patients), 3, Bootstrap(50))
    for kind in range(2):
        for severity in range(5):
            each = [decisions[seed, kind, severity] for seed in range(2)]
            shown = each[0] >= 0
            f1 = np.mean([f1_score(labels[shown], said[shown], average="macro") for said in each])
            wrong = np.mean([(said[shown] != labels[shown]).mean() for said in each])
            np.testing.assert_allclose(found.macro_f1[kind, severity], f1)
            np.testing.assert_allclose(found.errors[kind, severity], wrong)
            assert found.images[kind, severity] == shown.sum()
    np.testing.assert_allclose(found.clean_error, (clean != labels).mean())
    np.testing.assert_allclose(found.mean_error.value, found.errors.mean())
    np.testing.assert_allclose(found.mean_macro_f1.value, found.macro_f1.mean())
    itself = beside(found, found)
    assert itself.mean == 1
    assert itself.interval is None  # nothing varies


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """60 patients of 4 slices; a patient is hard for both rows, a slice under all corruptions."""
    held, held_error, rounds = 0, 0, 150
    patients = np.repeat(np.arange(60), 4)
    labels = patients % 4
    images = images_of(labels, patients)
    bootstrap = Bootstrap(60, resamples=400)
    truth: list[tuple[float, float]] = []
    found = []
    for number in range(rounds + 150):  # the first ones tell the truth: the ratio of mean errors
        random = np.random.default_rng(number)
        hard, own = random.normal(0, 0.7, 60)[patients], random.normal(0, 0.7, 240)
        rows = []
        for skill in (1.0, 0.2):
            levels = skill - 0.25 * np.arange(5)[:, None] + np.zeros((2, 1, 1)) + hard + own
            wrong = levels + random.normal(0, 0.6, (2, 5, 240)) < 0
            decided = np.where(wrong, (labels + 1) % 4, labels).astype(np.int16)
            rows.append(corruption_scores(decided[None], labels[None], images, 4, bootstrap))
        if number < 150:
            truth.append((float(rows[0].errors.mean()), float(rows[1].errors.mean())))
            continue
        found.append((beside(*rows).interval, rows[0].mean_error.interval()))
    mine, other = np.mean(truth, axis=0)
    for ratio, error in found:
        assert ratio is not None
        assert error is not None
        held += ratio.low <= mine / other <= ratio.high
        held_error += error.low <= mine <= error.high
    assert 0.90 <= held / rounds <= 0.99
    assert 0.90 <= held_error / rounds <= 0.99
