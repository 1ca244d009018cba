"""Probabilities put right afterwards: for how sure a network is of itself, and for other shares of the classes."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.evaluation.metrics import Counts, Floats

_LEAST = 1e-12  # probability that is taken for zero's: float32 softmax outputs do reach 0
_STEPS, _ENOUGH = 2000, 1e-9


def with_temperature(probabilities: npt.NDArray[np.floating], temperature: float) -> Floats:
    """Return probabilities whose logits are divided by a temperature (Guo et al. 2017, "On calibration of modern
    neural networks", section 4.2): float64, shape (N, C).

    Above 1 they are less sure. The most probable class stays the same.
    """
    logits = np.log(np.maximum(probabilities.astype(np.float64), _LEAST)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def fitted_temperature(labels: Counts, probabilities: npt.NDArray[np.floating]) -> float:
    """Return the temperature that makes the log loss of validation images least, between 0.05 and 20.

    Args:
        labels: int64, shape (N,), N at least 1.
        probabilities: shape (N, C).
    """
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        chances = with_temperature(probabilities, float(np.exp(log_temperature)))
        return float(-np.log(np.maximum(chances[rows, labels], _LEAST)).mean())

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(found.x))


@dataclass(frozen=True)
class PriorCorrection:
    """Probabilities for other shares of the classes.

    Args:
        probabilities: float64, shape (N, C), rows sum to 1.
        shares: float64, shape (C,): the shares of the classes that the images themselves speak for.
    """

    probabilities: Floats
    shares: Floats


def prior_corrected(probabilities: npt.NDArray[np.floating], trained_shares: Floats) -> PriorCorrection:
    """Return what a network would say had it been trained on the classes as often as they occur in these images.

    The shares are not known; they are estimated from the probabilities alone, without labels, by expectation
    maximisation (Saerens, Latinne & Decaestecker 2002, "Adjusting the outputs of a classifier to new a priori
    probabilities", Neural Computation 14(1), equations 2.9 and 2.4). It assumes that a class looks alike in training
    and test, and calibrated probabilities: neither need hold.

    Args:
        probabilities: shape (N, C), of unlabelled images.
        trained_shares: float64, shape (C,), of the classes in training, each above 0.
    """
    said = np.maximum(probabilities.astype(np.float64), _LEAST)
    trained = trained_shares / trained_shares.sum()
    shares = trained.copy()
    for _ in range(_STEPS):
        corrected = with_shares(said, trained, shares)
        estimated = corrected.mean(axis=0)
        done = float(np.abs(estimated - shares).max()) < _ENOUGH
        shares = estimated
        if done:
            break
    return PriorCorrection(with_shares(said, trained, shares), shares)


def with_shares(probabilities: npt.NDArray[np.floating], trained: Floats, shares: Floats) -> Floats:
    """Return posteriors under other shares of the classes (Saerens et al. 2002, equation 2.4): shape (N, C)."""
    weighted = probabilities.astype(np.float64) * (shares / trained)
    return np.asarray(weighted / weighted.sum(axis=1, keepdims=True))
