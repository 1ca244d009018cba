"""Which of two rows is better, and whether it could be chance."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmark.evaluation.bootstrap import Estimate
from benchmark.evaluation.intervals import Interval, satterthwaite_each
from benchmark.evaluation.many_rows.replicates import Replicates
from benchmark.evaluation.metrics import Counts, Floats
from benchmark.evaluation.multiple_testing import stepped_down

ALPHA = 0.05


@dataclass(frozen=True)
class Comparison:
    """Two rows of one block.

    Args:
        first, second: their numbers within the block.
        difference: score of the first less that of the second.
        interval: of the difference, 95 %, without correction.
        p: two-sided, without correction.
        p_adjusted: corrected for all pairs of the block
            (:func:`~benchmark.evaluation.multiple_testing.stepped_down`).
        p_mcnemar: of McNemar's test of accuracy: exact, or adjusted for clusters where there are any; ``nan`` where
            it was not made.
        p_folds: of Nadeau and Bengio's test over folds, ``None`` without folds.
    """

    first: int
    second: int
    difference: float
    interval: Interval
    p: float
    p_adjusted: float
    p_mcnemar: float
    p_folds: float | None

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


@dataclass(frozen=True)
class Comparisons:
    """All pairs of rows compared, held as columns: a thousand rows are half a million pairs.

    Args:
        first, second: int64, shape (M,): numbers of the rows, the first below the second.
        difference, low, high, p, p_adjusted, p_mcnemar, p_folds: float64, shape (M,), see :class:`Comparison`.
    """

    first: Counts
    second: Counts
    difference: Floats
    low: Floats
    high: Floats
    p: Floats
    p_adjusted: Floats
    p_mcnemar: Floats
    p_folds: Floats | None = None

    def __len__(self) -> int:
        return len(self.first)

    def __iter__(self) -> Iterator[Comparison]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, place: int) -> Comparison:
        return Comparison(
            int(self.first[place]),
            int(self.second[place]),
            float(self.difference[place]),
            Interval(float(self.low[place]), float(self.high[place])),
            float(self.p[place]),
            float(self.p_adjusted[place]),
            float(self.p_mcnemar[place]),
            None if self.p_folds is None else float(self.p_folds[place]),
        )

    @property
    def better(self) -> Counts:
        """For each pair the row that is significantly better, -1 where the two can't be told apart: int64, (M,)."""
        apart = (self.p_adjusted < ALPHA) & (self.difference != 0)
        return np.where(apart, np.where(self.difference > 0, self.first, self.second), -1)

    def among(self, numbers: Sequence[int]) -> "Comparisons":
        """Return the same pairs, their rows numbered anew: row k becomes ``numbers[k]``."""
        anew = np.asarray(numbers, dtype=np.int64)
        return self if not len(anew) else replace(self, first=anew[self.first], second=anew[self.second])


def compare(estimates: Sequence[Estimate], *, corrected: bool = True) -> Comparisons:
    """Compare all pairs of rows by a paired bootstrap of clusters, corrected by Romano and Wolf's step-down.

    The rows' replicates come from the same draws of clusters, so that the difference's standard error keeps
    what they have in common; their ratio is referred to Student's t (Efron & Tibshirani 1993, section 12.4), so
    that the number of resamples does not limit how small p can be.

    Args:
        estimates: of the rows, on the same clusters and draws.
        corrected: whether for all pairs together; else ``p_adjusted`` is ``p``.
    """
    from scipy.special import stdtr, stdtrit

    if len(estimates) < 2:
        none, no_rows = np.zeros(0), np.zeros(0, dtype=np.int64)
        return Comparisons(no_rows, no_rows, none, none, none, none, none, none)
    drawn = Replicates.of(estimates)
    first, second = (side.astype(np.int64) for side in np.triu_indices(len(estimates), 1))
    values = np.array([estimate.value for estimate in estimates])
    difference = values[first] - values[second]
    means, errors = drawn.spreads()
    freedom = _freedom(estimates, first, second, errors)
    varies = errors > 0
    apart = np.divide(np.abs(difference), errors, out=np.zeros(len(errors)), where=varies)
    p = np.where(varies, 2 * stdtr(freedom, -apart), 1.0)
    reach = stdtrit(freedom, 0.975) * errors
    columns = first, second, difference, difference - reach, difference + reach, p
    not_made = np.full(len(p), np.nan)
    if not corrected:
        return Comparisons(*columns, p, not_made)
    adjusted = stepped_down(
        p,
        lambda pairs: drawn.deviations(first[pairs], second[pairs], means[pairs], errors[pairs]),
        drawn.values.shape[1],
        drawn.farthest(first, second, errors),
    )
    return Comparisons(*columns, adjusted, not_made)


def _freedom(estimates: Sequence[Estimate], first: Counts, second: Counts, errors: Floats) -> Floats:
    """Return the degrees of freedom of each pair's standard error, as :attr:`Estimate.freedom` of the difference."""
    variances = np.array([estimate.seed_variance for estimate in estimates])
    freedoms = np.array([estimate.seed_freedom for estimate in estimates], dtype=np.float64)
    clusters = np.array([estimate.clusters for estimate in estimates], dtype=np.float64)
    total = errors**2
    seeds = np.minimum(variances[first] + variances[second], total)
    return satterthwaite_each((total - seeds, clusters[first] - 1), (seeds, freedoms[first] + freedoms[second]))


def rank_intervals(count: int, comparisons: Comparisons) -> list[RankInterval]:
    """Return the ranks that each of ``count`` rows may have, by the decisions on all pairs of them."""
    winners = comparisons.better
    apart = winners >= 0
    losers = np.where(winners == comparisons.first, comparisons.second, comparisons.first)
    better, worse = (np.bincount(side[apart], minlength=count).tolist() for side in (losers, winners))
    return [RankInterval(1 + better[row], count - worse[row]) for row in range(count)]


def mcnemar_each(first_only: Counts, second_only: Counts) -> Floats:
    """Return the exact two-sided p of McNemar's (1947) test for independent images, of M pairs: float64, shape (M,).

    The two tails of a binomial distribution with a share of one half are alike, so that the p is twice the smaller
    one, as in ``scipy.stats.binomtest``, which searches for the other tail.

    Args:
        first_only: int64, shape (M,): images that only the first row of a pair gets right.
        second_only: likewise the second.
    """
    from scipy.stats import binom

    lower, total = np.minimum(first_only, second_only), first_only + second_only
    cells, place = np.unique(np.column_stack([lower, total]), axis=0, return_inverse=True)
    low, trials = cells.T
    p = np.minimum(1.0, binom.cdf(low, trials, 0.5) + binom.sf(trials - low - 1, trials, 0.5))
    return np.asarray(np.where(2 * low == trials, 1.0, p)[place.reshape(-1)])


def mcnemar_clustered(sums: Floats, squares: Floats, clusters: int) -> Floats:
    """Return the p of McNemar's test for images in clusters (Obuchowski 1998), of M pairs: float64, shape (M,).

    In the notation of Yang, Sun & Hardin 2010: ``(K - 1) / K * sum(d)**2 / sum(d**2)``, chi-squared with one
    degree of freedom. ``d`` are, for each cluster, the images that only the first row of a pair gets right less those
    that only the second does.

    Args:
        sums, squares: shape (M,): over clusters, the sum of ``d`` and of its squares.
        clusters: their number K.
    """
    from scipy.special import chdtrc

    statistic = np.divide((clusters - 1) / clusters * sums**2, squares, out=np.zeros(len(sums)), where=squares > 0)
    return np.where(squares > 0, chdtrc(1, statistic), 1.0)


def nadeau_bengio_each(differences: Floats, n_train: float, n_test: float) -> Floats:
    """Return the two-sided p of the corrected resampled t-test over folds (Nadeau & Bengio 2003, section 4), of M
    pairs: float64, shape (M,).

    ``t = mean(d) / sqrt((1 / k + n_test / n_train) var(d))`` with k - 1 degrees of freedom: folds share training
    images, so that the plain t-test is too sure.

    Args:
        differences: shape (M, k): of the scores, one for each of k folds, k at least 2.
        n_train, n_test: images in a fold's training and test part.
    """
    from scipy.special import stdtr

    folds = differences.shape[1]
    means, variances = differences.mean(axis=1), differences.var(axis=1, ddof=1)
    varies = variances > 0
    scale = np.sqrt((1 / folds + n_test / n_train) * np.where(varies, variances, 1.0))
    p = 2 * stdtr(folds - 1, -np.abs(means / scale))
    return np.where(varies, p, np.where(means == 0, 1.0, 0.0))
