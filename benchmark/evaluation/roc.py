"""The uncertainty of AUROC when images come in clusters."""

import numpy as np
import numpy.typing as npt

from benchmark.evaluation.metrics import Counts, Floats


def influence(labels: Counts, probabilities: npt.NDArray[np.floating]) -> tuple[float, Floats] | None:
    """Return the macro-averaged one-against-rest AUROC, and how much each image moves it: float64, shape (N,).

    The structural components of DeLong, DeLong & Clarke-Pearson 1988, averaged over classes; they sum to zero.
    Summed by cluster and squared they give the variance of Obuchowski 1997 for clustered data.

    Returns:
        ``None`` unless every class is present.
    """
    classes = probabilities.shape[1]
    present = np.bincount(labels, minlength=classes)
    if (present == 0).any() or classes < 2:
        return None
    total, areas = np.zeros(len(labels)), 0.0
    for c in range(classes):
        mine = labels == c
        of_class = probabilities[:, c].astype(np.float64)
        n, m = int(mine.sum()), int((~mine).sum())
        order = np.argsort(of_class, kind="stable")
        first, others = order[mine[order]], order[~mine[order]]
        above = np.empty(len(labels))
        above[order] = ranks_of_sorted(of_class[order])
        placement = np.empty(len(labels))
        placement[first] = (above[first] - ranks_of_sorted(of_class[first])) / m  # share of the others below
        placement[others] = 1 - (above[others] - ranks_of_sorted(of_class[others])) / n  # share of the class above
        area = float(placement[mine].mean())
        areas += area / classes
        total += np.where(mine, (placement - area) / n, (placement - area) / m) / classes
    return areas, total


def clustered_variance(influences: Floats, clusters: Counts, count: int) -> float:
    """Return the variance of a statistic from its images' influences, summed by cluster (Obuchowski 1997).

    Args:
        influences: shape (N,), how far each image moves the statistic.
        clusters: int64, shape (N,), each image's cluster.
        count: number of clusters.
    """
    sums = np.bincount(clusters, influences, count)
    return float(count / max(1, count - 1) * (sums**2).sum())


def ranks_of_sorted(values: npt.NDArray[np.floating]) -> Floats:
    """Return the ranks of ascending values from 1, equal ones sharing their mean rank: float64, shape (N,).

    As ``scipy.stats.rankdata``, whose checks take longer than the ranks.
    """
    if not len(values):
        return np.zeros(0)
    ends = np.append(np.flatnonzero(values[1:] != values[:-1]), len(values) - 1)
    sizes = np.diff(ends, prepend=-1)
    return np.asarray(np.repeat(ends + 1 - (sizes - 1) / 2, sizes))
