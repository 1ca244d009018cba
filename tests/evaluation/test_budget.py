"""The expected best of k trials, against the mean over all that can be drawn."""

from itertools import product

import numpy as np
import pytest

from benchmark.evaluation.budget import expected_best


@pytest.mark.parametrize("scores", [[0.5], [0.2, 0.9, 0.4, 0.4], [0.0, 0.71, 0.75, 0.62, 0.1]])
def test_it_is_the_mean_maximum_of_k_draws_with_replacement(scores: list[float]) -> None:
    found = expected_best(np.array(scores))
    for k in range(1, len(scores) + 1):
        draws = [max(each) for each in product(scores, repeat=k)]
        np.testing.assert_allclose(found[k - 1], np.mean(draws))
    assert found[0] == pytest.approx(np.mean(scores))
    assert (np.diff(found) >= 0).all()
