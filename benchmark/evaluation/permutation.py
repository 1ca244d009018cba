"""Whether a row knows anything of the classes: its AUROC beside those that labels dealt anew would give it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from benchmark.data.dealt_labels import Deal
from benchmark.evaluation.clusters import ClusteredImages
from benchmark.evaluation.metrics import Floats
from benchmark.evaluation.roc import ranks_of_sorted

PERMUTATIONS = 1999
_CHUNK = 250_000  # labels that are held at once: as many as stay in a processor's cache


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


class Deals:
    """Labels dealt anew to the images of a block: whether a row's probabilities tell anything of the classes.

    Test 1 of Ojala & Garriga 2010, "Permutation tests for studying classifier performance", JMLR 11: the labels are
    dealt anew, and p is the share of the deals that reach the observed statistic, the observed one among them. The
    statistic is AUROC, which also sees what a network knows that answers one class for most images. Labels move with
    their patient (or cluster of copies), as images of one patient are not independent: each patient gets the labels
    of another, repeated or cut to its number of images.

    They are dealt once for all rows, and the sums of ranks of several rows in all deals are matrix products.

    Args:
        images: the N images, with their labels and clusters.
        seed: of the permutations.
        permutations: how many.
    """

    def __init__(self, images: ClusteredImages, seed: int = 0, permutations: int = PERMUTATIONS) -> None:
        self._images, self._seed, self._permutations = images, seed, permutations
        self._possible = images.count > 1 and len(np.unique(images.labels)) > 1

    @cached_property
    def _labels(self) -> npt.NDArray[np.uint16]:
        """The labels of all deals: shape (P, N); a record has 1000 classes at most."""
        labels = self._images.labels
        generator, deal = np.random.default_rng([self._seed, 2]), Deal(labels, self._images.clusters)
        dealt = np.empty((self._permutations, len(labels)), dtype=np.uint16)
        for number in range(self._permutations):
            dealt[number] = deal.labels(generator)
        return dealt

    def tests(self, ranks: Sequence[Floats]) -> list[ChanceTest | None]:
        """Return the test of each row; ``None`` where there are fewer than two classes or clusters.

        Args:
            ranks: of each row, as :func:`mean_ranks` gives them.
        """
        if not self._possible or not ranks:
            return [None] * len(ranks)
        images, permutations = self._images, len(self._labels)
        together = np.stack(ranks, axis=-1)
        observed = _aurocs(images.labels[None], together, images)[0]
        better, worse = np.zeros(len(ranks), dtype=np.int64), np.zeros(len(ranks), dtype=np.int64)
        close = 1e-9  # equal but for rounding
        step = max(1, _CHUNK // len(images.labels))
        for start in range(0, permutations, step):
            areas = _aurocs(self._labels[start : start + step], together, images)
            better += (areas >= observed - close).sum(axis=0)
            worse += (areas <= observed + close).sum(axis=0)
        return [
            ChanceTest(
                auroc=auroc, p_better=(above + 1) / (permutations + 1), p_worse=(below + 1) / (permutations + 1)
            )
            for auroc, above, below in zip(observed.tolist(), better.tolist(), worse.tolist(), strict=True)
        ]


def mean_ranks(probabilities: npt.NDArray[np.floating], images: ClusteredImages) -> Floats:
    """Return the rank of each image's probability of each class among the images of its fold: the mean over
    trainings, float64 of shape (N, C).

    Args:
        probabilities: shape (S, N, C), of S trainings.
    """
    return np.asarray(np.mean([_ranks(each, images) for each in probabilities], axis=0))


def _aurocs(labels: npt.NDArray[np.integer], ranks: Floats, images: ClusteredImages) -> Floats:
    """Return the mean AUROC of each class against the rest from ranks (Mann & Whitney), over classes and folds, of R
    rows with each of k labellings: shape (k, R).

    Args:
        labels: shape (k, N).
        ranks: shape (N, C, R).
    """
    total = np.zeros((len(labels), ranks.shape[2]))
    terms = np.zeros(len(labels))
    for fold in range(images.n_folds):
        mine = images.folds == fold
        for c in range(ranks.shape[1]):
            of_class = (labels[:, mine] == c).astype(np.float64)
            count = of_class.sum(axis=1)
            others = of_class.shape[1] - count
            defined = (count > 0) & (others > 0)
            sums = of_class @ ranks[mine, c]
            pairs = np.where(defined, count * others, 1.0)[:, None]
            total += np.where(defined[:, None], (sums - (count * (count + 1) / 2)[:, None]) / pairs, 0.0)
            terms += defined
    return np.where(terms[:, None] > 0, total / np.maximum(1, terms)[:, None], 0.5)


def _ranks(probabilities: npt.NDArray[np.floating], images: ClusteredImages) -> Floats:
    """Return the rank of each image's probability of each class among the images of its fold: shape (N, C)."""
    ranks = np.empty(probabilities.shape)
    for fold in range(images.n_folds):
        mine = np.flatnonzero(images.folds == fold)
        for c in range(probabilities.shape[1]):
            order = mine[np.argsort(probabilities[mine, c], kind="stable")]
            ranks[order, c] = ranks_of_sorted(probabilities[order, c])
    return ranks
