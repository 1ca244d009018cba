"""All scores of a run's predictions by column name: of images, of patients, and of decisions at a threshold."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmark.evaluation.calibration import at_specificity, by_patient, expected_cost, reliability
from benchmark.evaluation.costs import Costs
from benchmark.evaluation.decisions.net_benefit import net_benefits
from benchmark.evaluation.decisions.operating_point import MATCHED, SENSITIVITY, SPECIFICITY
from benchmark.evaluation.decisions.prior_shift import prior_corrected
from benchmark.evaluation.decisions.selective import conformal_scores, risk_coverage
from benchmark.evaluation.intervals import Interval, wilson
from benchmark.evaluation.metrics import Floats, RunScores, Scores, confusion_matrix, decide, macro_f1, score
from benchmark.evaluation.predictions import DESIGN_EFFECTS
from benchmark.evaluation.temperature import fit_temperature, scaled
from benchmark.records.record import DataFacts, Predictions, Record
from benchmark.reporting.board.column import Values
from benchmark.reporting.board.columns import COLUMNS, in_section, values_of


def scores_of(record: Record, scores: RunScores, predictions: Predictions) -> Values:
    """Return the scores of test images and of their patients by column name; ``None`` or ``nan`` where undefined.

    Args:
        record: the run's record, whose data set names the classes.
        scores: the run's scores, with the confusion matrix of its test images.
        predictions: those of the test images, and of validation images for the threshold of "tumour or not".
    """
    test = predictions.part("test")
    values = values_of(scores.test)
    values |= {column.name: column.of_test(scores, test) for column in COLUMNS if column.of_test is not None}
    validation = predictions.part("validation")
    selective = risk_coverage(test.labels, test.probabilities)
    values |= {"aurc": selective.area, "coverage_at_5": selective.coverage_at()}
    values |= conformal_scores(validation, test)
    values |= _at_temperature(validation, test)
    if record.data.negative is not None:
        values |= net_benefits(test, validation, record.data.negative, trained_shares(record))
    if not record.data.grouped:
        values |= {f"macro_f1_deff{effect}": values["macro_f1"] for effect in DESIGN_EFFECTS}
    return values | _operating_point(record, predictions) | _prior_corrected(record, test) | _by_patient(record, test)


def _at_temperature(validation: Predictions, test: Predictions) -> Values:
    """Return the temperature that fits validation images best, and the calibration error on test images with it."""
    if not len(validation.labels):
        return {}
    temperature = fit_temperature(validation.labels, validation.probabilities)
    error = reliability(test.labels, scaled(test.probabilities, temperature)).error
    return {"temperature": temperature, "ece_temperature": error}


def trained_shares(record: Record) -> Floats | None:
    """Return the shares of the classes that a network was trained with, shape (C,), as its loss weighs them.

    ``None`` where the record does not tell them.
    """
    weights = None if record.recipe is None else record.recipe.loss.class_weights
    if weights == "balanced":
        return np.full(len(record.data.class_names), 1 / len(record.data.class_names))
    if record.audit is None or weights is None:
        return None
    shares = record.audit.shares("train")
    weighted = np.array([shares.get(name, 0.0) for name in record.data.class_names])
    if isinstance(weights, dict):
        weighted *= [weights.get(name, 1.0) for name in record.data.class_names]
    return weighted / weighted.sum() if (weighted > 0).all() else None


def _prior_corrected(record: Record, test: Predictions) -> Values:
    """Return the scores of probabilities that are corrected for the test images' own shares of classes."""
    shares = trained_shares(record)
    if shares is None:
        return {}
    corrected = prior_corrected(test.probabilities, shares)
    confusion = confusion_matrix(test.labels, decide(corrected), len(shares))
    return {"macro_f1_prior": float(macro_f1(confusion)), "ece_prior": reliability(test.labels, corrected).error}


def _operating_point(record: Record, predictions: Predictions) -> Values:
    """Return sensitivity and specificity on test images, at the threshold that left 95 % of the validation images
    without a tumour unreported; and sensitivity where so many of the test images themselves are.
    """
    data, test, validation = record.data, predictions.part("test"), predictions.part("validation")
    if data.negative is None:
        return {}
    parts = (validation.labels, validation.probabilities), (test.labels, test.probabilities)
    point, matched = at_specificity(*parts, data.negative), at_specificity(parts[1], parts[1], data.negative)
    values: Values = {} if matched is None else {MATCHED: matched.sensitivity}
    return values if point is None else values | {SENSITIVITY: point.sensitivity, SPECIFICITY: point.specificity}


def _by_patient(record: Record, test: Predictions) -> Values:
    """Return the scores of patients, the slices of each pooled; empty where patients are not known."""
    data = record.data
    if not data.grouped or (test.groups == "").any():
        return {}
    labels, probabilities, patients = by_patient(test.labels, test.probabilities, test.groups, data.negative)
    if not len(patients):
        return {}
    pooled = score(labels, probabilities, data.class_names, data.negative_class)
    return values_of(pooled, patients=True) | {"patients": len(patients)}


def patient_intervals(values: Mapping[str, Any], data: DataFacts) -> dict[str, Interval]:
    """Return Wilson's 95 % intervals for the counts of patients in a row; patients are independent."""
    intervals = {}
    for column in in_section("patient errors", data):
        count, total = values.get(column.name), values.get(f"patient_support_{column.class_name}")
        if count is not None and total:
            share = wilson(float(count), float(total))
            intervals[column.name] = Interval(share.low * total, share.high * total)
    return intervals


def cost_of(record: Record, scores: Scores, costs: Costs) -> dict[str, float]:
    """Return the expected cost of a decision as a column; empty where the costs are of other classes."""
    matrix = costs.matrix(record.data.class_names)
    return {} if matrix is None else {"cost": float(expected_cost(scores.confusion, matrix))}
