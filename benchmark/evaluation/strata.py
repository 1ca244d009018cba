"""How well groups of test images are read: recall by stratum, beside what their classes alone would give.

A stratum (the smallest lesions, one scanner) may hold more of a class that is easily read. Beside its recall stands
therefore the expected one: the mean, over its images, of the recall of each image's class (indirect standardisation;
Breslow & Day 1987, section 2.3). Clusters (patients) are resampled, with the expectation computed anew each time.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from benchmark.evaluation.bootstrap import Bootstrap, Resampled
from benchmark.evaluation.clusters import ClusteredImages
from benchmark.evaluation.intervals import Interval
from benchmark.evaluation.metrics import Counts, Floats, ratio

FEWEST_CLUSTERS = 5  # of each stratum, for the test


@dataclass(frozen=True)
class Stratum:
    """One group of test images.

    Args:
        images, clusters: how many; a cluster is a patient where patients are known.
        recall: share of its images that are read as their class, with its 95 % interval where it varies.
        expected: what that share would be if each class were read there as it is everywhere.
        missed: of its tumours the share that is called healthy, with its interval; ``None`` without a negative class
            or without tumours.
        tumours: how many of its images have one.
    """

    images: int
    clusters: int
    recall: float
    interval: Interval | None
    expected: float
    missed: float | None = None
    missed_interval: Interval | None = None
    tumours: int = 0


@dataclass(frozen=True)
class Stratified:
    """All strata of one kind.

    Args:
        strata: in the order of their numbers.
        p: of the hypothesis that every stratum is read as well as its classes are, ``None`` where it can't be
            tested; see :func:`heterogeneity`.
    """

    strata: tuple[Stratum, ...]
    p: float | None


def stratify(
    images: ClusteredImages,
    right: Floats,
    missed: Floats | None,
    strata: Counts,
    *,
    negative: int | None = None,
    bootstrap: Bootstrap | None = None,
) -> Stratified:
    """Return recall and missed tumours by stratum.

    Args:
        images: the test images that belong to a stratum, N of them.
        right: shape (N,): the share of trainings that read the image as its class.
        missed: shape (N,): the share that calls it healthy; ``None`` without a negative class.
        strata: int64, shape (N,), from 0; each number up to the largest has an image.
        negative: number of the class without a tumour.
        bootstrap: of the images' clusters.
    """
    bootstrap = bootstrap or Bootstrap(images.count)
    count, classes = int(strata.max()) + 1, int(images.labels.max()) + 1
    cells = strata * classes + images.labels
    parts = np.stack([images.sums(cells, count * classes, right), images.sums(cells, count * classes)], axis=-1)
    resampled = bootstrap.resample(parts.reshape(1, images.count, count, classes, 2))
    recall, drawn = recalls(resampled.total), recalls(resampled.sums)
    expected = expectations(parts.sum(axis=0).reshape(count, classes, 2))
    lost: Resampled | None = None
    if missed is not None and negative is not None:
        ill = (images.labels != negative).astype(np.float64)
        sums = np.stack([images.sums(strata, count, missed * ill), images.sums(strata, count, ill)], axis=-1)
        lost = bootstrap.resample(sums[None])
    summaries = []
    for number in range(count):
        mine = strata == number
        estimate = resampled.estimate_of(recall[..., number], drawn[..., number], images.containing(mine))
        stratum = Stratum(
            images=int(mine.sum()),
            clusters=images.containing(mine),
            recall=estimate.value,
            interval=estimate.interval(),
            expected=float(expected[number]),
            tumours=0 if negative is None else int((images.labels[mine] != negative).sum()),
        )
        if lost is not None and stratum.tumours:
            own, resamples = (recalls(sums[..., number, None, :]) for sums in (lost.total, lost.sums))
            share = lost.estimate_of(own, resamples, images.containing(mine))
            stratum = replace(stratum, missed=share.value, missed_interval=share.interval())
        summaries.append(stratum)
    enough = min(stratum.clusters for stratum in summaries) >= FEWEST_CLUSTERS
    return Stratified(tuple(summaries), heterogeneity(resampled, images.count) if enough and count > 1 else None)


def recalls(sums: npt.NDArray[np.generic]) -> Floats:
    """Return each stratum's recall from images read right and images, by stratum and class.

    (..., S, C, 2) to (..., S).
    """
    values = np.asarray(sums, dtype=np.float64).sum(axis=-2)
    return ratio(values[..., 0], values[..., 1])


def expectations(sums: npt.NDArray[np.generic]) -> Floats:
    """Return each stratum's expected recall, given its classes: (..., S, C, 2) to (..., S)."""
    values = np.asarray(sums, dtype=np.float64)
    by_class = values.sum(axis=-3)
    recall = ratio(by_class[..., 0], by_class[..., 1])
    images = values[..., 1]
    return ratio((images * np.nan_to_num(recall)[..., None, :]).sum(axis=-1), images.sum(axis=-1))


def heterogeneity(resampled: Resampled, clusters: int) -> float | None:
    """Return the p-value of the hypothesis that strata differ by their classes only.

    Wald's test of the differences between recall and expected recall, with their bootstrap covariance, against an F
    distribution with as many degrees of freedom as there are clusters (Korn & Graubard 1990, "Simultaneous testing of
    regression coefficients with complex survey data", The American Statistician 44(4)). The differences of all
    strata, weighted by their images, add up to zero, so that one of them is redundant.

    Args:
        resampled: sums by stratum and class, of one training or the mean of several: parts of shape (1, G, S, C, 2).
        clusters: G.

    Returns:
        ``None`` where the differences do not vary, or there are too few clusters.
    """
    from scipy.stats import f

    def differences(sums: npt.NDArray[np.generic]) -> Floats:
        return np.asarray(recalls(sums) - expectations(sums))[..., :-1]

    observed = differences(resampled.parts.sum(axis=1))[0]
    drawn = differences(resampled.sums[:, 0])
    drawn = drawn[~np.isnan(drawn).any(axis=1)]
    rank, freedom = len(observed), clusters - 1
    if len(drawn) < 2 or freedom <= rank:
        return None
    covariance = np.atleast_2d(np.cov(drawn, rowvar=False))
    if np.linalg.matrix_rank(covariance, hermitian=True) < rank:
        return None
    wald = float(observed @ np.linalg.solve(covariance, observed))
    return float(f.sf(wald * (freedom - rank + 1) / (freedom * rank), rank, freedom - rank + 1))
