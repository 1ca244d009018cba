"""Temperature scaling: one number, fitted on validation images, that makes probabilities mean what they say.

Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2: logits are divided by a temperature T that
minimises the cross-entropy. No decision changes. The logarithms of probabilities are logits up to a constant for each
image, which softmax does not see: records are enough.
"""

import numpy as np
import numpy.typing as npt

from benchmark.evaluation.metrics import Counts, Floats, decide

RANGE = (0.05, 20.0)
_LEAST = 1e-38  # a probability that float32 rounds to zero


def softmax(logits: npt.NDArray[np.floating], temperature: float = 1.0) -> Floats:
    """Return the softmax over the last axis, of logits divided by a temperature: float64, of the same shape."""
    from scipy import special

    return np.asarray(special.softmax(logits.astype(np.float64) / temperature, axis=-1))


def scaled(probabilities: npt.NDArray[np.floating], temperature: float) -> Floats:
    """Return probabilities at a temperature: float64, shape (N, C), rows sum to 1."""
    return softmax(np.log(np.maximum(probabilities.astype(np.float64), _LEAST)), temperature)


def cross_entropy(labels: Counts, probabilities: npt.NDArray[np.floating]) -> float:
    """Return the mean negative logarithm of the true classes' probabilities, in nats.

    Args:
        labels: int64, shape (N,).
        probabilities: shape (N, C).
    """
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(own, _LEAST)).mean())


def fit_temperature(labels: Counts, probabilities: npt.NDArray[np.floating]) -> float:
    """Return the temperature, 0.05 to 20, with the least cross-entropy; over 1 where a network is too sure of itself.

    It is 1, which changes nothing, where validation images can't tell: there are none, or all are read right, so that
    the less the temperature the better.

    Args:
        labels: int64, shape (N,).
        probabilities: shape (N, C), rows sum to 1.
    """
    from scipy.optimize import minimize_scalar

    if not len(labels) or (decide(probabilities) == labels).all():
        return 1.0
    optimum = minimize_scalar(  # the cross-entropy has one minimum in 1 / T, and so in log T
        lambda logarithm: cross_entropy(labels, scaled(probabilities, float(np.exp(logarithm)))),
        bounds=np.log(RANGE),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.exp(optimum.x))
