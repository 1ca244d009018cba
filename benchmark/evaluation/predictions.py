"""What follows for every score from how a row read the test images of its block."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmark.evaluation import metrics
from benchmark.evaluation.bootstrap import Bootstrap, Estimate, Measure, Resampled
from benchmark.evaluation.calibration import brier_by_image, by_patient, expected_cost
from benchmark.evaluation.calibration_interval import calibration_interval
from benchmark.evaluation.clusters import Readings, gaps_by_cluster, mean_of, means_by_cluster
from benchmark.evaluation.decisions.net_benefit import (
    THRESHOLDS,
    VARIANTS,
    bounds,
    column_name,
    net_benefit_estimates,
)
from benchmark.evaluation.decisions.operating_point import operating_point
from benchmark.evaluation.decisions.selective import conformal_estimates, selective_estimates
from benchmark.evaluation.intervals import Interval, correlation, count_interval, known, logit_interval, satterthwaite
from benchmark.evaluation.roc import clustered_variance, influence

DESIGN_EFFECTS = (2, 4)  # at which the interval of macro-F1 is told where patients are unknown
Intervals = dict[str, Interval | None]  # by column name; None: not known


@dataclass(frozen=True)
class Setting:
    """What a block's rows have in common.

    Args:
        class_names: C names.
        negative_class: the class without a tumour, ``None`` where there is none.
        n_train, n_test: images in the training and the test part (of one fold).
        measures: functions of confusion matrices, (..., C, C) to (...), each with its lowest value, by column name.
        grouped: whether patients are known.
        costs: float64, shape (C, C), of a decision by true (row) and predicted class; ``None`` where none are given.
    """

    class_names: tuple[str, ...]
    negative_class: str | None
    n_train: int
    n_test: int
    measures: Mapping[str, tuple[Measure, float]]
    grouped: bool = False
    costs: metrics.Floats | None = None

    @property
    def question(self) -> list[Any]:
        """What is asked, as values that JSON can say."""
        costs = None if self.costs is None else self.costs.tolist()
        measures = [[name, lowest] for name, (_, lowest) in self.measures.items()]
        return [self.class_names, self.negative_class, self.n_train, self.n_test, measures, self.grouped, costs]

    @property
    def negative(self) -> int | None:
        """Index of the class without a tumour."""
        return None if self.negative_class is None else self.class_names.index(self.negative_class)


def estimates_of(
    readings: Readings, bootstrap: Bootstrap, setting: Setting, number: int
) -> tuple[Estimate, dict[str, Interval]]:
    """Return a row's macro-F1 with its sampling distribution, and 95 % intervals of all its scores by column name.

    Args:
        bootstrap: of the images' clusters.
        number: of the row, for the draws of its seeds.
    """
    resampled = bootstrap.resample(readings.confusions(), number)
    macro_f1 = resampled.estimate()
    intervals = _calibration(readings, bootstrap, number)
    if setting.negative is not None:
        intervals |= operating_point(readings, bootstrap, setting.negative, number)
    intervals |= _auroc(readings)
    intervals |= _further(readings, bootstrap, setting, number)
    if readings.constant():  # what it reaches follows from the classes' sizes: no error can be told
        return macro_f1, known(intervals)
    for name, (measure, lowest) in setting.measures.items():
        estimate = macro_f1 if measure is metrics.macro_f1 else resampled.estimate(measure)
        intervals[name] = estimate.interval(lowest)
    if not setting.grouped:  # patients are unknown: how much too narrow an interval may be
        intervals |= {f"macro_f1_deff{n}": macro_f1.at_design_effect(n).interval() for n in DESIGN_EFFECTS}
    intervals |= _by_class(readings, resampled, setting)
    if setting.costs is not None and setting.costs.min() < setting.costs.max():
        cost = resampled.estimate(partial(expected_cost, costs=setting.costs))
        intervals["cost"] = cost.interval(float(setting.costs.min()), float(setting.costs.max()))
    intervals |= _counts(readings, setting)
    if setting.grouped and (readings.images.groups != "").all():
        intervals |= _by_patient(readings, setting, bootstrap.seed, number)
    return macro_f1, known(intervals)


def _by_class(readings: Readings, resampled: Resampled, setting: Setting) -> Intervals:
    """Return intervals of each class's F1, precision and recall."""
    intervals: Intervals = {}
    images = readings.images
    predicted = np.stack([metrics.decide(probabilities) for probabilities in readings.probabilities])
    kinds = (
        ("f1", metrics.f1_per_class),
        ("precision", metrics.precision_per_class),
        ("recall", metrics.recall_per_class),
    )
    values = {kind: (measure(resampled.total), measure(resampled.sums)) for kind, measure in kinds}
    for c, name in enumerate(setting.class_names):
        true, called = images.labels == c, (predicted == c).any(axis=0)
        for kind, concerned in (("f1", true | called), ("precision", called), ("recall", true)):
            own, drawn = values[kind]
            estimate = resampled.estimate_of(own[..., c], drawn[..., c], images.containing(concerned))
            if not math.isnan(estimate.value):
                intervals[f"{kind}_{name}"] = estimate.interval()
    return intervals


def _calibration(readings: Readings, bootstrap: Bootstrap, number: int) -> Intervals:
    images = readings.images
    squares = [brier_by_image(images.labels, probabilities) for probabilities in readings.probabilities]
    brier = bootstrap.resample(np.stack([means_by_cluster(images, each) for each in squares]), number)
    gaps = bootstrap.resample(np.stack([gaps_by_cluster(images, each) for each in readings.probabilities]), number)
    return {"brier": brier.estimate(mean_of).interval(0.0, 2.0), "ece": calibration_interval(gaps)}


def _further(readings: Readings, bootstrap: Bootstrap, setting: Setting, number: int) -> Intervals:
    """Return intervals of what follows where a network may say nothing, says several classes, or is acted upon."""
    estimates = selective_estimates(readings, bootstrap, number)
    estimates |= conformal_estimates(readings, bootstrap, number)
    intervals = {name: estimate.interval() for name, estimate in estimates.items()}
    if setting.negative is None:
        return intervals
    benefits = net_benefit_estimates(readings, bootstrap, setting.negative, number)
    limits = {column_name(threshold, variant): bounds(threshold) for threshold in THRESHOLDS for variant in VARIANTS}
    return intervals | {name: estimate.interval(*limits[name]) for name, estimate in benefits.items()}


def _by_patient(readings: Readings, setting: Setting, seed: int, number: int) -> Intervals:
    """Return intervals of scores of patients, whose slices are pooled; patients are drawn."""
    images, matrices = readings.images, []
    for probabilities in readings.probabilities:
        labels, pooled, _ = by_patient(images.labels, probabilities, images.groups, setting.negative)
        if not len(labels):
            return {}
        cells = np.zeros((len(labels), len(setting.class_names), len(setting.class_names)))
        cells[np.arange(len(labels)), labels, metrics.decide(pooled)] = 1
        matrices.append(cells)
    resampled = Bootstrap(len(matrices[0]), seed).resample(np.stack(matrices), number)
    return {
        "patient_macro_f1": resampled.estimate().interval(),
        "patient_accuracy": resampled.estimate(metrics.accuracy).interval(),
    }


def _auroc(readings: Readings) -> Intervals:
    """Return the interval of AUROC, the mean over folds: networks of two folds have no common scale of probability.

    Its variance is that of its influences by cluster, and that between seeds.
    """
    images = readings.images
    total = np.zeros(len(images.labels))
    areas = np.zeros(readings.trainings)
    for training, probabilities in enumerate(readings.probabilities):
        for fold in range(images.n_folds):
            mine = images.folds == fold
            of_fold = influence(images.labels[mine], probabilities[mine])
            if of_fold is None:
                return {}
            area, influences = of_fold
            total[mine] += influences / images.n_folds / readings.trainings
            areas[training] += area / images.n_folds
    variance, between, freedom = clustered_variance(total, images.clusters, images.count), 0.0, 0
    if readings.trainings > 2:
        between, freedom = float(areas.var(ddof=1)) / readings.trainings, readings.trainings - 1
    degrees = satterthwaite((variance, images.count - 1), (between, freedom))
    return {
        "auroc": logit_interval(float(areas.mean()), math.sqrt(variance + between), degrees, images.count),
    }


def _counts(readings: Readings, setting: Setting) -> Intervals:
    """Return intervals of false negatives of both kinds, in images of all folds."""
    labels, clusters, negative = readings.images.labels, readings.images.clusters, setting.negative
    classes = list(range(len(setting.class_names)))
    # by image, the share of trainings that predict each class
    shares = np.mean(
        [np.eye(len(classes))[metrics.decide(probabilities)] for probabilities in readings.probabilities], axis=0
    )
    lost = 1 - shares[np.arange(len(labels)), labels]
    alike = correlation(lost, labels, clusters)
    kinds = [("fn", lost, classes, 1.0 if alike is None else alike)]
    if negative is not None:
        tumours = labels != negative
        missed_alike = correlation(shares[tumours, negative], labels[tumours], clusters[tumours])
        ill = [c for c in classes if c != negative]
        kinds.append(("missed", shares[:, negative], ill, kinds[0][3] if missed_alike is None else missed_alike))
    intervals: Intervals = {}
    for kind, events, affected, rho in kinds:
        for c in affected:
            mine = labels == c
            if not mine.any():
                continue
            intervals[f"{kind}_{setting.class_names[c]}"] = count_interval(
                float(events[mine].sum()), clusters[mine], rho
            )
    return intervals
