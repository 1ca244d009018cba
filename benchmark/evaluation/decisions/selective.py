"""Networks that may say nothing: how much is right where they are sure, and sets that hold the true class."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.evaluation.bootstrap import Bootstrap, Estimate, Numbers, running_sums
from benchmark.evaluation.clusters import Readings, mean_of, numbered_clusters
from benchmark.evaluation.metrics import Counts, Floats, decide
from benchmark.records.record import Predictions

RISK = 0.05  # at which coverage is told
MISCOVERAGE = 0.10  # of conformal sets: 90 % of the images of each class are to lie in theirs
_CHUNK = 250_000  # entries that are held at once: as many as stay in a processor's cache


@dataclass(frozen=True)
class RiskCoverage:
    """What a network is worth that leaves the images of which it is least sure to somebody else.

    Args:
        coverage: float64, shape (K,), ascending: the share of images that it answers at each confidence that occurs.
        risk: float64, shape (K,): the share of these answers that is wrong.
        area: mean risk over all coverages (AURC), 0-1; lower is better.
    """

    coverage: Floats
    risk: Floats
    area: float

    def coverage_at(self, risk: float = RISK) -> float:
        """Return the largest coverage whose risk is at most ``risk``; 0 where there is none."""
        allowed = self.coverage[self.risk <= risk + 1e-12]
        return float(allowed.max()) if len(allowed) else 0.0


def risk_coverage(labels: Counts, probabilities: npt.NDArray[np.floating]) -> RiskCoverage:
    """Return risk and coverage, the most probable class's probability being the confidence.

    Geifman & El-Yaniv 2017, "Selective classification for deep neural networks", with the area of Geifman, Uziel &
    El-Yaniv 2019, "Bias-reduced uncertainty estimation for deep neural classifiers", section 2: the mean over i of
    the risk of the i images of greatest confidence. Images of equal confidence are answered together or not at all;
    in the area they count as in random order.

    Args:
        labels: int64, shape (N,).
        probabilities: shape (N, C).
    """
    order, ends = _by_confidence(probabilities)
    wrong = (decide(probabilities) != labels)[order].astype(np.float64)
    areas, curves = _curves(wrong, ends, np.ones((1, len(labels))))
    coverage, risk = curves
    return RiskCoverage(coverage[0], risk[0], float(areas[0]))


def _by_confidence(probabilities: npt.NDArray[np.floating]) -> tuple[Counts, Counts]:
    """Return images from the most to the least confident, and where blocks of equal confidence end (inclusive)."""
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(confidence[order]) != 0, True))
    return order.astype(np.int64), ends.astype(np.int64)


def _curves(wrong: Floats, ends: Counts, weights: Floats) -> tuple[Floats, tuple[Floats, Floats]]:
    """Return AURC, shape (B,), and coverage and risk, shape (B, K), of images in order with weights (B, N)."""
    answered = np.cumsum(weights, axis=1)
    errors = np.cumsum(weights * wrong, axis=1)
    at_ends, errors_at_ends = answered[:, ends], errors[:, ends]
    total = answered[:, -1:]
    risk = np.divide(errors_at_ends, at_ends, out=np.zeros_like(at_ends), where=at_ends > 0)
    # within a block of equal confidence, errors come evenly: exact for the mean over random orders
    starts = np.concatenate([[0], ends[:-1] + 1])
    block = np.repeat(np.arange(len(ends)), ends - starts + 1)
    before = np.concatenate([np.zeros((len(weights), 1)), at_ends[:, :-1]], axis=1)
    errors_before = np.concatenate([np.zeros((len(weights), 1)), errors_at_ends[:, :-1]], axis=1)
    size = (at_ends - before)[:, block]
    share = np.divide((errors_at_ends - errors_before)[:, block], size, out=np.zeros_like(size), where=size > 0)
    even = errors_before[:, block] + (answered - before[:, block]) * share
    own = np.divide(even, answered, out=np.zeros_like(even), where=answered > 0)
    area = (weights * own).sum(axis=1) / total[:, 0]
    return area, (at_ends / total, risk)


def _areas(wrong: Floats, ends: Counts, weights: Numbers) -> Floats:
    """Return AURC as :func:`_curves` does, shape (B,), of resamples alone.

    Args:
        wrong: shape (N,), of images in order.
        ends: where blocks of equal confidence end.
        weights: whole numbers, shape (N, B).
    """
    sizes = np.diff(ends, prepend=-1)
    start = _first_error(wrong, ends, sizes) if weights.shape[1] > 1 else 0  # one column is added up otherwise
    later = weights[start:]
    answered = later.copy()
    answered[:1] += weights[:start].sum(axis=0, dtype=weights.dtype)
    running_sums(answered)
    errors = running_sums(later * wrong[start:, None].astype(weights.dtype))  # so far
    many = (sizes > 1) & (ends >= start)
    blocks = list(zip((ends[many] - start).tolist(), sizes[many].tolist(), strict=True))
    # within a block of equal confidence, errors come evenly: exact for the mean over random orders. From the last
    # block to the first, so that what stands before a block are still errors
    risk = errors.astype(np.float64) if blocks else errors
    before_all = weights[:start].sum(axis=0, dtype=np.float64)
    for end, size in reversed(blocks):
        first = end + 1 - size
        before = answered[first - 1] if first else before_all
        errors_before = risk[first - 1] if first else np.zeros(answered.shape[1])
        drawn, lost = answered[end] - before, risk[end] - errors_before
        share = np.divide(lost, drawn, out=np.zeros_like(lost), where=drawn > 0)
        risk[first : end + 1] = errors_before + (answered[first : end + 1] - before) * share
    total = answered[-1].copy()
    # where nothing is answered there is no error
    shares = np.divide(risk, np.maximum(answered, 1, out=answered), dtype=np.float64)
    shares *= later
    with np.errstate(invalid="ignore"):  # a resample without any image of the fold
        # image by image within each resample, as :func:`_curves` adds up
        return np.asarray(shares.sum(axis=0) / total)


def _first_error(wrong: Floats, ends: Counts, sizes: Counts) -> int:
    """Return where the first block begins that has a wrong answer, the last one where none has: what stands before
    adds nothing to the area.
    """
    error = int(wrong.argmax()) if wrong.any() else len(wrong) - 1
    block = int(np.searchsorted(ends, error))
    return int(ends[block] + 1 - sizes[block])


def selective_estimates(readings: Readings, bootstrap: Bootstrap, row: int = 0) -> dict[str, Estimate]:
    """Return AURC with its sampling distribution by column name; folds are averaged by their images.

    Args:
        bootstrap: of the clusters of test images.
        row: number of the row, for the draws of its seeds.
    """
    images, trainings = readings.images, readings.trainings
    values, drawn = np.zeros(trainings), np.zeros((bootstrap.resamples, trainings))
    for training, of_training in enumerate(readings.probabilities):
        for fold in range(images.n_folds):
            mine = images.folds == fold
            order, ends = _by_confidence(of_training[mine])
            wrong = (decide(of_training[mine]) != images.labels[mine])[order].astype(np.float64)
            clusters, share = images.clusters[mine][order], float(mine.mean())
            values[training] += share * _curves(wrong, ends, np.ones((1, len(order))))[0][0]
            step = max(1, _CHUNK // len(order))
            for start in range(0, bootstrap.resamples, step):
                stop = min(start + step, bootstrap.resamples)
                weights = bootstrap.by_image(clusters, start, stop)
                drawn[start:stop, training] += share * _areas(wrong, ends, weights)
    weights = bootstrap.seed_weights(trainings, row)
    variance, freedom = Bootstrap.seed_variance(values)
    replicates = np.asarray((weights * drawn).sum(axis=1))
    return {"aurc": Estimate(float(values.mean()), replicates, variance, freedom, images.count)}


@dataclass(frozen=True)
class Conformal:
    """Sets of classes that hold the true class of as many images as they promise, class by class.

    Args:
        limits: float64, shape (C,): a class is in the set where 1 less its probability is at most this; infinite
            where a class has too few images to promise anything, so that it is in every set.
    """

    limits: Floats

    def sets(self, probabilities: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
        """Return which classes are in each image's set: bool, shape (N, C)."""
        return np.asarray(1 - probabilities.astype(np.float64) <= self.limits)


def conformal(validation: Predictions, classes: int) -> Conformal:
    """Return class-conditional conformal sets, calibrated on validation images.

    Vovk 2012, "Conditional validity of inductive conformal predictors", section 4 (label conditional), with the score
    of Sadinle, Lei & Wasserman 2019, 1 less the probability of the class: of n images of a class, the
    ``ceil((n + 1) (1 - MISCOVERAGE))``-th smallest score is its limit. The promise holds for images that are
    exchangeable with those of validation; slices of one patient are not, so that each patient (or cluster of copies)
    gives one image of a class: the first by its id. Validation images that also chose the epoch make sets too small.

    Args:
        validation: predictions of validation images.
        classes: C.
    """
    order = np.argsort(validation.image_ids)
    labels, probabilities = validation.labels[order], validation.probabilities[order]
    clusters, _ = numbered_clusters(validation.image_ids[order], validation.groups[order])
    limits = np.full(classes, np.inf)
    for c in range(classes):
        mine = np.flatnonzero(labels == c)
        one_each = mine[np.unique(clusters[mine], return_index=True)[1]]
        scores = np.sort(1 - probabilities[one_each, c].astype(np.float64))
        place = int(np.ceil((len(scores) + 1) * (1 - MISCOVERAGE) - 1e-9))
        if 0 < place <= len(scores):
            limits[c] = scores[place - 1]
    return Conformal(limits)


def conformal_scores(validation: Predictions, test: Predictions) -> dict[str, float]:
    """Return what conformal sets are worth on test images by column name: the share of images whose set holds their
    class, the same of the class where it is least, and the mean number of classes in a set.
    """
    if not len(validation.labels):
        return {}
    sets = conformal(validation, test.probabilities.shape[1]).sets(test.probabilities)
    held = sets[np.arange(len(test.labels)), test.labels]
    by_class = [held[test.labels == c].mean() for c in np.unique(test.labels)]
    return {
        "conformal_coverage": float(held.mean()),
        "conformal_least_coverage": float(min(by_class)),
        "conformal_size": float(sets.sum(axis=1).mean()),
    }


def conformal_estimates(readings: Readings, bootstrap: Bootstrap, row: int = 0) -> dict[str, Estimate]:
    """Return the share of test images whose set holds their class, with its sampling distribution, by column name.

    The sets are those that validation images gave: what is drawn are test images.

    Args:
        bootstrap: of the clusters of test images.
        row: number of the row, for the draws of its seeds.
    """
    images = readings.images
    held = np.zeros((readings.trainings, images.count, 2))
    for training, (of_training, parts) in enumerate(zip(readings.probabilities, readings.validation, strict=True)):
        for fold, part in enumerate(parts):
            if not len(part.labels):
                return {}
            mine = np.flatnonzero(images.folds == fold)
            sets = conformal(part, of_training.shape[1]).sets(of_training[mine])
            inside = sets[np.arange(len(mine)), images.labels[mine]].astype(np.float64)
            held[training, :, 0] += np.bincount(images.clusters[mine], inside, images.count)
            held[training, :, 1] += np.bincount(images.clusters[mine], minlength=images.count)
    return {"conformal_coverage": bootstrap.resample(held, row).estimate(mean_of)}
