"""Probabilities for other shares of the classes than those that a network was trained with."""

import numpy as np
import numpy.typing as npt

from benchmark.evaluation.metrics import Floats

_LEAST = 1e-12  # probability that is taken for zero's: float32 softmax outputs do reach 0
_STEPS, _ENOUGH = 2000, 1e-9


def prior_corrected(probabilities: npt.NDArray[np.floating], trained_shares: Floats) -> Floats:
    """Return what a network would say had it been trained on the classes as often as they occur in these images.

    The shares are not known; they are estimated from the probabilities alone, without labels, by expectation
    maximisation (Saerens, Latinne & Decaestecker 2002, "Adjusting the outputs of a classifier to new a priori
    probabilities", Neural Computation 14(1), equations 2.9 and 2.4). It assumes that a class looks alike in training
    and test, and calibrated probabilities: neither need hold.

    Args:
        probabilities: shape (N, C), of unlabelled images.
        trained_shares: float64, shape (C,), of the classes in training, each above 0.

    Returns:
        float64, shape (N, C), rows sum to 1; their means are the shares that the images themselves speak for.
    """
    above_zero = np.maximum(probabilities.astype(np.float64), _LEAST)
    trained = trained_shares / trained_shares.sum()
    shares = trained.copy()
    for _ in range(_STEPS):
        corrected = with_shares(above_zero, trained, shares)
        estimated = corrected.mean(axis=0)
        done = float(np.abs(estimated - shares).max()) < _ENOUGH
        shares = estimated
        if done:
            break
    return with_shares(above_zero, trained, shares)


def with_shares(probabilities: npt.NDArray[np.floating], trained: Floats, shares: Floats) -> Floats:
    """Return posteriors under other shares of the classes (Saerens et al. 2002, equation 2.4): shape (N, C)."""
    weighted = probabilities.astype(np.float64) * (shares / trained)
    return np.asarray(weighted / weighted.sum(axis=1, keepdims=True))
