"""Whether a row knows anything of the classes: its AUROC beside those that labels dealt anew would give it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.data.dealt_labels import Deal
from benchmark.evaluation.clusters import ClusteredImages
from benchmark.evaluation.metrics import Counts, Floats

PERMUTATIONS = 1999


@dataclass(frozen=True)
class ChanceTest:
    """A row's AUROC against guessing.

    Args:
        auroc: mean over classes, folds and trainings; classes without images are left out.
        p_better: of as high an AUROC by guessing alone, one-sided.
        p_worse: of as low a one.
    """

    auroc: float
    p_better: float
    p_worse: float


def chance_test(
    probabilities: npt.NDArray[np.floating],
    images: ClusteredImages,
    seed: int = 0,
    permutations: int = PERMUTATIONS,
) -> ChanceTest | None:
    """Test whether probabilities tell anything of the classes, by a permutation of labels among clusters.

    Test 1 of Ojala & Garriga 2010, "Permutation tests for studying classifier performance", JMLR 11: the labels are
    dealt anew, and p is the share of the deals that reach the observed statistic, the observed one among them. The
    statistic is AUROC, which also sees what a network knows that answers one class for most images. Labels move with
    their patient (or cluster of copies), as images of one patient are not independent: each patient gets the labels
    of another, repeated or cut to its number of images.

    Args:
        probabilities: shape (S, N, C), of S trainings.
        images: the N images, with their labels and clusters.
        seed: of the permutations.
        permutations: how many.

    Returns:
        ``None`` where there are fewer than two classes or clusters.
    """
    classes = probabilities.shape[2]
    if images.count < 2 or len(np.unique(images.labels)) < 2:
        return None
    ranks = np.mean([_ranks(each, images) for each in probabilities], axis=0)
    observed = _auroc(images.labels, ranks, images, classes)
    generator = np.random.default_rng([seed, 2])
    deal = Deal(images.labels, images.clusters)
    dealt = np.array([_auroc(deal.labels(generator), ranks, images, classes) for _ in range(permutations)])
    close = 1e-9  # equal but for rounding
    return ChanceTest(
        auroc=observed,
        p_better=float(((dealt >= observed - close).sum() + 1) / (permutations + 1)),
        p_worse=float(((dealt <= observed + close).sum() + 1) / (permutations + 1)),
    )


def _ranks(probabilities: npt.NDArray[np.floating], images: ClusteredImages) -> Floats:
    """Return the rank of each image's probability of each class among the images of its fold: shape (N, C)."""
    from scipy.stats import rankdata

    ranks = np.empty(probabilities.shape)
    for fold in range(images.n_folds):
        mine = images.folds == fold
        ranks[mine] = rankdata(probabilities[mine], axis=0)
    return ranks


def _auroc(labels: Counts, ranks: Floats, images: ClusteredImages, classes: int) -> float:
    """Return the mean AUROC of each class against the rest from ranks (Mann & Whitney), over classes and folds."""
    cells = images.folds * classes + labels
    size = images.n_folds * classes
    counts = np.bincount(cells, minlength=size).reshape(-1, classes).astype(np.float64)
    sums = np.bincount(cells, ranks[np.arange(len(labels)), labels], size).reshape(-1, classes)
    others = counts.sum(axis=1, keepdims=True) - counts
    defined = (counts > 0) & (others > 0)
    areas = (sums - counts * (counts + 1) / 2)[defined] / (counts * others)[defined]
    return float(areas.mean()) if len(areas) else 0.5
