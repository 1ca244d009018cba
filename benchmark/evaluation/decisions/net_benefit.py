"""What "tumour or not" is worth to those who act on it: net benefit at a stated prevalence."""

from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from benchmark.evaluation.bootstrap import Bootstrap, Estimate
from benchmark.evaluation.clusters import ClusteredImages, Readings
from benchmark.evaluation.decisions.prior_shift import with_shares
from benchmark.evaluation.metrics import Floats, ratio
from benchmark.evaluation.temperature import fit_temperature, scaled
from benchmark.records.record import Predictions

PREVALENCE = 0.10  # stated, not that of any data set here: collections have many more tumours than a clinic
THRESHOLDS = (0.05, 0.10, 0.20)  # probability of a tumour from which one acts
VARIANTS = ("", "_temperature", "_both")  # as they are; with a temperature; and then corrected for the prevalence


def net_benefit(sensitivity: Floats | float, specificity: Floats | float, threshold: float) -> Floats:
    """Return the net benefit per image at :data:`PREVALENCE` (Vickers & Elkin 2006, "Decision curve analysis: a novel
    method for evaluating prediction models", Medical Decision Making 26(6); at a stated prevalence as in Pfeiffer &
    Gail 2020, "Estimating the decision curve and its precision from three study designs", Biometrical Journal 62).

    ``prevalence * sensitivity - (1 - prevalence) * (1 - specificity) * threshold / (1 - threshold)``: tumours found,
    less false alarms at the rate at which the threshold trades them. Acting on nobody is worth 0.
    """
    odds = threshold / (1 - threshold)
    return np.asarray(PREVALENCE * np.asarray(sensitivity) - (1 - PREVALENCE) * (1 - np.asarray(specificity)) * odds)


def of_all(threshold: float) -> float:
    """Return the net benefit of acting on everybody."""
    return float(net_benefit(1.0, 0.0, threshold))


def tumour_probabilities(
    probabilities: npt.NDArray[np.floating],
    validation: Predictions,
    negative: int,
    shares: Floats | None,
) -> dict[str, Floats]:
    """Return the probability of a tumour by variant, float64 of shape (N,).

    Args:
        probabilities: shape (N, C), of test images.
        validation: gives the temperature; without images there is no such variant.
        negative: number of the class without a tumour.
        shares: of the classes in training, shape (C,); ``None`` where they are not known.
    """
    variants = {"": 1 - probabilities[:, negative].astype(np.float64)}
    if not len(validation.labels):
        return variants
    cooled = scaled(probabilities, fit_temperature(validation.labels, validation.probabilities))
    variants["_temperature"] = 1 - cooled[:, negative]
    if shares is not None:
        stated = shares / (1 - shares[negative]) * PREVALENCE
        stated[negative] = 1 - PREVALENCE
        variants["_both"] = 1 - with_shares(cooled, shares, stated)[:, negative]
    return variants


def column_name(threshold: float, variant: str) -> str:
    """Return under which name the net benefit at a threshold stands on the board."""
    return f"net_benefit_{round(100 * threshold):02d}{variant}"


def net_benefits(
    test: Predictions, validation: Predictions, negative: int, shares: Floats | None
) -> dict[str, float]:
    """Return the net benefits of one run by column name; empty unless test images have and have not a tumour."""
    ill = test.labels != negative
    if ill.all() or not ill.any():
        return {}
    benefits = {}
    for variant, tumour in tumour_probabilities(test.probabilities, validation, negative, shares).items():
        for threshold in THRESHOLDS:
            acted = tumour >= threshold
            value = net_benefit(float(acted[ill].mean()), float(1 - acted[~ill].mean()), threshold)
            benefits[column_name(threshold, variant)] = float(value)
    return benefits


def net_benefit_estimates(
    readings: Readings, bootstrap: Bootstrap, negative: int, row: int = 0
) -> dict[str, Estimate]:
    """Return net benefits with their sampling distributions by column name.

    Temperatures are those that validation images gave: what is drawn are test images.

    Args:
        bootstrap: of the clusters of test images.
        negative: number of the class without a tumour.
        row: number of the row, for the draws of its seeds.
    """
    images, shares = readings.images, readings.trained_shares
    ill = images.labels != negative
    if ill.all() or not ill.any():
        return {}
    by_variant: dict[str, list[Floats]] = {}
    for of_training, parts in zip(readings.probabilities, readings.validation, strict=True):
        whole: dict[str, Floats] = {}
        for fold, part in enumerate(parts):
            mine = images.folds == fold
            for variant, tumour in tumour_probabilities(of_training[mine], part, negative, shares).items():
                whole.setdefault(variant, np.full(len(ill), np.nan))[mine] = tumour
        for variant, tumour in whole.items():
            by_variant.setdefault(variant, []).append(tumour)
    cells, thresholds = {}, {}
    for variant, trainings in by_variant.items():
        if len(trainings) < readings.trainings or any(np.isnan(tumour).any() for tumour in trainings):
            continue
        for threshold in THRESHOLDS:
            name = column_name(threshold, variant)
            cells[name] = np.stack([_cells(images, ill, tumour >= threshold) for tumour in trainings])
            thresholds[name] = threshold
    if not cells:
        return {}
    together = bootstrap.resample(np.stack(list(cells.values()), axis=2), row)  # counts: all are drawn at once
    return {
        name: replace(together, parts=together.parts[:, :, place], sums=together.sums[:, :, place]).estimate(
            partial(_of_cells, threshold=threshold)
        )
        for place, (name, threshold) in enumerate(thresholds.items())
    }


def bounds(threshold: float) -> tuple[float, float]:
    """Return the least and the greatest net benefit that is possible at a threshold."""
    return float(net_benefit(0.0, 0.0, threshold)), PREVALENCE


def _of_cells(cells: npt.NDArray[np.generic], threshold: float) -> Floats:
    """Return the net benefit from matrices of truth by row and what was done by column: (..., 2, 2) to (...)."""
    counts = np.asarray(cells, dtype=np.float64)
    totals = counts.sum(axis=-1)
    right = np.stack([counts[..., 0, 0], counts[..., 1, 1]], axis=-1)
    shares = ratio(right, totals)
    return net_benefit(shares[..., 1], shares[..., 0], threshold)


def _cells(images: ClusteredImages, ill: npt.NDArray[np.bool_], acted: npt.NDArray[np.bool_]) -> Floats:
    """Return matrices by cluster, truth by row and what was done by column: float64, shape (G, 2, 2)."""
    return images.sums(ill.astype(np.int64) * 2 + acted, 4).reshape(images.count, 2, 2)
