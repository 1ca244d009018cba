"""The uncertainty of the expected calibration error, which is biased: noise alone makes distances from zero."""

import numpy as np

from benchmark.evaluation.bootstrap import Resampled
from benchmark.evaluation.calibration import calibration_error
from benchmark.evaluation.intervals import Interval

_SCALES = np.concatenate([np.linspace(0, 1.5, 31), np.linspace(1.6, 3, 15)])


def calibration_interval(gaps: Resampled, confidence: float = 0.95) -> Interval:
    """Return an interval of the calibration error that allows for its bias.

    The error is a sum of absolute values, so that what is observed lies above the truth, the more the fewer images
    (Kumar, Liang & Ma 2019, section 4), and so do its resamples. Here the gaps that were observed are scaled by
    factors from 0 to 3, each with the noise of the resamples around it; those scales are kept at which the observed
    error is neither too large nor too small (a test inverted along one line of parameters). The interval is the
    smallest that holds their errors and the usual interval, by the bootstrap's standard error: in simulation either
    alone covers too seldom somewhere, both together do not (tests/evaluation/test_coverage.py). It reaches from 0
    where the observed error is no more than noise gives.

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
    errors = [(gaps.seeds * np.abs(scale * observed + noise).sum(axis=-1)).sum(axis=1) for scale in _SCALES]
    few, many = np.maximum.accumulate(np.quantile(errors, (1 - tail, tail), axis=1), axis=1)  # by scale
    value = float(calibration_error(total).mean())
    low = float(np.interp(value, many, _SCALES)) * value if value > many[0] else 0.0
    high = float(np.interp(value, few, _SCALES)) * value if value > few[0] else 0.0
    usual = gaps.estimate(calibration_error).interval()
    return Interval(min(low, usual.low), min(1.0, max(high, usual.high)))
