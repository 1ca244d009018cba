"""The uncertainty of the expected calibration error, which is biased: noise alone makes distances from zero."""

import numpy as np

from benchmark.evaluation.bootstrap import Resampled
from benchmark.evaluation.calibration import calibration_error
from benchmark.evaluation.intervals import Interval

_SCALES = np.concatenate([np.linspace(0, 1, 41), np.linspace(1.05, 3, 40)])


def calibration_interval(gaps: Resampled, confidence: float = 0.95) -> Interval:
    """Return an interval of the calibration error by inverting a test (bootstrap-t's scale, Efron & Tibshirani 1993).

    The error is a sum of absolute values, so that what is observed lies above the truth, the more the fewer images
    (Kumar, Liang & Ma 2019, section 4), and so do its resamples. Here the gaps that were observed are scaled by
    factors from 0 to 3, each with the noise of the resamples around it; the interval holds the errors of those scales
    at which what was observed is neither too large nor too small. It reaches from 0 where the observed error is no
    more than noise gives.

    Args:
        gaps: of :func:`~benchmark.evaluation.clusters.gaps_by_cluster`, resampled.
    """
    from scipy.stats import norm, t

    clusters = gaps.parts.shape[1]
    total = gaps.parts.sum(axis=1)
    observed = total[..., 0] / total[..., 1].sum(axis=-1, keepdims=True)  # (S, bins)
    drawn = gaps.sums[..., 0] / gaps.sums[..., 1].sum(axis=-1, keepdims=True)  # (B, S, bins)
    tail = 0.5 + confidence / 2
    noise = (drawn - observed) * float(t.ppf(tail, max(1, clusters - 1)) / norm.ppf(tail))
    value = float(calibration_error(total).mean())
    tails = [
        np.quantile((gaps.seeds * np.abs(scale * observed + noise).sum(axis=-1)).sum(axis=1), (1 - tail, tail))
        for scale in _SCALES
    ]
    inside = [scale * value for scale, (low, high) in zip(_SCALES, tails, strict=True) if low <= value <= high]
    return Interval(min([*inside, value]), min(1.0, max([*inside, value])))
