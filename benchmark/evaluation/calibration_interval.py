"""The uncertainty of the expected calibration error, which is biased: noise alone makes distances from zero."""

import numpy as np

from benchmark.evaluation.bootstrap import Resampled
from benchmark.evaluation.calibration import calibration_error
from benchmark.evaluation.intervals import Interval, normal_quantile, t_quantile
from benchmark.evaluation.metrics import Floats

_TAIL = 0.975  # up to which each end's test goes
_TOGETHER = 8  # scales that are tried at once
_CHUNK = 60_000  # numbers that are gone through again and again: as many as stay in a processor's cache
_SCALES = np.concatenate([np.linspace(0, 1.5, 31), np.linspace(1.6, 4, 25)])


def calibration_interval(gaps: Resampled) -> Interval | None:
    """Return a 95 % interval of the calibration error that allows for its bias.

    The error is a sum of absolute values, so that what is observed lies above the truth, the more the fewer images
    (Kumar, Liang & Ma 2019, section 4), and so do its resamples: percentiles of them, and the usual interval around
    the observed error, lie too high. Here a test is inverted (Efron & Tibshirani 1993, section 12.3): gaps of some
    size are given the noise of the resamples, and those sizes are kept at which the observed error is neither too
    large nor too small. What is not known is over how many bins the true gaps are spread, on which the bias depends:

    - The lower end takes the observed gaps shrunken towards zero, each by its noise (the positive-part rule of James
      & Stein 1961), so that bins that show no more than noise count as noise alone.
    - The upper end takes them as observed, and halfway from there to the usual interval's upper end, where that is
      higher: alone it is passed too often, because few errors also look like little noise.

    So chosen by simulation: the interval covers 0.93 to 0.97 of the time where the error is plain, and up to 0.99
    where it is no more than noise gives and the interval reaches from 0 (tests/evaluation/test_coverage.py).

    Args:
        gaps: of :func:`~benchmark.evaluation.clusters.gaps_by_cluster`, resampled.

    Returns:
        ``None`` where nothing varies between resamples.
    """
    clusters = gaps.parts.shape[1]
    total = gaps.parts.sum(axis=1)
    value = float(calibration_error(total).mean())
    usual = gaps.estimate(calibration_error).interval()
    observed = total[..., 0] / total[..., 1].sum(axis=-1, keepdims=True)  # (S, bins)
    drawn = gaps.sums[..., 0] / gaps.sums[..., 1].sum(axis=-1, keepdims=True)  # (B, S, bins)
    noise = (drawn - observed) * (t_quantile(_TAIL, max(1, clusters - 1)) / normal_quantile(_TAIL))
    if usual is None or value == 0 or not noise.any():
        return usual
    low = _end(_shrunken(observed, noise), noise, gaps.seeds, value, _TAIL)
    high = _end(observed, noise, gaps.seeds, value, 1 - _TAIL)
    return Interval(min(low, usual.low), min(1.0, max(value, (high + max(high, usual.high)) / 2)))


def _shrunken(observed: Floats, noise: Floats) -> Floats:
    """Return gaps without what noise adds to them, (S, bins); all of them as observed where nothing else is left."""
    squares = observed**2
    left = np.maximum(0.0, squares - noise.var(axis=0))
    shrunken = observed * np.divide(left, squares, out=np.zeros_like(squares), where=squares > 0)
    return shrunken if shrunken.any() else observed


def _end(gaps: Floats, noise: Floats, seeds: Floats, value: float, tail: float) -> float:
    """Return the smallest or the largest error of gaps in these proportions that agrees with the observed one.

    Args:
        gaps: shape (S, bins), not all 0.
        noise: shape (B, S, bins), around 0.
        seeds: shape (B, S), weights.
        value: the observed error.
        tail: the share of resamples that is to lie below it: high at the lower end, low at the upper one.
    """
    unit = gaps * (value / np.abs(gaps).sum(axis=-1).mean())
    unit, noise = unit.T[..., None], np.ascontiguousarray(noise.T)  # (bins, S, B): lines of resamples are added up
    reached = np.zeros(0)  # by scale
    # what follows the first scale that reaches the error says nothing
    for start in range(0, len(_SCALES), _TOGETHER):
        errors = _errors(_SCALES[start : start + _TOGETHER], unit, noise, seeds)
        reached = np.maximum.accumulate(np.append(reached, np.quantile(errors, tail, axis=1)))
        if reached[-1] > value:
            break
    if value <= reached[0]:
        return 0.0
    return float(np.interp(value, reached, _SCALES[: len(reached)])) * value


def _errors(scales: Floats, unit: Floats, noise: Floats, seeds: Floats) -> Floats:
    """Return the error of gaps at some scales in each resample: shape (len(scales), B).

    Args:
        unit: shape (bins, S, 1).
        noise: shape (bins, S, B).
        seeds: shape (B, S).
    """
    bins, trainings, resamples = noise.shape
    errors = np.empty((len(scales), resamples))
    step = max(1, _CHUNK // (bins * trainings))
    for start in range(0, resamples, step):
        part = slice(start, min(start + step, resamples))
        of_part, weights = np.ascontiguousarray(noise[..., part]), seeds[part]
        moved = np.empty_like(of_part)
        for number, scale in enumerate(scales):
            np.abs(np.add(scale * unit, of_part, out=moved), out=moved)
            errors[number, part] = (weights * np.ascontiguousarray(_added_up(moved).T)).sum(axis=1)
    return errors


def _added_up(bins: Floats) -> Floats:
    """Return sums along the first axis, in the order in which ``numpy.sum`` adds up the few numbers of a line.

    Args:
        bins: shape (n, ...), n from 8 to 128.
    """
    one, two, three, four, five, six, seven, eight = bins[:8]
    total = ((one + two) + (three + four)) + ((five + six) + (seven + eight))
    for further in bins[8:]:
        total += further
    return np.asarray(total)
