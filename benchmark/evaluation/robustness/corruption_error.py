"""What spoilt images cost a network: macro-F1, and errors by corruption, alone and beside a reference row.

Hendrycks & Dietterich 2019, "Benchmarking neural network robustness to common corruptions and perturbations",
section 4. With ``E[s, c]`` the share of wrong answers at severity s of corruption c, and ``E[clean]`` that of the
images as they are, for a network f and a reference r:

- corruption error ``CE[c] = sum over s of E_f[s, c] / sum over s of E_r[s, c]``; its mean over corruptions is the
  **mCE**;
- relative corruption error ``sum over s of (E_f[s, c] - E_f[clean]) / sum over s of (E_r[s, c] - E_r[clean])``; its
  mean over corruptions is the **relative mCE**. It is not defined where the reference loses nothing.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.evaluation.bootstrap import Bootstrap, Estimate
from benchmark.evaluation.clusters import ClusteredImages
from benchmark.evaluation.intervals import Interval
from benchmark.evaluation.metrics import Counts, Floats, macro_f1

Decisions = npt.NDArray[np.int16]


@dataclass(frozen=True)
class CorruptionScores:
    """What a row makes of spoilt images.

    Args:
        macro_f1, errors: float64, shape (K, 5): of each of K corruptions and severity, means over trainings; ``nan``
            where no image was shown.
        images: int64, shape (K, 5): how many were shown.
        clean_error: share of wrong answers on the images as they are.
        macro_f1_estimates, error_estimates: for each corruption, of the mean over its severities.
        mean_macro_f1, mean_error: of the mean over corruptions and severities.
    """

    macro_f1: Floats
    errors: Floats
    images: Counts
    clean_error: float
    macro_f1_estimates: tuple[Estimate, ...]
    error_estimates: tuple[Estimate, ...]
    mean_macro_f1: Estimate
    mean_error: Estimate


@dataclass(frozen=True)
class Beside:
    """A row beside the reference.

    Args:
        errors: corruption errors, shape (K,).
        mean: mCE, 1 for the reference itself.
        interval: of ``mean``, ``None`` where it does not vary.
        relative: relative corruption errors, shape (K,); ``nan`` where undefined.
        relative_mean: their mean, ``nan`` where one of them is.
    """

    errors: Floats
    mean: float
    interval: Interval | None
    relative: Floats
    relative_mean: float


def corruption_scores(
    decisions: Decisions, clean: Counts, images: ClusteredImages, classes: int, bootstrap: Bootstrap, row: int = 0
) -> CorruptionScores:
    """Return a row's scores on spoilt images; patients (clusters) are drawn, not images.

    Args:
        decisions: int16, shape (S, K, 5, N): the class by training, corruption, severity and image; -1 where it was
            not shown.
        clean: int64, shape (S, N): the class decided for each image as it is.
        images: the N images.
        classes: their number.
        bootstrap: of the images' clusters.
        row: number of the row, for the draws of its seeds.
    """
    shown = decisions[0] >= 0
    f1s, f1_estimates, errors, error_estimates = [], [], [], []
    for kind in range(decisions.shape[1]):
        matrices = np.stack([_confusions(each[kind], images, classes) for each in decisions])
        resampled = bootstrap.resample(matrices, row)
        f1s.append(macro_f1(matrices.sum(axis=1)).mean(axis=0))
        errors.append(_wrong(matrices.sum(axis=1)).mean(axis=0))
        f1_estimates.append(resampled.estimate(lambda sums: np.asarray(macro_f1(sums).mean(axis=-1))))
        error_estimates.append(resampled.estimate(lambda sums: np.asarray(_wrong(sums).mean(axis=-1))))
    return CorruptionScores(
        macro_f1=np.stack(f1s),
        errors=np.stack(errors),
        images=np.asarray(shown.sum(axis=-1), dtype=np.int64),
        clean_error=float((clean != images.labels).mean()),
        macro_f1_estimates=tuple(f1_estimates),
        error_estimates=tuple(error_estimates),
        mean_macro_f1=_mean(f1_estimates),
        mean_error=_mean(error_estimates),
    )


def beside(scores: CorruptionScores, reference: CorruptionScores) -> Beside:
    """Return a row's corruption errors beside the reference's, both of the same images and bootstrap.

    The interval of mCE is on a logarithmic scale: ``mCE * exp(+/- t * error / mCE)``, the delta method, with the
    standard error of the ratios of paired resamples.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        errors = scores.errors.sum(axis=1) / reference.errors.sum(axis=1)
        lost = (scores.errors - scores.clean_error).sum(axis=1)
        lost_by_reference = (reference.errors - reference.clean_error).sum(axis=1)
        relative = np.where(lost_by_reference > 0, lost / lost_by_reference, np.nan)
        drawn = np.mean(
            [
                own.replicates / other.replicates
                for own, other in zip(scores.error_estimates, reference.error_estimates, strict=True)
            ],
            axis=0,
        )
    mean = float(errors.mean()) if np.isfinite(errors).all() else math.nan
    return Beside(errors, mean, _log_interval(mean, drawn, scores.mean_error), relative, float(relative.mean()))


def _confusions(decided: Decisions, images: ClusteredImages, classes: int) -> Floats:
    """Return confusion matrices by cluster and severity, shape (G, 5, C, C), of decisions, shape (5, N)."""
    by_severity = []
    for each in decided:
        shown = each >= 0
        cells = images.labels * classes + np.maximum(each, 0)
        by_severity.append(images.sums(cells, classes**2, shown.astype(np.float64)))
    return np.stack(by_severity, axis=1).reshape(images.count, len(decided), classes, classes)


def _wrong(sums: npt.NDArray[np.generic]) -> Floats:
    """Return the share of wrong answers, (..., C, C) to (...); ``nan`` without an image."""
    matrices = np.asarray(sums, dtype=np.float64)
    total = matrices.sum(axis=(-2, -1))
    right = np.trace(matrices, axis1=-2, axis2=-1)
    return np.asarray(np.divide(total - right, total, out=np.full(np.shape(total), np.nan), where=total > 0))


def _mean(estimates: list[Estimate]) -> Estimate:
    """Return the mean of estimates on the same resamples."""
    return Estimate(
        value=float(np.mean([each.value for each in estimates])),
        replicates=np.mean([each.replicates for each in estimates], axis=0),
        seed_variance=float(np.mean([each.seed_variance for each in estimates])),
        seed_freedom=estimates[0].seed_freedom,
        clusters=estimates[0].clusters,
    )


def _log_interval(mean: float, drawn: Floats, like: Estimate) -> Interval | None:
    from scipy.stats import t

    drawn = drawn[np.isfinite(drawn)]
    if not mean > 0 or len(drawn) < 2 or drawn.std(ddof=1) == 0:
        return None
    reach = float(t.ppf(0.975, like.freedom)) * float(drawn.std(ddof=1)) / mean
    return Interval(mean * math.exp(-reach), mean * math.exp(reach))
