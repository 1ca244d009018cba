"""The uncertainty of decisions at a threshold: that of the test images, and that of the images that gave it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.evaluation.bootstrap import Bootstrap
from benchmark.evaluation.calibration import OPERATING_SPECIFICITY, threshold_at
from benchmark.evaluation.clusters import ClusteredImages, numbered_clusters
from benchmark.evaluation.intervals import Interval, correlation, effective_size, wilson
from benchmark.evaluation.metrics import Floats
from benchmark.records.record import Predictions

SENSITIVITY, SPECIFICITY, MATCHED = "sensitivity_at_95", "specificity_at_95", "sensitivity_matched"
_CHUNK = 4_000_000  # entries that are held at once


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
        threshold = threshold_at(validation.labels, validation.probabilities, negative, OPERATING_SPECIFICITY)
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
) -> dict[str, Interval | None]:
    """Return 95 % intervals of sensitivity and specificity of "tumour or not", by column name.

    At the threshold that validation images gave, with that threshold drawn anew too: of 33 images without a tumour,
    the 95 % threshold has a true specificity of anything from 0.84 to 0.99, which an interval of the test images
    alone does not show. The intervals are for the threshold that validation images without number would give. And,
    as rows whose thresholds fell apart by that do not compare, sensitivity where the test images' own specificity is
    95 % for all rows alike.

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
    matched, of_matched = _columns([_matched(folds, bootstrap.draws) for folds in trainings])
    found: dict[str, Interval | None] = {}
    if not np.isnan(matched).any():
        replicates = np.asarray((weights * of_matched).sum(axis=1))
        found[MATCHED] = _wide_interval(
            float(matched.mean()), replicates, min(sick, healthy), int(ill.sum()), min(sick, healthy)
        )
    if any(fold.threshold is None for folds in trainings for fold in folds):
        return found
    for name, side, clusters in ((SENSITIVITY, True, sick), (SPECIFICITY, False, healthy)):
        values, drawn = _columns([_at_thresholds(folds, bootstrap.draws, side) for folds in trainings])
        replicates = np.asarray((weights * drawn).sum(axis=1))
        few = min(clusters, *(fold.chosen_by for folds in trainings for fold in folds))
        found[name] = _wide_interval(float(values.mean()), replicates, clusters, int((ill == side).sum()), few)
    return found


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
    from scipy.stats import t

    if np.count_nonzero(~np.isnan(replicates)) < 2:
        return None
    shares = (replicates[~np.isnan(replicates)] * images + 0.5) / (images + 1)
    reach = float(t.ppf(0.975, max(1, few - 1)) * np.log(shares / (1 - shares)).std(ddof=1))
    inside = value if 0 < value < 1 else (value * images + 0.5) / (images + 1)
    middle = float(np.log(inside / (1 - inside)))
    low, high = (float(1 / (1 + np.exp(-(middle + side * reach)))) for side in (-1, 1))
    if inside == value:
        return Interval(low, high)
    least = wilson(value * clusters, clusters)
    return Interval(min(low, least.low) if value else 0.0, max(high, least.high) if not value else 1.0)


def _at_thresholds(folds: Sequence[_Fold], draws: npt.NDArray[np.uint16], ill: bool) -> tuple[float, Floats]:
    """Return sensitivity (``ill``) or specificity of a training: observed, and with images and thresholds anew."""
    right, total = 0, 0
    drawn = np.zeros((2, len(draws)))
    for fold in folds:
        assert fold.threshold is not None
        mine = fold.ill == ill
        right += int(((fold.tumour[mine] >= fold.threshold) == ill).sum())
        total += int(mine.sum())
        for start, part in _parts(draws, int(mine.sum())):
            chosen = slice(start, start + len(part))
            weights = part[:, fold.clusters[mine]].astype(np.float64)
            reported = fold.tumour[mine] >= fold.drawn[chosen, None]
            drawn[:, chosen] += (weights * (reported == ill)).sum(axis=1), weights.sum(axis=1)
    return right / total, _share(*drawn)


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
