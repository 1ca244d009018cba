"""p-values of several tests at once, so that all decisions together are wrong seldom enough."""

from collections.abc import Callable

import numpy as np

from benchmark.evaluation.metrics import Counts, Floats

_TOGETHER = 128  # tests whose resamples are held at once
_CLOSE = 1e-9  # of a normal deviate: nearer to it, rounding could decide
_FAR, _FARTHEST = 37.0, 100.0  # from here on p-values are next to the least number above 0, and then are 0


def holm(p_values: Floats) -> Floats:
    """Return p-values, shape (M,), corrected for their number (Holm 1979), as R's ``p.adjust(method = "holm")``."""
    order = np.argsort(p_values, kind="stable")
    corrected = np.empty(len(order))
    weighed = np.arange(len(order), 0, -1) * np.asarray(p_values, dtype=np.float64)[order]
    corrected[order] = np.maximum.accumulate(np.minimum(1.0, weighed))
    return corrected


def stepped_down(
    p_values: Floats, sizes: Callable[[Counts], Floats], resamples: int, largest: Floats | None = None
) -> Floats:
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

    Deviations are computed when they are needed: M tests in B resamples need not be held at once. The tests are
    gone through from the least significant to the most, with the largest deviation so far of each resample. A test
    whose own deviations can't reach its observed one changes no count, neither its own nor one of a more significant
    test, and is passed over.

    Args:
        p_values: float64, shape (M,), two-sided, without correction.
        sizes: returns of some tests, given by their numbers, the absolute deviations, float64, shape (k, B): in each
            resample the statistic less its mean over resamples, over its standard error; 0 for a test without one.
        resamples: B.
        largest: float64, shape (M,): no deviation of the test is larger; ``None`` where nothing is known.
    """
    from scipy.special import ndtr, ndtri

    order = np.argsort(p_values, kind="stable").astype(np.int64)
    observed = p_values[order]
    deviates = np.minimum(
        -ndtri(observed / 2), _FARTHEST
    )  # a resample counts where its largest deviation reaches this
    low, high = np.minimum(deviates - _CLOSE * (1 + deviates), _FAR), deviates + _CLOSE * (1 + deviates)
    near = np.ones(len(order), dtype=bool) if largest is None else largest[order] >= low
    reached = np.zeros(resamples)
    counts = np.zeros(len(order), dtype=np.int64)
    for stop in range(len(order), 0, -_TOGETHER):
        part = slice(max(0, stop - _TOGETHER), stop)
        own = np.flatnonzero(near[part]) + part.start
        grown = sizes(order[own]) if len(own) else np.zeros((0, resamples))
        rising = np.flatnonzero(grown.max(axis=0) > reached) if len(own) else np.zeros(0, dtype=np.int64)
        still = np.sort(np.delete(reached, rising))
        surely, perhaps = (len(still) - np.searchsorted(still, ends[part], side="left") for ends in (high, low))
        if len(rising):
            so_far = np.broadcast_to(reached[rising], (part.stop - part.start, len(rising))).copy()
            so_far[own - part.start] = np.maximum(so_far[own - part.start], grown[:, rising])
            so_far = np.maximum.accumulate(so_far[::-1], axis=0)[::-1]
            surely += (so_far >= high[part, None]).sum(axis=1)
            perhaps += (so_far >= low[part, None]).sum(axis=1)
            reached[rising] = so_far[0]
        for place in np.flatnonzero(surely < perhaps).tolist():  # so close that the p-values themselves must tell
            everywhere = still if not len(rising) else np.concatenate([still, so_far[place]])
            surely[place] = int((2 * ndtr(-everywhere) <= observed[part.start + place]).sum())
        counts[part] = surely
    shares = (counts + 1) / (resamples + 1)
    bounded = np.minimum(np.minimum(np.maximum.accumulate(shares), 1.0), holm(observed))
    corrected = np.empty(len(order))
    corrected[order] = np.maximum.accumulate(np.maximum(bounded, observed))
    return corrected
