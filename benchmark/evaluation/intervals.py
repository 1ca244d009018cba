"""Intervals for counts, such as false negatives, when images come in clusters."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from benchmark.evaluation.metrics import Counts, Floats


@dataclass(frozen=True)
class Interval:
    """Both ends of an interval."""

    low: float
    high: float


def named_ends(name: str, interval: Interval | None) -> dict[str, float | None]:
    """Return both ends of an interval as ``<name>_low`` and ``<name>_high``, ``None`` where there is none."""
    low, high = (None, None) if interval is None else (interval.low, interval.high)
    return {f"{name}_low": low, f"{name}_high": high}


def in_brackets(interval: Interval | None) -> str:
    """Return what stands behind a score: its interval in brackets, empty where there is none."""
    return "" if interval is None else f" ({interval.low:.3f}-{interval.high:.3f})"


def t_quantile(p: float, freedom: float) -> float:
    """Return a quantile of Student's t, as ``scipy.stats.t.ppf``, which takes twenty times as long for one number."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, p))


def normal_quantile(p: float) -> float:
    """Return a quantile of the normal distribution, as ``scipy.stats.norm.ppf``."""
    from scipy.special import ndtri

    return float(ndtri(p))


def wilson(count: float, trials: float) -> Interval:
    """Return the 95 % score interval of a share (Wilson 1927; Newcombe 1998, method 3).

    Args:
        count: successes; an average over runs need not be whole.
        trials: number of independent trials, or an effective number.
    """
    if trials <= 0:
        return Interval(0.0, 1.0)
    z = normal_quantile(0.975)
    share = count / trials
    middle = share + z**2 / (2 * trials)
    reach = z * float(np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2)))
    scale = 1 + z**2 / trials
    low = 0.0 if count == 0 else max(0.0, (middle - reach) / scale)  # exact where rounding is not
    high = 1.0 if count == trials else min(1.0, (middle + reach) / scale)
    return Interval(low, high)


def clopper_pearson(count: float, trials: float) -> Interval:
    """Return the exact 95 % interval of a share (Clopper & Pearson 1934), which covers at least as often as it says.

    Quantiles of beta distributions (Brown, Cai & DasGupta 2001, section 4.2.1), so that an effective number of trials
    need not be whole (Korn & Graubard 1998).

    Args:
        count: successes, 0 to ``trials``.
        trials: number of independent trials, or an effective number, above 0.
    """
    from scipy.stats import beta

    if trials <= 0:
        return Interval(0.0, 1.0)
    tail = (1 - 0.95) / 2
    low = 0.0 if count <= 0 else float(beta.ppf(tail, count, trials - count + 1))
    high = 1.0 if count >= trials else float(beta.ppf(1 - tail, count + 1, trials - count))
    return Interval(low, high)


def known(intervals: Mapping[str, Interval | None]) -> dict[str, Interval]:
    """Return the intervals that are known, by name."""
    return {name: interval for name, interval in intervals.items() if interval is not None}


def logit_interval(
    value: float, error: float, freedom: float, clusters: int, low: float = 0.0, high: float = 1.0
) -> Interval | None:
    """Return the 95 % interval of a score that lies between ``low`` and ``high``.

    ``logit(value) +/- t * error / (value (1 - value))`` for a score from 0 to 1: the delta method (Agresti 2013,
    section 16.1) with Student's t. A score at its limit, where nothing varies, gets Wilson's interval for as many
    trials as there are clusters.

    Args:
        value: the score.
        error: its standard error.
        freedom: degrees of freedom of the error.
        clusters: number of independent clusters behind it.
        low, high: least and greatest score that is possible.

    Returns:
        ``None`` for a score between its limits that does not vary, such as the correlation of a constant answer:
        nothing is known of its error.
    """
    share = (value - low) / (high - low)
    at_limit = not 1e-9 < share < 1 - 1e-9
    if error == 0 and not at_limit:
        return None
    if at_limit:
        ends = wilson(share * clusters, clusters)
    else:
        reach = t_quantile(0.975, freedom) * error / (high - low) / (share * (1 - share))
        middle = float(np.log(share / (1 - share)))
        ends = Interval(*(float(1 / (1 + np.exp(-(middle + side * reach)))) for side in (-1, 1)))
    return Interval(low + (high - low) * ends.low, low + (high - low) * ends.high)


def satterthwaite(first: tuple[float, float], second: tuple[float, float]) -> float:
    """Return the degrees of freedom of a sum of two variances (Satterthwaite 1946), at least 1.

    Args:
        first, second: variance and its degrees of freedom; a variance of 0 does not count.
    """
    parts = [(variance, freedom) for variance, freedom in (first, second) if variance > 0 and freedom > 0]
    if not parts:
        return max(1.0, first[1])
    total = sum(variance for variance, _ in parts)
    return max(1.0, total**2 / sum(variance**2 / freedom for variance, freedom in parts))


def satterthwaite_each(first: tuple[Floats, Floats], second: tuple[Floats, Floats]) -> Floats:
    """Return :func:`satterthwaite` of many sums: float64, shape (M,).

    Args:
        first, second: variances and their degrees of freedom, each of shape (M,).
    """
    total, divisor = np.zeros(len(first[0])), np.zeros(len(first[0]))
    for variance, freedom in (first, second):
        counts = (variance > 0) & (freedom > 0)
        total += np.where(counts, variance, 0.0)
        divisor += np.divide(variance**2, freedom, out=np.zeros(len(total)), where=counts)
    degrees = np.divide(total**2, divisor, out=np.asarray(first[1], dtype=np.float64).copy(), where=divisor > 0)
    return np.maximum(1.0, degrees)


def correlation(events: Floats, labels: Counts, clusters: Counts) -> float | None:
    """Return how alike images of one cluster and class are: the intraclass correlation of events, from 0 to 1.

    The pairwise estimator with equal weight for each pair (Ridout, Demetrio & Firth 1999): mean product of
    residuals over all pairs within a cluster, over their variance. Residuals are from the class's mean, so that
    classes of unlike difficulty don't pass for correlation.

    Args:
        events: shape (N,), 0 or 1.
        labels: int64, shape (N,).
        clusters: int64, shape (N,).

    Returns:
        ``None`` where there are no events, nothing but events, or no two images in a cluster.
    """
    if not len(events):
        return None
    _, units = np.unique(np.column_stack([clusters, labels]), axis=0, return_inverse=True)
    sizes = np.bincount(units).astype(np.float64)
    classes = np.bincount(labels)
    means = np.bincount(labels, events) / np.maximum(1, classes)
    residuals = events - means[labels]
    variance = float((residuals**2).mean())
    pairs = float((sizes * (sizes - 1)).sum())
    if variance == 0 or pairs == 0:
        return None
    products = float((np.bincount(units, residuals) ** 2 - np.bincount(units, residuals**2)).sum())
    return float(np.clip(products / pairs / variance, 0.0, 1.0))


def effective_size(sizes: Counts, correlation: float) -> float:
    """Return to how many independent images clusters of these sizes are worth.

    ``n / (1 + (m - 1) rho)`` with ``m = sum(size**2) / n`` (Kish 1965; Donner & Klar 2000 for unequal sizes),
    times ``(t_{n-1} / t_{G-1})**2`` for the few clusters that it rests on (Korn & Graubard 1998).

    Args:
        sizes: int64, shape (G,), images in each cluster, all positive.
        correlation: within clusters, 0-1.
    """
    total, count = float(sizes.sum()), len(sizes)
    if total <= 1 or count <= 1:
        return float(count)
    size = float((sizes.astype(np.float64) ** 2).sum()) / total
    few = (t_quantile(0.975, total - 1) / t_quantile(0.975, count - 1)) ** 2
    return total / (1 + (size - 1) * correlation) * (few if size > 1 else 1.0)


def count_interval(count: float, clusters: Counts, correlation: float) -> Interval:
    """Return a 95 % interval for a count of events among images that come in clusters, in images.

    Wilson's; where there is no event, or nothing but events, the exact one of Clopper and Pearson: its end for 0 of n
    is the share at which n images without an event have a chance of 2.5 %.

    Args:
        count: events.
        clusters: int64, shape (n,), the cluster of each image.
        correlation: of events within clusters, 0-1.
    """
    total = len(clusters)
    if total == 0:
        return Interval(0.0, 0.0)
    effective = effective_size(np.unique(clusters, return_counts=True)[1].astype(np.int64), correlation)
    exact = count <= 0 or count >= total
    share = (clopper_pearson if exact else wilson)(count * effective / total, effective)
    return Interval(share.low * total, share.high * total)
