"""The standard deviation of a few numbers, exact as that of :mod:`statistics` and many times as fast."""

import math
import statistics
from collections.abc import Sequence

_BITS = 109  # of a root before it is rounded: twice a float's 53 and 3 more, so that it is rounded once


def stdev(numbers: Sequence[float]) -> float:
    """Return the sample standard deviation, correctly rounded: what ``statistics.stdev`` returns.

    Floats are whole numbers over powers of two, so that sums of squares are sums of whole numbers.

    Args:
        numbers: at least two.
    """
    values = [float(number) for number in numbers]
    if not all(map(math.isfinite, values)):
        return statistics.stdev(values)
    ratios = [value.as_integer_ratio() for value in values]
    scale = max(below for _, below in ratios)
    wholes = [above * (scale // below) for above, below in ratios]
    count, total = len(wholes), sum(wholes)
    return _root(count * sum(whole * whole for whole in wholes) - total * total, count * (count - 1) * scale * scale)


def _root(above: int, below: int) -> float:
    """Return the square root of a fraction, correctly rounded: its whole part at many bits, the last one set where
    something is left (rounding to odd; Boldo & Melquiond 2008).
    """
    if not above:
        return 0.0
    shift = (above.bit_length() - below.bit_length() - _BITS) // 2
    if shift >= 0:
        return float(_whole_root(above, below << 2 * shift) << shift)
    return _whole_root(above << -2 * shift, below) / (1 << -shift)


def _whole_root(above: int, below: int) -> int:
    root = math.isqrt(above // below)
    return root | (root * root * below != above)
