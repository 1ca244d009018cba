"""Whether probabilities mean what they say, and decisions that are made with them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.evaluation.scoring import Counts, Floats, decide

BINS = 15  # as in Guo et al. 2017


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: images by the probability of the predicted class, in bins of equal width.

    Args:
        edges: float64, shape (B + 1,), from 0 to 1.
        counts: int64, shape (B,), images in each bin.
        confidence: float64, shape (B,), their mean probability; ``nan`` in an empty bin.
        accuracy: float64, shape (B,), the share that is right; ``nan`` in an empty bin.
    """

    edges: Floats
    counts: Counts
    confidence: Floats
    accuracy: Floats

    @property
    def error(self) -> float:
        """The expected calibration error: mean distance of accuracy and confidence, weighted by images
        (Naeini, Cooper & Hauskrecht 2015; Guo et al. 2017, eq. 5).
        """
        filled = self.counts > 0
        gaps = np.abs(self.accuracy[filled] - self.confidence[filled])
        return float((self.counts[filled] * gaps).sum() / self.counts.sum())


def reliability(labels: Counts, probabilities: npt.NDArray[np.floating], bins: int = BINS) -> Reliability:
    """Return the reliability diagram of N images; bins are open on the left, as in Guo et al. 2017."""
    chances = probabilities.max(axis=1).astype(np.float64)
    right = (decide(probabilities) == labels).astype(np.float64)
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, chances, side="left") - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins).astype(np.int64)
    empty = np.full(bins, np.nan)
    confidence = np.divide(np.bincount(place, chances, bins), counts, out=empty.copy(), where=counts > 0)
    accuracy = np.divide(np.bincount(place, right, bins), counts, out=empty.copy(), where=counts > 0)
    return Reliability(edges, counts, confidence, accuracy)


def brier(labels: Counts, probabilities: npt.NDArray[np.floating]) -> float:
    """Return the mean squared distance of probabilities and truth, summed over classes, 0 to 2 (Brier 1950)."""
    truth = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities.astype(np.float64) - truth) ** 2).sum(axis=1).mean())


@dataclass(frozen=True)
class OperatingPoint:
    """ "Tumour or not" at a threshold that was chosen on validation images.

    Args:
        threshold: a tumour is reported where its probability is at least this.
        sensitivity: share of the test images with a tumour that are reported.
        specificity: share of the test images without one that are not: what was reached, not what was asked.
    """

    threshold: float
    sensitivity: float
    specificity: float


def at_specificity(
    validation: tuple[Counts, npt.NDArray[np.floating]],
    test: tuple[Counts, npt.NDArray[np.floating]],
    negative: int,
    specificity: float = 0.95,
) -> OperatingPoint | None:
    """Return sensitivity for tumours at a specificity fixed on validation images.

    Args:
        validation, test: labels, shape (N,), and probabilities, shape (N, C).
        negative: index of the class without a tumour.
        specificity: the least share of validation images without a tumour that must not be reported.

    Returns:
        ``None`` where one of the four groups of images is empty.
    """
    (val_labels, val_chances), (labels, chances) = validation, test
    healthy = np.sort(1 - val_chances[val_labels == negative, negative].astype(np.float64))
    tumour = 1 - chances[:, negative].astype(np.float64)
    ill = labels != negative
    if not len(healthy) or not ill.any() or ill.all() or (val_labels == negative).all():
        return None
    keep = int(np.ceil(specificity * len(healthy) - 1e-9))  # so many must stay below the threshold
    threshold = float(np.nextafter(healthy[keep - 1], np.inf)) if keep else 0.0
    reported = tumour >= threshold
    return OperatingPoint(threshold, float(reported[ill].mean()), float((~reported[~ill]).mean()))


def expected_cost(confusion: npt.NDArray[np.generic], costs: Floats) -> float:
    """Return the mean cost of a decision (Elkan 2001): ``costs[true, predicted]`` weighted by how often it occurs."""
    matrix = np.asarray(confusion, dtype=np.float64)
    return float((matrix * costs).sum() / matrix.sum())


def by_patient(
    labels: Counts, probabilities: npt.NDArray[np.floating], patients: npt.NDArray[np.str_], negative: int | None
) -> tuple[Counts, Floats, npt.NDArray[np.str_]]:
    """Pool the slices of each patient: mean probabilities, and the tumour that is on any of them.

    Patients with slices of two tumour classes have no single truth and are left out.

    Returns:
        Labels, shape (P,); probabilities, shape (P, C); patients, shape (P,), ascending.
    """
    names, index = np.unique(patients, return_inverse=True)
    classes = probabilities.shape[1]
    seen = np.bincount(index * classes + labels, minlength=len(names) * classes).reshape(-1, classes) > 0
    tumours = seen.copy()
    if negative is not None:
        tumours[:, negative] = False
    clear = tumours.sum(axis=1) <= 1
    if negative is None:
        clear &= tumours.any(axis=1)
    truth = np.where(tumours.any(axis=1), tumours.argmax(axis=1), -1 if negative is None else negative)
    totals = np.zeros((len(names), classes))
    np.add.at(totals, index, probabilities.astype(np.float64))
    pooled = totals / np.bincount(index)[:, None]
    return truth[clear].astype(np.int64), pooled[clear], names[clear]
