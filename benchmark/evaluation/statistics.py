"""Statistics of one block: intervals for every score, all pairs compared, ranks.

A row comes in as its runs' predictions by fold. Rows that were read on other images than the first can't be
compared, and say so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from benchmark.evaluation.bootstrap import Bootstrap
from benchmark.evaluation.clusters import ClusteredImages
from benchmark.evaluation.comparison import (
    Comparison,
    RankInterval,
    compare,
    mcnemar,
    mcnemar_clustered,
    nadeau_bengio,
    rank_intervals,
)
from benchmark.evaluation.intervals import Interval
from benchmark.evaluation.metrics import Floats
from benchmark.evaluation.permutation import ChanceTest, chance_test
from benchmark.evaluation.predictions import Folds, Readings, Setting, estimates_of


@dataclass(frozen=True)
class Pair:
    """Two rows compared.

    Args:
        comparison: by paired bootstrap of macro-F1.
        p_mcnemar: of McNemar's test of accuracy: exact, or adjusted for clusters where there are any.
        p_folds: of Nadeau and Bengio's test over folds, ``None`` without folds.
    """

    comparison: Comparison
    p_mcnemar: float
    p_folds: float | None


@dataclass(frozen=True)
class BlockStatistics:
    """Statistics of one block.

    Args:
        intervals: for each row, 95 % intervals by column name; empty for a row that could not be read. A row that
            answers one class for every image has none of its decisions: they follow from the classes' sizes alone.
        ranks: for each row, ``None`` where it could not be compared, or answers one class.
        chance: for each row, its test against guessing; ``None`` where it could not be read.
        pairs: all pairs of rows that were compared; those that answer one class are not among them.
        clusters: number of independent clusters of test images, over all folds.
        n_test: number of test images, over all folds.
        folds: number of folds, 1 without cross-validation.
        seeds: least number of seeds of a row.
    """

    intervals: tuple[dict[str, Interval], ...]
    ranks: tuple[RankInterval | None, ...]
    chance: tuple[ChanceTest | None, ...]
    pairs: tuple[Pair, ...] = field(repr=False)
    clusters: int
    n_test: int
    folds: int
    seeds: int


def analyse(
    rows: Sequence[Folds], setting: Setting, seed: int = 0, shares: Sequence[Floats | None] = ()
) -> BlockStatistics:
    """Return intervals, comparisons and ranks of the rows of one block.

    Args:
        rows: each with the same folds, at least one.
        seed: of the bootstrap.
        shares: for each row, those of the classes in training, float64 of shape (C,), where they are known.
    """
    images = ClusteredImages.of([rows[0][name][0].part("test") for name in sorted(rows[0])])
    read = [
        Readings.of(row, images, of_row) if set(row) == set(rows[0]) else None
        for row, of_row in zip(rows, shares or [None] * len(rows), strict=True)
    ]
    usable = [(number, row) for number, row in enumerate(read) if row is not None]
    bootstrap = Bootstrap(images.count, seed)
    intervals: list[dict[str, Interval]] = [{} for _ in rows]
    chance: list[ChanceTest | None] = [None] * len(rows)
    compared_rows, estimates = [], []
    for number, row in usable:
        macro_f1, intervals[number] = estimates_of(row, images, bootstrap, setting, number)
        chance[number] = chance_test(row.probabilities, images, seed)
        if not row.constant(images):
            compared_rows.append((number, row))
            estimates.append(macro_f1)
    compared = compare(estimates)
    placed: list[RankInterval | None] = [None] * len(rows)
    for (number, _), rank in zip(compared_rows, rank_intervals(len(estimates), compared), strict=True):
        placed[number] = rank
    used, numbers = [row for _, row in compared_rows], [number for number, _ in compared_rows]
    return BlockStatistics(
        intervals=tuple(intervals),
        ranks=tuple(placed),
        chance=tuple(chance),
        pairs=tuple(_pair(each, used, images, setting, numbers) for each in compared),
        clusters=images.count,
        n_test=len(images.labels),
        folds=images.n_folds,
        seeds=min((row.trainings for _, row in usable), default=0),
    )


def compare_two(first: Folds, second: Folds, setting: Setting, seed: int = 0) -> Comparison | None:
    """Compare the macro-F1 of two rows on the same test images; see :func:`compare_each`.

    Returns:
        The comparison, ``None`` where the rows were not read on the same images.
    """
    return next(iter(compare_each((first, second), setting, seed)), None)


def compare_each(rows: Sequence[Folds], setting: Setting, seed: int = 0) -> list[Comparison]:
    """Compare the macro-F1 of all pairs of rows on the same test images, each pair for itself: without correction.

    The rows may be of different blocks, such as a pretrained row and one from random weights.

    Args:
        rows: those that were not read on the images of the first are left out.
        seed: of the bootstrap.
    """
    if not rows or not rows[0]:
        return []
    images = ClusteredImages.of([rows[0][name][0].part("test") for name in sorted(rows[0])])
    bootstrap = Bootstrap(images.count, seed)
    numbers, estimates = [], []
    for number, row in enumerate(rows):
        read = Readings.of(row, images) if set(row) == set(rows[0]) else None
        if read is not None:
            numbers.append(number)
            estimates.append(bootstrap.resample(read.confusions(images), number).estimate())
    return [
        replace(each, first=numbers[each.first], second=numbers[each.second], p_adjusted=each.p)
        for each in compare(estimates)
    ]


def _pair(
    comparison: Comparison,
    rows: Sequence[Readings],
    images: ClusteredImages,
    setting: Setting,
    numbers: Sequence[int],
) -> Pair:
    first, second = rows[comparison.first], rows[comparison.second]
    by_cluster = np.bincount(images.clusters, first.right(images) - second.right(images), images.count)
    if images.count == len(images.labels) and first.trainings == second.trainings == 1:
        p_mcnemar = mcnemar(int((by_cluster > 0).sum()), int((by_cluster < 0).sum()))
    else:
        _, p_mcnemar = mcnemar_clustered(by_cluster)
    p_folds = None
    if images.n_folds > 1:
        by_fold = (first.macro_f1_by_fold(images) - second.macro_f1_by_fold(images)).tolist()
        _, p_folds = nadeau_bengio(by_fold, setting.n_train, setting.n_test)
    renamed = replace(comparison, first=numbers[comparison.first], second=numbers[comparison.second])
    return Pair(renamed, p_mcnemar, p_folds)
