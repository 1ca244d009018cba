"""Whether probabilities mean what they say, and decisions that are made with them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.evaluation.metrics import Counts, Floats, decide

BINS = 15  # as in Guo et al. 2017
OPERATING_SPECIFICITY = 0.95  # on validation images


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram: images by the probability of the predicted class, in bins of equal width.

    Args:
        counts: int64, shape (B,), images in each bin.
        confidence: float64, shape (B,), their mean probability; ``nan`` in an empty bin.
        accuracy: float64, shape (B,), the share that is right; ``nan`` in an empty bin.
    """

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
    """Return the reliability diagram; bins are open on the left, as in Guo et al. 2017.

    Args:
        labels: int64, shape (N,).
        probabilities: shape (N, C), rows sum to 1.
        bins: B, all of one width.
    """
    highest, right, place = place_in_bins(labels, probabilities, bins)
    counts = np.bincount(place, minlength=bins).astype(np.int64)
    empty = np.full(bins, np.nan)
    confidence = np.divide(np.bincount(place, highest, bins), counts, out=empty.copy(), where=counts > 0)
    accuracy = np.divide(np.bincount(place, right, bins), counts, out=empty.copy(), where=counts > 0)
    return Reliability(counts, confidence, accuracy)


def place_in_bins(
    labels: Counts, probabilities: npt.NDArray[np.floating], bins: int
) -> tuple[Floats, Floats, Counts]:
    """Return of each image the probability of the predicted class, whether it is right (0 or 1), and its bin from 0:
    each of shape (N,). The arguments are those of :func:`reliability`.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = (decide(probabilities) == labels).astype(np.float64)
    place = np.clip(np.searchsorted(np.linspace(0, 1, bins + 1), confidence, side="left") - 1, 0, bins - 1)
    return confidence, right, place.astype(np.int64)


def calibration_error(gaps: npt.NDArray[np.generic]) -> Floats:
    """Return the expected calibration error from sums by bin, (..., B, 2) to (...).

    Args:
        gaps: for each bin, the sum over its images of right (0 or 1) less confidence, and the number of images.
    """
    sums = np.asarray(gaps, dtype=np.float64)
    total = sums[..., 1].sum(axis=-1)
    return np.asarray(np.abs(sums[..., 0]).sum(axis=-1) / np.where(total > 0, total, np.nan))


def brier(labels: Counts, probabilities: npt.NDArray[np.floating]) -> float:
    """Return the mean squared distance of probabilities, shape (N, C), and truth, summed over classes: 0 to 2
    (Brier 1950).
    """
    return float(brier_by_image(labels, probabilities).mean())


def brier_by_image(labels: Counts, probabilities: npt.NDArray[np.floating]) -> Floats:
    """Return for each image the squared distance of its probabilities and the truth: float64, shape (N,)."""
    truth = np.eye(probabilities.shape[1])[labels]
    return np.asarray(((probabilities.astype(np.float64) - truth) ** 2).sum(axis=1))


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
) -> OperatingPoint | None:
    """Return sensitivity for tumours at the threshold at which :data:`OPERATING_SPECIFICITY` of the validation images
    without a tumour, or more, are not reported.

    Args:
        validation, test: labels, shape (N,), and probabilities, shape (N, C).
        negative: index of the class without a tumour.

    Returns:
        ``None`` where one of the four groups of images is empty.
    """
    (labels, probabilities), threshold = test, threshold_at(*validation, negative)
    ill = labels != negative
    if threshold is None or not ill.any() or ill.all():
        return None
    reported = reports(probabilities, negative, threshold)
    return OperatingPoint(threshold, float(reported[ill].mean()), float((~reported[~ill]).mean()))


def threshold_at(labels: Counts, probabilities: npt.NDArray[np.floating], negative: int) -> float | None:
    """Return the least probability of a tumour that is reported, so that enough images without one are not.

    Args:
        labels, probabilities: of validation images, shapes (N,) and (N, C).
        negative: as of :func:`at_specificity`.

    Returns:
        ``None`` unless there are images with and without a tumour.
    """
    healthy = np.sort(1 - probabilities[labels == negative, negative].astype(np.float64))
    if not len(healthy) or (labels == negative).all():
        return None
    keep = int(np.ceil(OPERATING_SPECIFICITY * len(healthy) - 1e-9))  # so many must stay below the threshold
    return float(np.nextafter(healthy[keep - 1], np.inf)) if keep else 0.0


def reports(probabilities: npt.NDArray[np.floating], negative: int, threshold: float) -> npt.NDArray[np.bool_]:
    """Return which images are reported as tumours: bool, shape (N,)."""
    return np.asarray(1 - probabilities[:, negative].astype(np.float64) >= threshold)


def expected_cost(confusion: npt.NDArray[np.generic], costs: Floats) -> Floats:
    """Return the mean cost of a decision (Elkan 2001): ``costs[true, predicted]`` weighted by how often it occurs,
    (..., C, C) to (...).
    """
    matrix = np.asarray(confusion, dtype=np.float64)
    return np.asarray((matrix * costs).sum(axis=(-2, -1)) / matrix.sum(axis=(-2, -1)))


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
