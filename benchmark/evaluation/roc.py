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
    from scipy.stats import rankdata

    classes = probabilities.shape[1]
    present = np.bincount(labels, minlength=classes)
    if (present == 0).any() or classes < 2:
        return None
    total, areas = np.zeros(len(labels)), 0.0
    for c in range(classes):
        mine = labels == c
        of_class = probabilities[:, c].astype(np.float64)
        n, m = int(mine.sum()), int((~mine).sum())
        above = rankdata(of_class)
        placement = np.empty(len(labels))
        placement[mine] = (above[mine] - rankdata(of_class[mine])) / m  # share of the others below
        placement[~mine] = 1 - (above[~mine] - rankdata(of_class[~mine])) / n  # share of the class above
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
