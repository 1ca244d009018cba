"""The uncertainty of decisions at a threshold: that of the test images, and that of the images that gave it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.evaluation.bootstrap import Bootstrap, Estimate
from benchmark.evaluation.calibration import OPERATING_SPECIFICITY, threshold_at
from benchmark.evaluation.clusters import ClusteredImages, numbered_clusters
from benchmark.evaluation.intervals import satterthwaite
from benchmark.evaluation.metrics import Floats
from benchmark.records.record import Predictions

SENSITIVITY, SPECIFICITY, MATCHED = "sensitivity_at_95", "specificity_at_95", "sensitivity_matched"
_CHUNK = 4_000_000  # entries that are held at once


@dataclass(frozen=True)
class _Fold:
    """What one network says of its fold's test images, and the thresholds that resamples give it.

    Args:
        tumour: float64, shape (n,), the probability of a tumour.
        clusters: int64, shape (n,), of the test images.
        ill: bool, shape (n,).
        threshold: from all validation images; ``None`` where there are none to choose it by.
        resampled: float64, shape (B,), from each resample of them; ``nan`` where it has no image without a tumour.
        healthy_clusters: clusters of validation images without a tumour.
    """

    tumour: Floats
    clusters: npt.NDArray[np.int64]
    ill: npt.NDArray[np.bool_]
    threshold: float | None
    resampled: Floats
    healthy_clusters: int

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
        labels, chances = validation.labels, validation.probabilities
        threshold = threshold_at(labels, chances, negative, OPERATING_SPECIFICITY)
        resampled, count = np.full(bootstrap.resamples, np.nan), 0
        if threshold is not None:
            healthy = labels == negative
            clusters, total = numbered_clusters(validation.image_ids, validation.groups)
            draws = Bootstrap(total, bootstrap.seed + 1 + fold, bootstrap.resamples).draws
            resampled = thresholds(1 - chances[healthy, negative].astype(np.float64), draws[:, clusters[healthy]])
            count = len(np.unique(clusters[healthy]))
        tumour = 1 - probabilities[mine, negative].astype(np.float64)
        return cls(tumour, images.clusters[mine], images.labels[mine] != negative, threshold, resampled, count)


def thresholds(
    scores: Floats, weights: npt.NDArray[np.generic], specificity: float = OPERATING_SPECIFICITY
) -> Floats:
    """Return :func:`~benchmark.evaluation.calibration.threshold_at` of weighted images without a tumour.

    Args:
        scores: shape (H,), their probability of a tumour.
        weights: shape (B, H), how often each is drawn in each of B resamples.
        specificity: the least share of them that must not be reported.

    Returns:
        float64, shape (B,); ``nan`` where nothing is drawn.
    """
    order = np.argsort(scores, kind="stable")
    drawn = np.cumsum(weights[:, order], axis=1, dtype=np.float64)
    total = drawn[:, -1]
    keep = np.ceil(specificity * total - 1e-9)
    last = np.minimum((drawn < keep[:, None]).sum(axis=1), len(scores) - 1)
    found = np.nextafter(scores[order][last], np.inf)
    return np.where(total > 0, np.where(keep > 0, found, 0.0), np.nan)


def operating_point(
    probabilities: npt.NDArray[np.floating],
    validation: Sequence[Sequence[Predictions]],
    images: ClusteredImages,
    bootstrap: Bootstrap,
    negative: int,
    row: int = 0,
) -> dict[str, Estimate]:
    """Return sensitivity and specificity of "tumour or not" with their sampling distributions, by column name.

    At the threshold that validation images gave, with those images drawn anew too: of 33 images without a tumour, the
    95 % threshold has a true specificity of anything from 0.84 to 0.99 (order statistics: a beta distribution), which
    an interval of the test images alone does not show. The estimates are of the threshold that validation images
    without number would give. And, as rows whose thresholds fell apart by that do not compare, sensitivity where the
    test images' own specificity is the same for all.

    Args:
        probabilities: shape (S, N, C), of S trainings.
        validation: for each training and each fold, the predictions of its validation images.
        images: the N test images.
        bootstrap: of their clusters.
        negative: number of the class without a tumour.
        row: number of the row, for the draws of its seeds.

    Returns:
        Empty unless there are test images with and without a tumour; without suitable validation images only what is
        matched.
    """
    ill = images.labels != negative
    if ill.all() or not ill.any():
        return {}
    sick, healthy = images.containing(ill), images.containing(~ill)
    trainings = [
        [_Fold.of(chances, part, images, fold, negative, bootstrap) for fold, part in enumerate(parts)]
        for chances, parts in zip(probabilities, validation, strict=True)
    ]
    weights = bootstrap.seed_weights(len(trainings), row)
    matched = [_matched(folds, bootstrap.draws) for folds in trainings]
    found = {MATCHED: _estimate([m[0] for m in matched], [m[1] for m in matched], weights, min(sick, healthy))}
    if any(fold.threshold is None for folds in trainings for fold in folds):
        return found
    chosen_by = min(fold.healthy_clusters for folds in trainings for fold in folds)
    rates = [_at_thresholds(folds, bootstrap.draws) for folds in trainings]
    for name, side, clusters in ((SENSITIVITY, 1, sick), (SPECIFICITY, 0, healthy)):
        values, fixed, drawn = zip(*((one[side], two[side], three[side]) for one, two, three in rates), strict=True)
        found[name] = _estimate(values, drawn, weights, clusters, fixed, chosen_by)
    return found


def _estimate(
    values: Sequence[float],
    drawn: Sequence[Floats],
    weights: Floats,
    clusters: int,
    fixed: Sequence[Floats] = (),
    chosen_by: int = 0,
) -> Estimate:
    """Return an estimate from S trainings' values and replicates.

    Args:
        drawn: each of shape (B,).
        weights: of the trainings in each resample, shape (B, S).
        fixed: the replicates with the threshold as it was chosen, in order to tell its part of the variance.
        chosen_by: clusters of the images that gave it.
    """
    replicates = np.asarray((weights * np.stack(drawn, axis=1)).sum(axis=1))
    further, freedom = Bootstrap.seed_variance(np.asarray(values))
    if fixed:
        alone = (weights * np.stack(fixed, axis=1)).sum(axis=1)
        threshold = max(0.0, float(np.nanvar(replicates, ddof=1) - np.nanvar(alone, ddof=1)))
        further, freedom = (
            further + threshold,
            int(satterthwaite((further, freedom), (threshold, max(1, chosen_by - 1)))),
        )
    return Estimate(float(np.mean(values)), replicates, further, freedom, clusters)


def _at_thresholds(
    folds: Sequence[_Fold], draws: npt.NDArray[np.uint16]
) -> tuple[tuple[float, float], tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Return specificity and sensitivity of a training: observed, with thresholds as chosen, with all drawn anew."""
    observed = np.zeros((2, 2))  # healthy and ill: right, all
    fixed, drawn = np.zeros((2, 2, len(draws))), np.zeros((2, 2, len(draws)))
    for fold in folds:
        assert fold.threshold is not None
        reported = fold.tumour >= fold.threshold
        for side in (0, 1):
            mine = fold.ill == bool(side)
            right = reported[mine] == bool(side)
            observed[side] += right.sum(), mine.sum()
            for start, part in _parts(draws, int(mine.sum())):
                chosen = slice(start, start + len(part))
                weights = part[:, fold.clusters[mine]].astype(np.float64)
                beyond = (fold.tumour[mine] >= fold.resampled[chosen, None]) == bool(side)
                fixed[side, :, chosen] += weights @ right, weights.sum(axis=1)
                drawn[side, :, chosen] += (weights * beyond).sum(axis=1), weights.sum(axis=1)
        drawn[:, 0, np.isnan(fold.resampled)] = np.nan
    shares = [_share(each[:, 0], each[:, 1]) for each in (observed, fixed, drawn)]
    return (float(shares[0][0]), float(shares[0][1])), (shares[1][0], shares[1][1]), (shares[2][0], shares[2][1])


def _matched(folds: Sequence[_Fold], draws: npt.NDArray[np.uint16]) -> tuple[float, Floats]:
    """Return sensitivity at the test images' own 95 % specificity: observed, and in each resample of them."""
    hits, total = 0.0, 0
    drawn = np.zeros((2, len(draws)))
    for fold in folds:
        healthy = fold.tumour[~fold.ill]
        if not len(healthy):
            return float("nan"), np.full(len(draws), np.nan)
        hits += (fold.tumour[fold.ill] >= thresholds(healthy, np.ones((1, len(healthy))))[0]).sum()
        total += int(fold.ill.sum())
        for start, part in _parts(draws, len(fold.tumour)):
            chosen = slice(start, start + len(part))
            limit = thresholds(healthy, part[:, fold.clusters[~fold.ill]])
            weights = part[:, fold.clusters[fold.ill]].astype(np.float64)
            reported = (fold.tumour[fold.ill] >= limit[:, None]).astype(np.float64)
            reported[np.isnan(limit)] = np.nan
            drawn[:, chosen] += (weights * reported).sum(axis=1), weights.sum(axis=1)
    return hits / total, _share(*drawn)


def _parts(draws: npt.NDArray[np.uint16], width: int) -> list[tuple[int, npt.NDArray[np.uint16]]]:
    """Return the draws in parts of bounded size, each with the number of its first resample."""
    step = max(1, _CHUNK // max(1, width))
    return [(start, draws[start : start + step]) for start in range(0, len(draws), step)]


def _share(above: Floats, below: Floats) -> Floats:
    return np.asarray(np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0))
