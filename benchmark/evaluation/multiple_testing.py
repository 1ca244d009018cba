"""p-values of several tests at once, so that all decisions together are wrong seldom enough."""

from collections.abc import Sequence

import numpy as np

from benchmark.evaluation.metrics import Floats


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979), as R's ``p.adjust(method = "holm")``."""
    order = np.argsort(p_values, kind="stable")
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = largest
    return corrected


def romano_wolf(p_values: Sequence[float], deviations: Floats) -> list[float]:
    """Return p-values corrected by the step-down of Romano & Wolf, which keeps what the tests have in common.

    Romano & Wolf 2005, "Exact and approximate stepdown methods for multiple hypothesis testing", JASA 100, with the
    p-values of Romano & Wolf 2016, "Efficient computation of adjusted p-values for resampling-based stepdown multiple
    testing", Statistics & Probability Letters 113. The most significant test is referred to the smallest p of all
    tests in each resample, the next to the smallest of all but the first, and so on; a p-value is never below that
    of the test before it. The chance of one wrong decision or more stays at the level, whichever null hypotheses are
    true. Differences between all pairs of rows are highly dependent, so that Holm's correction, which must allow for
    every dependence, decides less.

    A resample's p is that of a normal deviate, a test's own p may be of Student's t: few clusters make large
    statistics likelier, and resamples with a fixed standard error do not show that.

    The number B of resamples limits how small a p-value can be, ``1 / (B + 1)``. Where Holm's is smaller, it stands
    instead: it is an upper bound of the exact one. None is below the test's own p.

    Args:
        p_values: two-sided, of M tests, without correction.
        deviations: float64, shape (B, M): in each of B resamples the statistic less its mean over resamples, over its
            standard error; 0 for a test without one.

    Raises:
        ValueError: the numbers of tests differ.
    """
    from scipy.stats import norm

    if deviations.ndim != 2 or deviations.shape[1] != len(p_values):
        raise ValueError(f"deviations of shape {deviations.shape} for {len(p_values)} tests")
    if not len(p_values):
        return []
    order = np.argsort(p_values, kind="stable")
    observed = np.asarray(p_values, dtype=np.float64)[order]
    resampled = 2 * norm.sf(np.abs(deviations[:, order]))
    smallest = np.minimum.accumulate(resampled[:, ::-1], axis=1)[:, ::-1]  # of a test and all that follow it
    shares = ((smallest <= observed).sum(axis=0) + 1) / (len(deviations) + 1)
    bounded = np.minimum(np.minimum(np.maximum.accumulate(shares), 1.0), np.asarray(holm(p_values))[order])
    corrected = np.empty(len(order))
    corrected[order] = np.maximum.accumulate(np.maximum(bounded, observed))
    return [float(p) for p in corrected]
