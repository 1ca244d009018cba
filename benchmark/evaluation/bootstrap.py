"""Uncertainty of scores: a bootstrap of clusters (and of seeds, where there are three or more), vectorised.

A resample is a vector of how often each cluster is drawn, so that whatever is summed over clusters (confusion
matrices, squared errors ...) is summed in all resamples by one matrix product. From the resamples comes a standard
error; interval and test use it with Student's t, on the logit scale for scores between bounds. In simulation
(tests/evaluation/test_coverage.py) this covers better near 1 than percentiles do, and the number of resamples does
not limit how small a p-value can be.

The folds of a cross-validation are one set of images here: each is tested once, by the network that had not seen it,
and clusters are drawn from all of them. What the networks of the folds have in common (training images, given the
data) is not resampled; over folds there is Nadeau and Bengio's test (:mod:`benchmark.evaluation.comparison`).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from benchmark.evaluation.intervals import Interval, logit_interval, satterthwaite
from benchmark.evaluation.metrics import Floats, macro_f1

Numbers = npt.NDArray[np.uint16] | npt.NDArray[np.floating]  # whole ones
Measure = Callable[[npt.NDArray[np.generic]], Floats]  # sums over clusters, (..., *K), to a score, (...)

RESAMPLES = 2000
SEEDS_TO_RESAMPLE = 3
_GROUP = 16  # lines that are added up one after the other
_EXACT_IN_SHORT = 2**16  # whole numbers below are uint16
_EXACT_IN_SINGLE = 2**24  # and below this exact in single precision
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

    @property
    def seed_share(self) -> float:
        """The share of the variance that comes from the draw of seeds, 0-1; 0 where they are not resampled."""
        total = self.error**2
        return min(self.seed_variance, total) / total if total else 0.0

    def interval(self, low: float = 0.0, high: float = 1.0) -> Interval | None:
        """Return the 95 % interval of a score from ``low`` to ``high``; ``None`` where nothing varies."""
        return logit_interval(self.value, self.error, self.freedom, self.clusters, low, high)

    def at_design_effect(self, effect: float) -> "Estimate":
        """Return the estimate as if ``effect`` times as many images depended on each other as its clusters say.

        The variance grows by the design effect, the number of clusters falls by it (Kish 1965, section 5.4).
        """
        centre = float(np.nanmean(self.replicates)) if len(self.replicates) else self.value
        return replace(
            self,
            replicates=centre + (self.replicates - centre) * math.sqrt(effect),
            clusters=max(2, round(self.clusters / effect)),
        )

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
    """Sums over the clusters of every resample, for one row.

    Args:
        parts: float64, shape (S, G, *K): what is summed, for each of S seeds and G clusters.
        sums: float64, shape (B, S, *K).
        seeds: float64, shape (B, S), the weight of each seed; rows sum to 1.
    """

    parts: Floats
    sums: Floats
    seeds: Floats

    def estimate(self, measure: Measure = macro_f1, clusters: int | None = None) -> Estimate:
        """Return a score with its sampling distribution: the mean over seeds.

        Args:
            measure: from sums to the score.
            clusters: how many the score depends on, such as those that have images of one class; ``None``: all.
        """
        return self.estimate_of(measure(self.total), measure(self.sums), clusters)

    def estimate_of(self, values: Floats, drawn: Floats, clusters: int | None = None) -> Estimate:
        """Return a score with its sampling distribution from its values.

        Args:
            values: shape (S,), of each seed.
            drawn: shape (B, S), the same in each resample.
            clusters: as in :meth:`estimate`.
        """
        seed_variance, seed_freedom = Bootstrap.seed_variance(values)
        return Estimate(
            value=float(values.mean()),
            replicates=np.asarray((self.seeds * drawn).sum(axis=1)),
            seed_variance=seed_variance,
            seed_freedom=seed_freedom,
            clusters=self.parts.shape[1] if clusters is None else clusters,
        )

    @cached_property
    def total(self) -> Floats:
        """The sums over all clusters: float64, shape (S, *K)."""
        return np.asarray(self.parts.sum(axis=1))


class Bootstrap:
    """Draws of clusters, common to all rows that are read on the same test images.

    G - 1 of G clusters, and S - 1 of S seeds, are drawn with replacement: with that number the bootstrap variance
    of a mean is unbiased (Rao & Wu 1988, section 2).

    Args:
        clusters: their number.
        seed: of the draws.
        resamples: how many.
    """

    def __init__(self, clusters: int, seed: int = 0, resamples: int = RESAMPLES) -> None:
        self.seed = seed
        self.resamples = resamples
        self.draws = _drawn(clusters, resamples, seed)  # uint16, shape (B, G): how often each cluster is drawn
        self._by_cluster = np.ascontiguousarray(self.draws.T)
        # as numbers to multiply with, kept where all are held at once anyway: every score of every row needs them
        whole = clusters * resamples <= _CHUNK
        self._numbers: dict[type[np.floating], npt.NDArray[np.floating]] = {
            kind: np.asarray(self.draws, dtype=kind) for kind in (np.float64, np.float32) if whole
        }

    def resample(self, parts: Floats, row: int = 0) -> Resampled:
        """Return a row's sums in every resample.

        Args:
            parts: shape (S, G, *K): for each of S seeds and G clusters what is summed, such as confusion matrices.
                Whole numbers are added up in single precision where that is exact: it takes half the time.
            row: number of the row; rows draw their seeds independently, and share their draws of clusters.

        Raises:
            ValueError: the parts are of another number of clusters.
        """
        seeds, count, *shape = parts.shape
        if count != self.draws.shape[1]:
            raise ValueError("parts and draws are of different clusters")
        flat = np.moveaxis(parts, 0, 1).reshape(count, -1).astype(np.float64)
        kind = np.float32 if _exact_in_single(flat) else np.float64
        flat = flat.astype(kind)
        sums = [part @ flat for part in self._parts(kind)]
        drawn = np.concatenate(sums).astype(np.float64).reshape(self.resamples, seeds, *shape)
        return Resampled(parts, drawn, self.seed_weights(seeds, row))

    def _parts(self, kind: type[np.floating]) -> Iterator[npt.NDArray[np.floating]]:
        """Yield the draws as numbers of a kind, in parts of bounded size."""
        if self._numbers:
            yield self._numbers[kind]
            return
        step = max(1, _CHUNK // self.draws.shape[1])
        for start in range(0, self.resamples, step):
            yield np.asarray(self.draws[start : start + step], dtype=kind)

    def by_image(self, clusters: npt.NDArray[np.int64], start: int, stop: int) -> Numbers:
        """Return how often each of n images is drawn in some resamples: shape (n, stop - start).

        Images stand along the first axis, so that sums over them are sums of whole lines. They are of the smallest of
        uint16, float32 and float64 in which the sum over all of them is exact: less memory is gone through.

        Args:
            clusters: int64, shape (n,), the cluster of each image.
            start, stop: numbers of the first resample, and of the one after the last.
        """
        most = self.draws.shape[1] * int(np.bincount(clusters).max(initial=0))
        drawn = np.asarray(self._by_cluster[:, start:stop][clusters], dtype=np.uint16)
        if most < _EXACT_IN_SHORT:
            return drawn
        kind: type[np.floating] = np.float32 if most < _EXACT_IN_SINGLE else np.float64
        return np.asarray(drawn, dtype=kind)

    def seed_weights(self, seeds: int, row: int = 0) -> Floats:
        """Return the weight of each of S seeds in each resample, float64 of shape (B, S); rows sum to 1."""
        weights = np.full((self.resamples, seeds), 1 / seeds)
        if seeds >= SEEDS_TO_RESAMPLE:
            generator = np.random.default_rng([self.seed, 1, row])
            weights = generator.multinomial(seeds - 1, weights[0], self.resamples) / (seeds - 1)
        return weights

    @staticmethod
    def seed_variance(values: Floats) -> tuple[float, int]:
        """Return the variance of a mean over seeds, shape (S,), and its degrees of freedom; 0 where there are few."""
        if len(values) < SEEDS_TO_RESAMPLE:
            return 0.0, 0
        return float(values.var(ddof=1)) / len(values), len(values) - 1


@lru_cache(maxsize=2)  # the blocks of a board, and pairs across them, are of the same images
def _drawn(count: int, resamples: int, seed: int) -> npt.NDArray[np.uint16]:
    """Return how often each of G clusters is drawn in each of B resamples: shape (B, G)."""
    generator = np.random.default_rng([seed, 0])
    step = max(1, _CHUNK // count)
    sizes = [min(step, resamples - i) for i in range(0, resamples, step)]
    shares = np.full(count, 1 / count)
    drawn = [generator.multinomial(max(1, count - 1), shares, size).astype(np.uint16) for size in sizes]
    counts = np.concatenate(drawn)
    counts.setflags(write=False)
    return counts


def _exact_in_single(parts: Floats) -> bool:
    """Return whether sums of these, (G, K), over as many draws as clusters are exact in single precision."""
    largest = float(np.abs(parts).max(initial=0.0))
    return largest * len(parts) < _EXACT_IN_SINGLE and bool((parts == np.floor(parts)).all())


def running_sums(values: Numbers) -> Numbers:
    """Replace whole numbers, shape (N, B), by their sums along the first axis so far, and return them.

    As ``numpy.cumsum``, but line by line, which a processor adds several numbers at a time: first within groups of
    lines, then what stands before each group.
    """
    count = len(values)
    grouped = count - count % _GROUP if count > _GROUP else 0
    groups = values[:grouped].reshape(-1, _GROUP, values.shape[1])
    if grouped:
        for place in range(1, _GROUP):
            groups[:, place] += groups[:, place - 1]
        groups[1:] += running_sums(groups[:, -1].copy())[:-1, None]
    for place in range(max(1, grouped), count):
        values[place] += values[place - 1]
    return values
