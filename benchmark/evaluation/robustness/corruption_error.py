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
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.draws.corruptions import SEVERITIES
from benchmark.evaluation.bootstrap import Bootstrap, Estimate
from benchmark.evaluation.clusters import ClusteredImages
from benchmark.evaluation.intervals import Interval, t_quantile
from benchmark.evaluation.metrics import Counts, Floats, macro_f1, ratio

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
    cells = [
        [_Cell.of(decisions[:, kind, severity], images, classes, bootstrap, row) for severity in range(SEVERITIES)]
        for kind in range(decisions.shape[1])
    ]
    weights = bootstrap.seed_weights(len(decisions), row)
    f1s = [[cell.macro_f1 for cell in line] for line in cells]
    errors = [[cell.error for cell in line] for line in cells]
    return CorruptionScores(
        macro_f1=np.array([[each.values.mean() for each in line] for line in f1s]),
        errors=np.array([[each.values.mean() for each in line] for line in errors]),
        images=np.array([[cell.images for cell in line] for line in cells], dtype=np.int64),
        clean_error=float((clean != images.labels).mean()),
        macro_f1_estimates=tuple(_mean(line, weights, images.count) for line in f1s),
        error_estimates=tuple(_mean(line, weights, images.count) for line in errors),
        mean_macro_f1=_mean([each for line in f1s for each in line], weights, images.count),
        mean_error=_mean([each for line in errors for each in line], weights, images.count),
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


@dataclass(frozen=True)
class _Score:
    """A score of each training: as observed, shape (S,), and in every resample, shape (B, S)."""

    values: Floats
    drawn: Floats


@dataclass(frozen=True)
class _Cell:
    """The scores of one corruption at one severity, and of how many images."""

    macro_f1: _Score
    error: _Score
    images: int

    @classmethod
    def of(cls, decided: Decisions, images: ClusteredImages, classes: int, bootstrap: Bootstrap, row: int) -> "_Cell":
        """Return the scores of decisions, shape (S, N); what is held at once is of one cell alone."""
        matrices = np.stack([_confusions(each, images, classes) for each in decided])
        sums, observed = bootstrap.resample(matrices, row).sums, matrices.sum(axis=1)
        return cls(
            _Score(macro_f1(observed), macro_f1(sums)),
            _Score(_wrong(observed), _wrong(sums)),
            int((decided[0] >= 0).sum()),
        )


def _confusions(decided: Decisions, images: ClusteredImages, classes: int) -> Floats:
    """Return confusion matrices by cluster, shape (G, C, C), of decisions, shape (N,)."""
    cells = images.labels * classes + np.maximum(decided, 0)
    sums = images.sums(cells, classes**2, (decided >= 0).astype(np.float64))
    return sums.reshape(images.count, classes, classes)


def _wrong(sums: npt.NDArray[np.generic]) -> Floats:
    """Return the share of wrong answers, (..., C, C) to (...); ``nan`` without an image."""
    matrices = np.asarray(sums, dtype=np.float64)
    total = matrices.sum(axis=(-2, -1))
    right = np.trace(matrices, axis1=-2, axis2=-1)
    return ratio(total - right, total)


def _mean(scores: Sequence[_Score], weights: Floats, clusters: int) -> Estimate:
    """Return the mean of scores on the same resamples, with its sampling distribution.

    Args:
        weights: of seeds, shape (B, S).
    """
    values = np.mean([each.values for each in scores], axis=0)
    variance, freedom = Bootstrap.seed_variance(values)
    return Estimate(
        value=float(values.mean()),
        replicates=np.asarray((weights * np.mean([each.drawn for each in scores], axis=0)).sum(axis=1)),
        seed_variance=variance,
        seed_freedom=freedom,
        clusters=clusters,
    )


def _log_interval(mean: float, drawn: Floats, like: Estimate) -> Interval | None:
    drawn = drawn[np.isfinite(drawn)]
    if not mean > 0 or len(drawn) < 2 or drawn.std(ddof=1) == 0:
        return None
    reach = t_quantile(0.975, like.freedom) * float(drawn.std(ddof=1)) / mean
    return Interval(mean * math.exp(-reach), mean * math.exp(reach))
