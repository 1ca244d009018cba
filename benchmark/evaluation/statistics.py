"""Statistics of one block: intervals for every score, all pairs compared, ranks.

A row comes in as its runs' predictions by fold. Rows that were read on other images than the first can't be
compared, and say so.
"""

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.data.preparation.threads import thread_map
from benchmark.evaluation.bootstrap import SEEDS_TO_RESAMPLE, Bootstrap, Estimate
from benchmark.evaluation.clusters import ClusteredImages, Folds, Readings
from benchmark.evaluation.comparison import (
    Comparisons,
    RankInterval,
    compare,
    mcnemar_clustered,
    mcnemar_each,
    nadeau_bengio_each,
    rank_intervals,
)
from benchmark.evaluation.intervals import Interval
from benchmark.evaluation.many_rows.kept_statistics import NOTHING_KEPT, KeptStatistics
from benchmark.evaluation.metrics import Floats
from benchmark.evaluation.permutation import ChanceTest, Deals, mean_ranks
from benchmark.evaluation.predictions import Setting, estimates_of
from benchmark.records.record import Predictions

_TOGETHER = 32  # rows whose probabilities are held as floats at once


@dataclass(frozen=True)
class SeedEffect:
    """What the seeds of a row add to the uncertainty of its macro-F1.

    Args:
        seeds: how many.
        spread: sample standard deviation of macro-F1 over them.
        share: of the variance behind the interval, what comes from the draw of seeds, 0-1.
    """

    seeds: int
    spread: float
    share: float


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
        seed_effects: for each row, ``None`` where it has too few seeds for them to be resampled, or was not read.
    """

    intervals: tuple[dict[str, Interval], ...]
    ranks: tuple[RankInterval | None, ...]
    chance: tuple[ChanceTest | None, ...]
    pairs: Comparisons = field(repr=False)
    clusters: int
    n_test: int
    folds: int
    seeds: int
    seed_effects: tuple[SeedEffect | None, ...] = ()


@dataclass(frozen=True)
class _RowStatistics:
    """What of a row is needed once its probabilities have been read.

    Args:
        macro_f1: with its sampling distribution.
        intervals: 95 % intervals by column name.
        constant: whether it answers one class for every image.
        trainings: number of trainings S: of seeds.
        right: float64, shape (G,): over the trainings and the images of each cluster, the number of right answers.
        macro_f1_by_fold: float64, shape (K,), of K folds; empty without folds.
        ranks: float64, shape (N, C), for the test against guessing; ``None`` when it is done.
        chance: that test.
        key: under which it is to be kept, empty where it is already.
    """

    macro_f1: Estimate
    intervals: dict[str, Interval]
    constant: bool
    trainings: int
    right: Floats
    macro_f1_by_fold: Floats
    ranks: Floats | None = None
    chance: ChanceTest | None = None
    key: str = ""

    @classmethod
    def of(cls, read: Readings, bootstrap: Bootstrap, setting: Setting, number: int) -> "_RowStatistics":
        macro_f1, intervals = estimates_of(read, bootstrap, setting, number)
        return cls(
            macro_f1,
            intervals,
            read.constant(),
            read.trainings,
            read.right_by_cluster(),
            read.macro_f1_by_fold() if read.images.n_folds > 1 else np.zeros(0),
            mean_ranks(read.probabilities, read.images),
        )

    def keep(self, kept: KeptStatistics) -> None:
        """Keep what was computed."""
        estimate = self.macro_f1
        values = {
            "macro_f1": [estimate.value, estimate.seed_variance, estimate.seed_freedom, estimate.clusters],
            "intervals": {name: [interval.low, interval.high] for name, interval in self.intervals.items()},
            "constant": self.constant,
            "trainings": self.trainings,
            "chance": None if self.chance is None else astuple(self.chance),
        }
        arrays = {"replicates": estimate.replicates, "right": self.right, "by_fold": self.macro_f1_by_fold}
        kept.keep(self.key, values, arrays)

    @property
    def seed_effect(self) -> SeedEffect | None:
        """What its seeds add, where there are enough of them."""
        if self.trainings < SEEDS_TO_RESAMPLE:
            return None
        # the variance of a mean over S seeds is S times smaller than that of one
        spread = math.sqrt(self.macro_f1.seed_variance * self.trainings)
        return SeedEffect(self.trainings, spread, self.macro_f1.seed_share)

    @classmethod
    def kept(cls, kept: KeptStatistics, key: str) -> "_RowStatistics | None":
        """Return what was kept; ``None`` where nothing was."""
        entry = kept.find(key)
        if entry is None:
            return None
        values, arrays = entry
        value, seed_variance, seed_freedom, clusters = values["macro_f1"]
        return cls(
            Estimate(value, arrays["replicates"], seed_variance, seed_freedom, clusters),
            {name: Interval(*ends) for name, ends in values["intervals"].items()},
            values["constant"],
            values["trainings"],
            arrays["right"],
            arrays["by_fold"],
            chance=None if values["chance"] is None else ChanceTest(*values["chance"]),
        )


def analyse(
    rows: Sequence[Folds],
    setting: Setting,
    shares: Sequence[Floats | None] = (),
    kept: KeptStatistics = NOTHING_KEPT,
) -> BlockStatistics:
    """Return intervals, comparisons and ranks of the rows of one block.

    Args:
        rows: each with the same folds, at least one.
        shares: for each row, those of the classes in training, float64 of shape (C,), where they are known.
        kept: what was computed of rows before; what is computed now is kept there.
    """
    images = ClusteredImages.of_row(rows[0])
    bootstrap, deals = Bootstrap(images.count), Deals(images)

    question = [bootstrap.resamples, *setting.question]
    asked = [images.image_ids, images.labels, images.groups, images.folds]

    def of_row(number: int) -> _RowStatistics | None:
        row, of_row = rows[number], shares[number] if shares else None
        own = [list(row), [len(runs) for runs in row.values()], None if of_row is None else of_row.tolist()]
        key = kept.key(question, own, *asked, *_arrays(row))
        entry = _RowStatistics.kept(kept, key)
        if entry is not None:
            return entry
        read = Readings.of(row, images, of_row) if set(row) == set(rows[0]) else None
        if read is None:
            return None
        return replace(_RowStatistics.of(read, bootstrap, setting, _draw_of(row, kept)), key=key)

    statistics: list[_RowStatistics | None] = []
    for start in range(0, len(rows), _TOGETHER):
        lot = thread_map(of_row, range(start, min(start + _TOGETHER, len(rows))))
        tested = iter(deals.tests([each.ranks for each in lot if each is not None and each.ranks is not None]))
        lot = [
            each if each is None or each.ranks is None else replace(each, chance=next(tested), ranks=None)
            for each in lot
        ]
        for each in lot:
            if each is not None and each.key:
                each.keep(kept)
        statistics += [each if each is None else replace(each, key="") for each in lot]
    chance = [None if each is None else each.chance for each in statistics]
    numbers = [number for number, each in enumerate(statistics) if each is not None and not each.constant]
    used = [each for each in statistics if each is not None and not each.constant]
    compared = compare([each.macro_f1 for each in used])
    placed: list[RankInterval | None] = [None] * len(rows)
    for number, rank in zip(numbers, rank_intervals(len(used), compared), strict=True):
        placed[number] = rank
    return BlockStatistics(
        intervals=tuple({} if each is None else each.intervals for each in statistics),
        ranks=tuple(placed),
        chance=tuple(chance),
        pairs=_pairs(compared, used, images, setting, numbers),
        clusters=images.count,
        n_test=len(images.labels),
        folds=images.n_folds,
        seeds=min((each.trainings for each in statistics if each is not None), default=0),
        seed_effects=tuple(None if each is None else each.seed_effect for each in statistics),
    )


def _arrays(row: Folds) -> list[npt.NDArray[Any]]:
    """Return all arrays of a row's predictions, fold by fold."""
    runs = [run for name in sorted(row) for run in row[name]]
    return [getattr(run, field.name) for run in runs for field in fields(Predictions)]


def _draw_of(row: Folds, kept: KeptStatistics) -> int:
    """Return the number by which a row's seeds are drawn, which follows from its probabilities: not from its place,
    so that its intervals are the same whatever other rows there are.
    """
    return kept.number_of([run.probabilities for name in sorted(row) for run in row[name]])


def compare_each(rows: Sequence[Folds]) -> Comparisons:
    """Compare the macro-F1 of all pairs of rows on the same test images, each pair for itself: without correction.

    The rows may be of different blocks, such as a pretrained row and one from random weights.

    Args:
        rows: those that were not read on the images of the first are left out.
    """
    if not rows or not rows[0]:
        return compare(())
    images = ClusteredImages.of_row(rows[0])
    bootstrap = Bootstrap(images.count)
    numbers, estimates = [], []
    for number, row in enumerate(rows):
        read = Readings.of(row, images) if set(row) == set(rows[0]) else None
        if read is not None:
            numbers.append(number)
            estimates.append(bootstrap.resample(read.confusions(), _draw_of(row, NOTHING_KEPT)).estimate())
    return compare(estimates, corrected=False).among(numbers)


def _pairs(
    compared: Comparisons,
    rows: "Sequence[_RowStatistics]",
    images: ClusteredImages,
    setting: Setting,
    numbers: Sequence[int],
) -> Comparisons:
    """Return the pairs of the rows that were compared, with the tests that need more than macro-F1.

    Args:
        numbers: those of the rows within their block.
    """
    if not len(compared):
        return compared
    first, second = compared.first, compared.second
    right, trainings = np.stack([row.right for row in rows]), np.array([row.trainings for row in rows])
    totals, products = right.sum(axis=1), right @ right.T  # counts: exact in whatever order they are added up
    one, other = trainings[second].astype(np.float64), trainings[first].astype(np.float64)
    own = np.diagonal(products)
    squares = one**2 * own[first] + other**2 * own[second] - 2 * one * other * products[first, second]
    p_mcnemar = mcnemar_clustered(one * totals[first] - other * totals[second], squares, images.count)
    exact = (trainings[first] == 1) & (trainings[second] == 1)
    if images.count == len(images.labels) and exact.any():
        both = products[first, second][exact]
        only_first, only_second = (totals[side[exact]] - both for side in (first, second))
        p_mcnemar[exact] = mcnemar_each(only_first.astype(np.int64), only_second.astype(np.int64))
    p_folds = None
    if images.n_folds > 1:
        by_fold = np.stack([row.macro_f1_by_fold for row in rows])
        p_folds = nadeau_bengio_each(by_fold[first] - by_fold[second], setting.n_train, setting.n_test)
    return replace(compared.among(numbers), p_mcnemar=p_mcnemar, p_folds=p_folds)
