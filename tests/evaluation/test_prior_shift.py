"""Shares of classes, against direct maximisation of the likelihood and by simulation."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.metrics import log_loss

from benchmark.evaluation.decisions.prior_shift import prior_corrected, with_shares


def two_normals(generator: np.random.Generator, count: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and a feature: normal around -1 and 1, the second class with the share given."""
    labels = (generator.random(count) < share).astype(np.int64)
    return labels, generator.normal(2.0 * labels - 1.0)


def posteriors(feature: np.ndarray, share: float) -> np.ndarray:
    odds = share / (1 - share) * np.exp(2 * feature)
    return np.column_stack([1 / (1 + odds), odds / (1 + odds)])


def test_shares_are_found_and_probabilities_become_those_of_the_right_prior() -> None:
    # Saerens et al. 2002, section 3.1 in kind: two normals, trained half and half, tested at other shares
    generator = np.random.default_rng(0)
    for share in (0.1, 0.3, 0.8):
        labels, feature = two_normals(generator, 20_000, share)
        found = prior_corrected(posteriors(feature, 0.5), np.array([0.5, 0.5]))
        estimated = found.mean(axis=0)[1]
        assert estimated == pytest.approx(share, abs=0.02)
        np.testing.assert_allclose(found, posteriors(feature, estimated), atol=1e-6)
        assert log_loss(labels, found) < log_loss(labels, posteriors(feature, 0.5))


def test_expectation_maximisation_finds_the_greatest_likelihood() -> None:
    generator = np.random.default_rng(1)
    trained = np.array([0.5, 0.3, 0.2])
    said = generator.dirichlet([1.0, 0.7, 0.4], 500)

    def loss(logits: np.ndarray) -> float:
        shares = np.exp(np.append(logits, 0.0))
        shares /= shares.sum()
        return float(-np.log((said * shares / trained).sum(axis=1)).sum())

    best = minimize(loss, np.zeros(2), method="BFGS").x
    expected = np.exp(np.append(best, 0.0)) / np.exp(np.append(best, 0.0)).sum()
    np.testing.assert_allclose(prior_corrected(said, trained).mean(axis=0), expected, atol=1e-3)
    np.testing.assert_allclose(with_shares(said, trained, trained), said / said.sum(axis=1, keepdims=True))
