"""The uncertainty of decisions at a threshold: that of the test images, and that of the images that gave it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.evaluation.bootstrap import Bootstrap, Numbers, running_sums
from benchmark.evaluation.calibration import OPERATING_SPECIFICITY, threshold_at
from benchmark.evaluation.clusters import ClusteredImages, Readings, numbered_clusters
from benchmark.evaluation.intervals import Interval, correlation, effective_size, t_quantile, wilson
from benchmark.evaluation.metrics import Floats, ratio
from benchmark.records.record import Predictions

SENSITIVITY, SPECIFICITY, MATCHED = "sensitivity_at_95", "specificity_at_95", "sensitivity_matched"
_CHUNK = 250_000  # entries that are held at once: as many as stay in a processor's cache


@dataclass(frozen=True)
class _Fold:
    """What one network says of its fold's test images, and the thresholds that other validation images would give.

    Args:
        tumour: float64, shape (n,), the probability of a tumour.
        clusters: int64, shape (n,), of the test images.
        ill: bool, shape (n,).
        threshold: from the validation images; ``None`` where there are none to choose it by.
        drawn: float64, shape (B,), from as many others; empty without a threshold.
        chosen_by: clusters of validation images without a tumour, which gave the threshold.
    """

    tumour: Floats
    clusters: npt.NDArray[np.int64]
    ill: npt.NDArray[np.bool_]
    threshold: float | None
    drawn: Floats
    chosen_by: int

    @classmethod
    def of(
        cls,
        probabilities: npt.NDArray[np.floating],
        validation: Predictions,
        images: ClusteredImages,
        fold: int,
        negative: int,
        bootstrap: Bootstrap,
    ) -> "_Fold":
        mine = images.folds == fold
        tumour, ill = 1 - probabilities[mine, negative].astype(np.float64), images.labels[mine] != negative
        threshold = threshold_at(validation.labels, validation.probabilities, negative)
        drawn, chosen_by = np.zeros(0), 0
        if threshold is not None:
            generator = np.random.default_rng([bootstrap.seed, 3, fold])
            of_healthy = validation.labels == negative
            scores = 1 - validation.probabilities[of_healthy, negative].astype(np.float64)
            clusters, chosen_by = numbered_clusters(validation.image_ids[of_healthy], validation.groups[of_healthy])
            specificities = _specificities(scores, clusters, threshold, generator, bootstrap.resamples)
            drawn = np.quantile(np.concatenate([scores, tumour[~ill]]), specificities)
        return cls(tumour, images.clusters[mine], ill, threshold, drawn, chosen_by)


def _specificities(
    scores: Floats, clusters: npt.NDArray[np.int64], threshold: float, generator: np.random.Generator, count: int
) -> Floats:
    """Draw true specificities of the threshold that so many images without a tumour give: float64, shape (B,).

    The k-th smallest of n independent scores has a share of the population below it that is distributed as
    ``Beta(k, n + 1 - k)``, whatever the scores' own distribution (David & Nagaraja 2003, "Order Statistics", section
    2.3). Images in clusters count as the effective number that their correlation leaves.
    """
    sizes = np.unique(clusters, return_counts=True)[1].astype(np.int64)
    beyond = (scores >= threshold).astype(np.float64)
    alike = correlation(beyond, np.zeros(len(scores), dtype=np.int64), clusters)
    worth = min(float(len(scores)), effective_size(sizes, 0.5 if alike is None else alike))
    kept = min(worth, max(1.0, (1 - beyond.mean()) * worth))
    return generator.beta(kept, worth + 1 - kept, count)


def thresholds(scores: Floats, drawn: Numbers) -> Floats:
    """Return :func:`~benchmark.evaluation.calibration.threshold_at` of weighted images without a tumour.

    Args:
        scores: shape (H,), ascending, their probability of a tumour.
        drawn: shape (H, B), how many images of such a score or a lower one each of B resamples has.

    Returns:
        float64, shape (B,); ``nan`` where nothing is drawn.
    """
    total = drawn[-1].astype(np.float64)
    keep = np.ceil(OPERATING_SPECIFICITY * total - 1e-9)
    last = np.minimum((drawn < keep.astype(drawn.dtype)).sum(axis=0), len(scores) - 1)
    limits = np.nextafter(scores[last], np.inf)
    return np.where(total > 0, np.where(keep > 0, limits, 0.0), np.nan)


def operating_point(
    readings: Readings, bootstrap: Bootstrap, negative: int, row: int = 0
) -> dict[str, Interval | None]:
    """Return 95 % intervals of sensitivity and specificity of "tumour or not", by column name.

    At the threshold that validation images gave, with that threshold drawn anew too: of 33 images without a tumour,
    the 95 % threshold has a true specificity of anything from 0.84 to 0.99, which an interval of the test images
    alone does not show. The intervals are for the threshold that validation images without number would give. And,
    as rows whose thresholds fell apart by that do not compare, sensitivity where the test images' own specificity is
    95 % for all rows alike.

    Args:
        bootstrap: of the clusters of test images.
        negative: number of the class without a tumour.
        row: number of the row, for the draws of its seeds.

    Returns:
        Empty unless there are test images with and without a tumour; without suitable validation images only what is
        matched.
    """
    images = readings.images
    ill = images.labels != negative
    if ill.all() or not ill.any():
        return {}
    sick, healthy = images.containing(ill), images.containing(~ill)
    trainings = [
        [_Fold.of(of_training, part, images, fold, negative, bootstrap) for fold, part in enumerate(parts)]
        for of_training, parts in zip(readings.probabilities, readings.validation, strict=True)
    ]
    weights = bootstrap.seed_weights(len(trainings), row)
    counted = [_Counted.of(folds, bootstrap) for folds in trainings]
    both = list(zip(trainings, counted, strict=True))
    matched, of_matched = _columns([(_matched(folds), ratio(*of.matched)) for folds, of in both])
    intervals: dict[str, Interval | None] = {}
    if not np.isnan(matched).any():
        replicates = np.asarray((weights * of_matched).sum(axis=1))
        intervals[MATCHED] = _wide_interval(
            float(matched.mean()), replicates, min(sick, healthy), int(ill.sum()), min(sick, healthy)
        )
    if any(fold.threshold is None for folds in trainings for fold in folds):
        return intervals
    for name, side, clusters in ((SENSITIVITY, True, sick), (SPECIFICITY, False, healthy)):
        values, drawn = _columns(
            [(_at_thresholds(folds, side), ratio(*of.at_thresholds[side])) for folds, of in both]
        )
        replicates = np.asarray((weights * drawn).sum(axis=1))
        few = min(clusters, *(fold.chosen_by for folds in trainings for fold in folds))
        intervals[name] = _wide_interval(float(values.mean()), replicates, clusters, int((ill == side).sum()), few)
    return intervals


def _columns(trainings: Sequence[tuple[float, Floats]]) -> tuple[Floats, Floats]:
    """Return values, shape (S,), and replicates, shape (B, S), of S trainings."""
    values, replicates = zip(*trainings, strict=True)
    return np.array(values), np.stack(replicates, axis=1)


def _wide_interval(value: float, replicates: Floats, clusters: int, images: int, few: int) -> Interval | None:
    """Return the interval of a share whose replicates spread too widely for the delta method.

    Their standard deviation is taken on the logit scale, on which a share near 1 with few images is skewed, half an
    image being added on either side (Haldane 1956; Agresti 2013, section 5.2). A share at its limit gets at least
    Wilson's interval for as many trials as there are clusters.

    Args:
        value: the share.
        replicates: shape (B,).
        clusters, images: how many it is of.
        few: clusters of the smallest part that it rests on, for the degrees of freedom.

    Returns:
        ``None`` where fewer than two replicates have both sides: too few clusters to say anything.
    """
    if np.count_nonzero(~np.isnan(replicates)) < 2:
        return None
    shares = (replicates[~np.isnan(replicates)] * images + 0.5) / (images + 1)
    reach = t_quantile(0.975, max(1, few - 1)) * float(np.log(shares / (1 - shares)).std(ddof=1))
    inside = value if 0 < value < 1 else (value * images + 0.5) / (images + 1)
    middle = float(np.log(inside / (1 - inside)))
    low, high = (float(1 / (1 + np.exp(-(middle + side * reach)))) for side in (-1, 1))
    if inside == value:
        return Interval(low, high)
    least = wilson(value * clusters, clusters)
    return Interval(min(low, least.low) if value else 0.0, max(high, least.high) if not value else 1.0)


@dataclass(frozen=True)
class _Counted:
    """What the folds of one training say in each resample of the test images: right answers, and images.

    Args:
        matched: float64, shape (2, B): reported tumours, and tumours, at the resample's own 95 % specificity; ``nan``
            where a fold has no image without a tumour.
        at_thresholds: by whether images have a tumour, the same of those that are answered right at the thresholds
            that other validation images would give; 0 where a fold has no threshold.
    """

    matched: Floats
    at_thresholds: dict[bool, Floats]

    @classmethod
    def of(cls, folds: Sequence[_Fold], bootstrap: Bootstrap) -> "_Counted":
        """Count in sorted images, so that those below a threshold are one running sum, looked up."""
        matched = np.zeros((2, bootstrap.resamples))
        at_thresholds = {side: np.zeros((2, bootstrap.resamples)) for side in (True, False)}
        for fold in folds:
            order = np.argsort(fold.tumour, kind="stable")
            scores, clusters, ill = fold.tumour[order], fold.clusters[order], fold.ill[order]
            step = max(1, _CHUNK // max(1, len(order)))
            for start in range(0, bootstrap.resamples, step):
                part = slice(start, min(start + step, bootstrap.resamples))
                of_ill, of_healthy = (
                    running_sums(bootstrap.by_image(clusters[mine], part.start, part.stop)) for mine in (ill, ~ill)
                )
                limit = thresholds(scores[~ill], of_healthy) if len(of_healthy) else np.full(of_ill.shape[1], np.nan)
                tumours = _last(of_ill)
                matched[:, part] += (
                    np.where(np.isnan(limit), np.nan, tumours - _below(scores[ill], of_ill, limit)),
                    tumours,
                )
                if fold.threshold is not None:
                    drawn = fold.drawn[part]
                    at_thresholds[True][:, part] += tumours - _below(scores[ill], of_ill, drawn), tumours
                    at_thresholds[False][:, part] += _below(scores[~ill], of_healthy, drawn), _last(of_healthy)
        return cls(matched, at_thresholds)


def _last(drawn: Numbers) -> Floats:
    """Return how many images each resample has, shape (B,), from running sums over them, (n, B)."""
    return drawn[-1].astype(np.float64) if len(drawn) else np.zeros(drawn.shape[1])


def _below(scores: Floats, drawn: Numbers, limits: Floats) -> Floats:
    """Return how many images each resample has whose score is below its limit, shape (B,).

    Args:
        scores: shape (n,), ascending.
        drawn: shape (n, B), running sums of how often images are drawn.
        limits: shape (B,).
    """
    count = np.searchsorted(scores, limits, side="left")
    if not len(scores):
        return np.zeros(len(limits))
    return np.where(count > 0, drawn[count - 1, np.arange(len(limits))].astype(np.float64), 0.0)


def _at_thresholds(folds: Sequence[_Fold], ill: bool) -> float:
    """Return the sensitivity (``ill``) or specificity of a training at its thresholds."""
    right, total = 0, 0
    for fold in folds:
        assert fold.threshold is not None
        mine = fold.ill == ill
        right += int(((fold.tumour[mine] >= fold.threshold) == ill).sum())
        total += int(mine.sum())
    return right / total


def _matched(folds: Sequence[_Fold]) -> float:
    """Return the sensitivity of a training at the test images' own 95 % specificity; ``nan`` where a fold has no
    image without a tumour.
    """
    hits, total = 0.0, 0
    for fold in folds:
        healthy = np.sort(fold.tumour[~fold.ill])
        if not len(healthy):
            return float("nan")
        hits += (fold.tumour[fold.ill] >= thresholds(healthy, np.arange(1.0, len(healthy) + 1)[:, None])[0]).sum()
        total += int(fold.ill.sum())
    return hits / total
