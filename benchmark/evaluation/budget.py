"""What tuning is worth at a budget: the expected best validation score after k trials."""

import numpy as np

from benchmark.evaluation.metrics import Floats


def expected_best(scores: Floats) -> Floats:
    """Return the expected maximum of k trials for k = 1 to n, float64 of shape (n,).

    Dodge, Gururangan, Card, Schwartz & Smith 2019, "Show your work: improved reporting of experimental results",
    section 3.2: with v_1 <= ... <= v_n the scores that were seen, ``E[best of k] = sum over i of
    v_i ((i / n)^k - ((i - 1) / n)^k)``, the mean of the maximum of k draws with replacement. It is a plug-in estimate
    that lies too low for large k (Tang et al. 2020, "Showing your work doesn't always work").

    Args:
        scores: float64, shape (n,), of all trials, higher being better; a trial that failed has the lowest score
            there is.
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    count = len(ordered)
    places = np.arange(count + 1) / count
    trials = np.arange(1, count + 1)[:, None]
    return np.asarray((ordered * np.diff(places[None] ** trials, axis=1)).sum(axis=1))
