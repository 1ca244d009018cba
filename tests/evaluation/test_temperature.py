"""Temperature scaling, on probabilities whose temperature is known."""

import numpy as np
import pytest

from benchmark.evaluation.temperature import fit_temperature, scaled


def test_the_temperature_is_that_which_made_the_probabilities_too_sure() -> None:
    generator = np.random.default_rng(2)
    true = generator.dirichlet(np.ones(4), 6000)
    labels = np.array([generator.choice(4, p=row) for row in true])
    sure = scaled(true, 0.4)  # logits 2.5 times too large
    assert fit_temperature(labels, sure) == pytest.approx(2.5, rel=0.08)
    assert fit_temperature(labels, true) == pytest.approx(1.0, rel=0.08)
    assert (sure.argmax(axis=1) == true.argmax(axis=1)).all()
    np.testing.assert_allclose(scaled(sure, 2.5), true, atol=1e-9)
    certain = np.eye(2, dtype=np.float32)[[0, 1, 1]]
    assert np.isfinite(scaled(certain, 3.0)).all()
    assert fit_temperature(np.array([0, 1, 1]), certain) == 1.0  # all are right: nothing can be told
