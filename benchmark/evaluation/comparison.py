"""Which of two rows is better, and whether it could be chance."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.evaluation.bootstrap import Estimate
from benchmark.evaluation.intervals import Interval
from benchmark.evaluation.metrics import Counts, Floats

ALPHA = 0.05


@dataclass(frozen=True)
class Comparison:
    """Two rows of one block.

    Args:
        first, second: their numbers within the block.
        difference: score of the first less that of the second.
        interval: of the difference, 95 %, without correction.
        p: two-sided, without correction.
        p_holm: corrected for all pairs of the block.
    """

    first: int
    second: int
    difference: float
    interval: Interval
    p: float
    p_holm: float

    @property
    def better(self) -> int | None:
        """The row that is significantly better, ``None`` where they can't be told apart."""
        if self.p_holm >= ALPHA or self.difference == 0:
            return None
        return self.first if self.difference > 0 else self.second


def compare(estimates: Sequence[Estimate]) -> list[Comparison]:
    """Compare all pairs of rows by a paired bootstrap of clusters, with Holm's correction.

    The rows' replicates come from the same draws of clusters, so that the difference's standard error keeps
    what they have in common; their ratio is referred to Student's t (Efron & Tibshirani 1993, section 12.4), so
    that the number of resamples does not limit how small p can be.
    """
    from scipy.stats import t

    found = []
    for first, second in itertools.combinations(range(len(estimates)), 2):
        both = estimates[first].minus(estimates[second])
        error, freedom = both.error, both.freedom
        p = float(2 * t.sf(abs(both.value) / error, freedom)) if error > 0 else 1.0
        reach = float(t.ppf(0.975, freedom)) * error
        found.append((first, second, both.value, Interval(both.value - reach, both.value + reach), p))
    corrected = holm([p for *_, p in found])
    return [Comparison(*pair, p_holm) for pair, p_holm in zip(found, corrected, strict=True)]


def ranks(count: int, comparisons: Sequence[Comparison]) -> list[int]:
    """Return for each of ``count`` rows 1 + the number of rows that are significantly better."""
    worse = [
        comparison.second if comparison.better == comparison.first else comparison.first
        for comparison in comparisons
        if comparison.better is not None
    ]
    return [1 + worse.count(row) for row in range(count)]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979), as R's ``p.adjust(method = "holm")``."""
    order = np.argsort(p_values, kind="stable")
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = largest
    return corrected


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
