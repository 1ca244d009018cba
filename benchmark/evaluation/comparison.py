"""Which of two rows is better, and whether it could be chance."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.evaluation.bootstrap import Estimate
from benchmark.evaluation.intervals import Interval
from benchmark.evaluation.metrics import Counts, Floats
from benchmark.evaluation.multiple_testing import romano_wolf

ALPHA = 0.05


@dataclass(frozen=True)
class Comparison:
    """Two rows of one block.

    Args:
        first, second: their numbers within the block.
        difference: score of the first less that of the second.
        interval: of the difference, 95 %, without correction.
        p: two-sided, without correction.
        p_adjusted: corrected for all pairs of the block (:func:`~benchmark.evaluation.multiple_testing.romano_wolf`).
    """

    first: int
    second: int
    difference: float
    interval: Interval
    p: float
    p_adjusted: float

    @property
    def better(self) -> int | None:
        """The row that is significantly better, ``None`` where they can't be told apart."""
        if self.p_adjusted >= ALPHA or self.difference == 0:
            return None
        return self.first if self.difference > 0 else self.second


@dataclass(frozen=True)
class RankInterval:
    """The ranks that a row may have: from 1 + the rows that are significantly better to all less the worse ones.

    With decisions on all pairs whose common error is at most 5 %, the true ranks of all rows lie in their intervals
    at once with at least 95 % confidence (Mogstad, Romano, Shaikh & Wilhelm 2024, "Inference for ranks with
    applications to mobility across neighbourhoods and academic achievement across countries", Review of Economic
    Studies 91(1), section 3, simultaneous confidence sets).

    Args:
        first: the best rank that is left open, from 1.
        last: the worst.
    """

    first: int
    last: int


def compare(estimates: Sequence[Estimate]) -> list[Comparison]:
    """Compare all pairs of rows by a paired bootstrap of clusters, corrected by Romano and Wolf's step-down.

    The rows' replicates come from the same draws of clusters, so that the difference's standard error keeps
    what they have in common; their ratio is referred to Student's t (Efron & Tibshirani 1993, section 12.4), so
    that the number of resamples does not limit how small p can be.
    """
    from scipy.stats import t

    found, deviations = [], []
    for first, second in itertools.combinations(range(len(estimates)), 2):
        both = estimates[first].minus(estimates[second])
        error, freedom = both.error, both.freedom
        p = float(2 * t.sf(abs(both.value) / error, freedom)) if error > 0 else 1.0
        reach = float(t.ppf(0.975, freedom)) * error
        found.append((first, second, both.value, Interval(both.value - reach, both.value + reach), p))
        drawn = both.replicates - np.nanmean(both.replicates) if error > 0 else np.zeros(len(both.replicates))
        deviations.append(np.nan_to_num(drawn) / (error or 1.0))
    if not found:
        return []
    adjusted = romano_wolf([p for *_, p in found], np.column_stack(deviations))
    return [Comparison(*pair, p_adjusted) for pair, p_adjusted in zip(found, adjusted, strict=True)]


def rank_intervals(count: int, comparisons: Sequence[Comparison]) -> list[RankInterval]:
    """Return the ranks that each of ``count`` rows may have, by the decisions on all pairs of them."""
    better, worse = [0] * count, [0] * count
    for comparison in comparisons:
        if comparison.better is not None:
            other = comparison.second if comparison.better == comparison.first else comparison.first
            better[other] += 1
            worse[comparison.better] += 1
    return [RankInterval(1 + better[row], count - worse[row]) for row in range(count)]


def mcnemar(first_only: int, second_only: int) -> float:
    """Return the exact two-sided p of McNemar's (1947) test for independent images.

    Args:
        first_only: images that only the first row gets right.
        second_only: likewise the second.
    """
    from scipy.stats import binomtest

    return float(binomtest(first_only, first_only + second_only).pvalue) if first_only + second_only else 1.0


def mcnemar_clustered(differences: Floats | Counts) -> tuple[float, float]:
    """Return statistic and p of McNemar's test for images in clusters (Obuchowski 1998).

    In the notation of Yang, Sun & Hardin 2010: ``(K - 1) / K * sum(d)**2 / sum(d**2)``, chi-squared with one
    degree of freedom.

    Args:
        differences: shape (K,), for each cluster the images that only the first row gets right less those that
            only the second does.
    """
    from scipy.stats import chi2

    count, spread = len(differences), float((np.asarray(differences, dtype=np.float64) ** 2).sum())
    if spread == 0:
        return 0.0, 1.0
    statistic = (count - 1) / count * float(np.sum(differences)) ** 2 / spread
    return statistic, float(chi2.sf(statistic, 1))


def nadeau_bengio(differences: Sequence[float], n_train: float, n_test: float) -> tuple[float, float]:
    """Return t and two-sided p of the corrected resampled t-test over folds (Nadeau & Bengio 2003, section 4).

    ``t = mean(d) / sqrt((1 / k + n_test / n_train) var(d))`` with k - 1 degrees of freedom: folds share training
    images, so that the plain t-test is too sure.

    Args:
        differences: of the scores, one for each of k folds, k at least 2.
        n_train, n_test: images in a fold's training and test part.
    """
    from scipy.stats import t

    values = np.asarray(differences, dtype=np.float64)
    variance = float(values.var(ddof=1))
    if variance == 0:
        return (0.0, 1.0) if values.mean() == 0 else (math.copysign(math.inf, values.mean()), 0.0)
    statistic = float(values.mean()) / math.sqrt((1 / len(values) + n_test / n_train) * variance)
    return statistic, float(2 * t.sf(abs(statistic), len(values) - 1))
