"""Statistics of one block: intervals for every score, all pairs compared, ranks.

A row comes in as its runs' predictions by fold. Rows that were read on other images than the first can't be
compared, and say so.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from benchmark.evaluation import scoring
from benchmark.evaluation.bootstrap import Bootstrap, Measure
from benchmark.evaluation.clusters import ClusteredImages, Readings, confusion_by_cluster
from benchmark.evaluation.comparison import Comparison, compare, mcnemar, mcnemar_clustered, nadeau_bengio, ranks
from benchmark.evaluation.intervals import Interval, correlation, count_interval, logit_interval, satterthwaite
from benchmark.evaluation.roc import clustered_variance, influence
from benchmark.record import Predictions

Folds = Mapping[str, Sequence[Predictions]]  # a row's runs by split: one run for each seed


@dataclass(frozen=True)
class Setting:
    """What a block's rows have in common.

    Args:
        class_names: C names.
        negative_class: the class without a tumour, ``None`` where there is none.
        n_train, n_test: images in the training and the test part (of one fold).
    """

    class_names: tuple[str, ...]
    negative_class: str | None
    n_train: int
    n_test: int


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
        intervals: for each row, 95 % intervals by column name; empty for a row that could not be compared.
        ranks: for each row, ``None`` where it could not be compared.
        pairs: all pairs of rows that could.
        clusters: number of independent clusters of test images, over all folds.
        n_test: number of test images, over all folds.
        seeds: least number of seeds of a row.
    """

    intervals: tuple[dict[str, Interval], ...]
    ranks: tuple[int | None, ...]
    pairs: tuple[Pair, ...] = field(repr=False)
    clusters: int
    n_test: int
    seeds: int


@dataclass(frozen=True)
class _Row:
    """A row's runs on the common images: by fold, a list by seed."""

    probabilities: tuple[tuple[npt.NDArray[np.float32], ...], ...]
    readings: Readings


def analyse(rows: Sequence[Folds], setting: Setting, seed: int = 0) -> BlockStatistics:
    """Return intervals, comparisons and ranks of the rows of one block."""
    images = {fold: ClusteredImages.of(runs[0].part("test")) for fold, runs in sorted(rows[0].items())}
    read = [_read(row, images) for row in rows]
    usable = [(number, row) for number, row in enumerate(read) if row is not None]
    bootstrap = Bootstrap([fold.count for fold in images.values()], seed)
    common = list(images.values())
    measures = _measures(setting)
    intervals: list[dict[str, Interval]] = [{} for _ in rows]
    estimates = []
    for number, row in usable:
        resampled = bootstrap.resample(row.readings, number)
        found = {name: resampled.estimate(measure) for name, measure in measures.items()}
        estimates.append(found["macro_f1"])
        intervals[number] = {
            name: estimate.interval(low=-1.0 if name == "mcc" else 0.0)
            for name, estimate in found.items()
            if not math.isnan(estimate.value)
        }
        intervals[number] |= _auroc(row, common) | _counts(row, common, setting)
    compared = compare(estimates)
    placed: list[int | None] = [None] * len(rows)
    for (number, _), rank in zip(usable, ranks(len(usable), compared), strict=True):
        placed[number] = rank
    used = [row for _, row in usable]
    return BlockStatistics(
        intervals=tuple(intervals),
        ranks=tuple(placed),
        pairs=tuple(
            _pair(comparison, used, common, setting, [number for number, _ in usable]) for comparison in compared
        ),
        clusters=sum(fold.count for fold in common),
        n_test=sum(len(fold.labels) for fold in common),
        seeds=min((row.readings.seeds for row in used), default=0),
    )


def _read(row: Folds, images: Mapping[str, ClusteredImages]) -> _Row | None:
    if set(row) != set(images):
        return None
    folds = []
    for name, fold in images.items():
        aligned = [fold.aligned(run.part("test")) for run in row[name]]
        found = tuple(probabilities for probabilities in aligned if probabilities is not None)
        if len(found) < len(aligned):
            return None
        folds.append(found)
    matrices = [
        np.stack([confusion_by_cluster(fold, probabilities) for probabilities in runs])
        for fold, runs in zip(images.values(), folds, strict=True)
    ]
    return _Row(tuple(folds), Readings(tuple(matrices)))


def _measures(setting: Setting) -> dict[str, Measure]:
    """Return all scores that are functions of the confusion matrix, by column name."""
    by_class = {
        "f1": scoring.f1_per_class,
        "precision": scoring.precision_per_class,
        "recall": scoring.recall_per_class,
    }
    return {
        "macro_f1": scoring.macro_f1,
        "accuracy": scoring.accuracy,
        "balanced_accuracy": scoring.balanced_accuracy,
        "mcc": scoring.mcc,
        **{
            f"{kind}_{name}": partial(_of_class, measure, number)
            for kind, measure in by_class.items()
            for number, name in enumerate(setting.class_names)
        },
    }


def _of_class(measure: Measure, number: int, matrices: npt.NDArray[np.generic]) -> scoring.Floats:
    return np.asarray(measure(matrices)[..., number])


def _auroc(row: _Row, images: Sequence[ClusteredImages]) -> dict[str, Interval]:
    """Return the interval of AUROC, from the variance of its influences by cluster and that between seeds."""
    values, variance, between, freedom = [], 0.0, 0.0, 0
    runs = sum(len(fold) for fold in row.probabilities)
    for fold, probabilities in zip(images, row.probabilities, strict=True):
        influences = [influence(fold.labels, chances) for chances in probabilities]
        known = [each for each in influences if each is not None]
        if len(known) < len(influences):
            return {}
        share = len(known) / runs
        areas = [scoring.auroc(fold.labels, chances) for chances in probabilities]
        values += areas
        variance += share**2 * clustered_variance(np.mean(known, axis=0), fold.clusters, fold.count)
        if len(areas) > 2:
            between += share**2 * float(np.var(areas, ddof=1)) / len(areas)
            freedom += len(areas) - 1
    count = sum(fold.count for fold in images)
    degrees = satterthwaite((variance, count - 1), (between, freedom))
    return {"auroc": logit_interval(float(np.mean(values)), math.sqrt(variance + between), degrees, count)}


def _counts(row: _Row, images: Sequence[ClusteredImages], setting: Setting) -> dict[str, Interval]:
    """Return intervals of false negatives of both kinds, as images of one test part (of a fold)."""
    labels = np.concatenate([fold.labels for fold in images])
    offsets = np.cumsum([0, *(fold.count for fold in images)])
    clusters = np.concatenate([fold.clusters + offset for fold, offset in zip(images, offsets, strict=False)])
    # by image, the share of a row's seeds that predict each class
    shares = np.concatenate(
        [
            np.mean([np.eye(len(setting.class_names))[scoring.decide(chances)] for chances in probabilities], axis=0)
            for probabilities in row.probabilities
        ]
    )
    negative = None if setting.negative_class is None else setting.class_names.index(setting.negative_class)
    lost = 1 - shares[np.arange(len(labels)), labels]
    alike = correlation(lost, labels, clusters)
    found: dict[str, Interval] = {}
    classes = list(range(len(setting.class_names)))
    kinds = [("fn", lost, classes, 1.0 if alike is None else alike)]
    if negative is not None:
        tumours = labels != negative
        missed_alike = correlation(shares[tumours, negative], labels[tumours], clusters[tumours])
        ill = [c for c in classes if c != negative]
        kinds.append(("missed", shares[:, negative], ill, kinds[0][3] if missed_alike is None else missed_alike))
    for kind, events, affected, rho in kinds:
        for c in affected:
            mine = labels == c
            interval = count_interval(float(events[mine].sum()), clusters[mine], rho)
            per_fold = 1 / len(images)
            found[f"{kind}_{setting.class_names[c]}"] = Interval(interval.low * per_fold, interval.high * per_fold)
    return found


def _pair(
    comparison: Comparison,
    rows: Sequence[_Row],
    images: Sequence[ClusteredImages],
    setting: Setting,
    numbers: list[int],
) -> Pair:
    first, second = rows[comparison.first], rows[comparison.second]
    differences, alone = [], []
    for fold, one, other in zip(images, first.probabilities, second.probabilities, strict=True):
        right = [
            np.mean([scoring.decide(chances) == fold.labels for chances in runs], axis=0) for runs in (one, other)
        ]
        differences.append(np.bincount(fold.clusters, right[0] - right[1], fold.count))
        alone.append(fold.count == len(fold.labels) and len(one) == len(other) == 1)
    by_cluster = np.concatenate(differences)
    if all(alone):
        p_mcnemar = mcnemar(int((by_cluster > 0).sum()), int((by_cluster < 0).sum()))
    else:
        _, p_mcnemar = mcnemar_clustered(by_cluster)
    p_folds = None
    if len(images) > 1:
        by_fold = [
            float(a.mean() - b.mean()) for a, b in zip(first.readings.scores(), second.readings.scores(), strict=True)
        ]
        _, p_folds = nadeau_bengio(by_fold, setting.n_train, setting.n_test)
    renamed = Comparison(
        numbers[comparison.first],
        numbers[comparison.second],
        comparison.difference,
        comparison.interval,
        comparison.p,
        comparison.p_holm,
    )
    return Pair(renamed, p_mcnemar, p_folds)
