"""Uncertainty of scores: a bootstrap of clusters (and of seeds, where there are three or more), vectorised.

A resample is a vector of how often each cluster is drawn, so that all resampled confusion matrices are one matrix
product. From the resamples comes a standard error; interval and test use it with Student's t, on the logit scale
for scores between 0 and 1. In simulation (tests/evaluation/test_coverage.py) this covers better near 1 than
percentiles do, and the number of resamples does not limit how small a p-value can be.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.evaluation.clusters import Readings
from benchmark.evaluation.intervals import Interval, logit_interval, satterthwaite
from benchmark.evaluation.scoring import Floats, macro_f1

Measure = Callable[[npt.NDArray[np.generic]], Floats]  # (..., C, C) to (...)

RESAMPLES = 2000
SEEDS_TO_RESAMPLE = 3
_CHUNK = 4_000_000  # entries of a resampling matrix that are held as floats at once


@dataclass(frozen=True)
class Estimate:
    """A score with its sampling distribution.

    Args:
        value: mean over the runs of a row.
        replicates: float64, shape (B,), the same in each bootstrap resample; ``nan`` where undefined.
        seed_variance: the part of its variance that comes from the draw of seeds; 0 where they are not resampled.
        seed_freedom: degrees of freedom of that part.
        clusters: number of clusters.
    """

    value: float
    replicates: Floats
    seed_variance: float
    seed_freedom: int
    clusters: int

    @property
    def error(self) -> float:
        """Bootstrap standard error."""
        defined = self.replicates[~np.isnan(self.replicates)]
        return float(defined.std(ddof=1)) if len(defined) > 1 else 0.0

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the standard error."""
        total = self.error**2
        seeds = min(self.seed_variance, total)
        return satterthwaite((total - seeds, self.clusters - 1), (seeds, self.seed_freedom))

    def interval(self, low: float = 0.0, high: float = 1.0) -> Interval:
        """Return the 95 % interval of a score that lies between ``low`` and ``high``."""
        return logit_interval(self.value, self.error, self.freedom, self.clusters, low, high)

    def minus(self, other: "Estimate") -> "Estimate":
        """Return the difference to another row's score on the same clusters and draws."""
        return Estimate(
            value=self.value - other.value,
            replicates=self.replicates - other.replicates,
            seed_variance=self.seed_variance + other.seed_variance,
            seed_freedom=self.seed_freedom + other.seed_freedom,
            clusters=self.clusters,
        )


@dataclass(frozen=True)
class Resampled:
    """One row's confusion matrices in every resample.

    Args:
        readings: what is resampled.
        matrices: for each fold, shape (B, S, C, C).
        seeds: for each fold, shape (B, S), the weight of each seed; rows sum to 1.
    """

    readings: Readings
    matrices: tuple[Floats, ...]
    seeds: tuple[Floats, ...]

    def estimate(self, measure: Measure = macro_f1) -> Estimate:
        """Return a score with its sampling distribution: the mean over seeds and folds, each run weighing alike."""
        values = [measure(fold.sum(axis=1)) for fold in self.readings.folds]
        runs = sum(len(value) for value in values)
        replicates = np.zeros(len(self.matrices[0]))
        variance, freedom = 0.0, 0
        for value, matrices, seeds in zip(values, self.matrices, self.seeds, strict=True):
            replicates += len(value) / runs * (seeds * measure(matrices)).sum(axis=1)
            if len(value) >= SEEDS_TO_RESAMPLE:
                variance += (len(value) / runs) ** 2 * float(value.var(ddof=1)) / len(value)
                freedom += len(value) - 1
        mean = float(np.concatenate(values).mean())
        return Estimate(mean, replicates, variance, freedom, self.readings.clusters)


class Bootstrap:
    """Draws of clusters, common to all rows that are read on the same test images.

    G - 1 of G clusters, and S - 1 of S seeds, are drawn with replacement: with that number the bootstrap variance
    of a mean is unbiased (Rao & Wu 1988, section 2).

    Args:
        clusters: number of clusters in each fold.
        seed: of the draws.
        resamples: how many.
    """

    def __init__(self, clusters: Sequence[int], seed: int = 0, resamples: int = RESAMPLES) -> None:
        self.seed = seed
        self.resamples = resamples
        self._draws = [self._draw(fold, count) for fold, count in enumerate(clusters)]

    def resample(self, readings: Readings, row: int = 0) -> Resampled:
        """Return a row's confusion matrices in every resample.

        Args:
            row: number of the row; rows draw their seeds independently, and share their draws of clusters.

        Raises:
            ValueError: the readings have another number of folds or clusters.
        """
        if [fold.shape[1] for fold in readings.folds] != [draws.shape[1] for draws in self._draws]:
            raise ValueError("readings and draws are of different clusters")
        generator = np.random.default_rng([self.seed, 1, row])
        matrices, weights = [], []
        for fold, draws in zip(readings.folds, self._draws, strict=True):
            seeds, count, classes, _ = fold.shape
            flat = fold.transpose(1, 0, 2, 3).reshape(count, -1).astype(np.float64)
            step = max(1, _CHUNK // count)
            parts = [draws[i : i + step].astype(np.float64) @ flat for i in range(0, self.resamples, step)]
            matrices.append(np.concatenate(parts).reshape(self.resamples, seeds, classes, classes))
            if seeds >= SEEDS_TO_RESAMPLE:
                drawn = generator.multinomial(seeds - 1, np.full(seeds, 1 / seeds), self.resamples)
                weights.append(drawn / (seeds - 1))
            else:
                weights.append(np.full((self.resamples, seeds), 1 / seeds))
        return Resampled(readings, tuple(matrices), tuple(weights))

    def _draw(self, fold: int, count: int) -> npt.NDArray[np.uint16]:
        """Return how often each cluster is drawn in each resample: shape (B, G)."""
        generator = np.random.default_rng([self.seed, 0, fold])
        step = max(1, _CHUNK // count)
        sizes = [min(step, self.resamples - i) for i in range(0, self.resamples, step)]
        chances = np.full(count, 1 / count)
        drawn = [generator.multinomial(max(1, count - 1), chances, size).astype(np.uint16) for size in sizes]
        return np.concatenate(drawn)
