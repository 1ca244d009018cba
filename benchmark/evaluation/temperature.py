"""Temperature scaling: one number, fitted on validation images, that makes probabilities mean what they say.

Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2: logits are divided by a temperature T that
minimises the cross-entropy. No decision changes. The logarithms of probabilities are logits up to a constant for each
image, which softmax does not see: records are enough.
"""

from functools import lru_cache

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
    return softmax(_logits(probabilities), temperature)


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
    if not len(labels) or (decide(probabilities) == labels).all():
        return 1.0
    # of the same images several scores ask, one after the other
    return _fitted(labels.astype(np.int64).tobytes(), probabilities.tobytes(), probabilities.dtype.str)


@lru_cache(maxsize=2)
def _fitted(labels_bytes: bytes, probabilities_bytes: bytes, kind: str) -> float:
    """Return the temperature of labels, int64, and probabilities of a kind, whose numbers these bytes are."""
    from scipy.optimize import minimize_scalar

    labels = np.frombuffer(labels_bytes, dtype=np.int64)
    probabilities = np.frombuffer(probabilities_bytes, dtype=kind).reshape(len(labels), -1)
    logits, images = _logits(probabilities), np.arange(len(labels))

    def loss(logarithm: float) -> float:
        """Return :func:`cross_entropy` of what :func:`scaled` gives, of the true classes alone."""
        moved = logits / float(np.exp(logarithm))
        moved -= moved.max(axis=-1, keepdims=True)
        np.exp(moved, out=moved)
        own = moved[images, labels] / moved.sum(axis=-1)
        return float(-np.log(np.maximum(own, _LEAST)).mean())

    # the cross-entropy has one minimum in 1 / T, and so in log T
    optimum = minimize_scalar(loss, bounds=np.log(RANGE), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(optimum.x))


def _logits(probabilities: npt.NDArray[np.floating]) -> Floats:
    return np.asarray(np.log(np.maximum(probabilities.astype(np.float64), _LEAST)))
