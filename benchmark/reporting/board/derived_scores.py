"""Further scores of a run: calibration, tumour or not at a fixed specificity, and decisions by patient."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.evaluation.calibration import at_specificity, brier, by_patient, expected_cost, reliability
from benchmark.evaluation.costs import Costs
from benchmark.evaluation.intervals import Interval, wilson
from benchmark.evaluation.metrics import Scores, score
from benchmark.records.record import Predictions, Record

NAMES = (
    *("ece", "brier", "sensitivity_at_95", "specificity_at_95", "cost"),
    *("patient_macro_f1", "patient_accuracy", "patients"),
)


def patient_intervals(values: Mapping[str, Any], class_names: Sequence[str]) -> dict[str, Interval]:
    """Return Wilson's 95 % intervals for the counts of patients in a row; patients are independent."""
    found = {}
    for kind in ("patient_fn", "patient_missed"):
        for name in class_names:
            count, total = values.get(f"{kind}_{name}"), values.get(f"patient_support_{name}")
            if count is not None and total:
                share = wilson(float(count), float(total))
                found[f"{kind}_{name}"] = Interval(share.low * total, share.high * total)
    return found


def extra_scores(record: Record, predictions: Predictions) -> dict[str, Any]:
    """Return further scores of an ``ok`` run by column name; what does not apply is left out.

    ``specificity_at_95`` is what was reached on test images at the threshold that left 95 % of the validation
    images without a tumour unreported.
    """
    test, validation = predictions.part("test"), predictions.part("validation")
    names, negative_class = record.data.class_names, record.data.negative_class
    found: dict[str, Any] = {
        "ece": reliability(test.labels, test.probabilities).error,
        "brier": brier(test.labels, test.probabilities),
    }
    negative = record.data.negative
    if negative is not None:
        point = at_specificity(
            (validation.labels, validation.probabilities), (test.labels, test.probabilities), negative
        )
        if point is not None:
            found |= {"sensitivity_at_95": point.sensitivity, "specificity_at_95": point.specificity}
    if record.data.grouped and (test.groups != "").all():
        labels, chances, patients = by_patient(test.labels, test.probabilities, test.groups, negative)
        if len(patients):
            pooled = score(labels, chances, names, negative_class)
            found |= {
                "patient_macro_f1": pooled.macro_f1,
                "patient_accuracy": pooled.accuracy,
                "patients": len(patients),
            }
            for each in pooled.classes:
                found |= {
                    f"patient_fn_{each.name}": each.false_negatives,
                    f"patient_missed_{each.name}": each.missed,
                    f"patient_support_{each.name}": each.support,
                }
    return {name: value for name, value in found.items() if value is not None and not math.isnan(value)}


def cost_of(record: Record, scores: Scores, costs: Costs | None) -> dict[str, float]:
    """Return the expected cost of a decision as a column; empty without costs, or where they are of other classes."""
    matrix = None if costs is None else costs.matrix(record.data.class_names)
    return {} if matrix is None else {"cost": float(expected_cost(scores.confusion, matrix))}
