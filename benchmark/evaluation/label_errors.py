"""Images whose label is likely wrong, by confident learning (Northcutt, Jiang & Chuang 2021)."""

import numpy as np
import numpy.typing as npt

from benchmark.evaluation.metrics import Floats


def likely_label_errors(labels: npt.NDArray[np.int64], probabilities: Floats) -> npt.NDArray[np.int64]:
    """Return the numbers of the images whose label is likely wrong, the least credible label first.

    The threshold of a class is the mean probability that images labelled as it get for it. An image is counted for
    the most probable class among those whose threshold it reaches; where that is not its label, the label is doubted
    (the off-diagonal cells of the confident joint, section 3.1). They are ordered by the margin between the
    probability of the label and the largest of another class (section 3.2).

    Args:
        labels: shape (N,).
        probabilities: shape (N, C), from networks that were not trained on these images.
    """
    count, classes = probabilities.shape
    if not count:
        return np.zeros(0, dtype=np.int64)
    thresholds = np.array(
        [probabilities[labels == k, k].mean() if (labels == k).any() else np.inf for k in range(classes)]
    )
    reached = np.where(probabilities >= thresholds, probabilities, -1.0)
    confident = reached.argmax(axis=1)
    doubted = np.flatnonzero((reached.max(axis=1) >= 0) & (confident != labels))
    own = probabilities[doubted, labels[doubted]]
    others = probabilities[doubted].copy()
    others[np.arange(len(doubted)), labels[doubted]] = -1.0
    return doubted[np.argsort(own - others.max(axis=1), kind="stable")].astype(np.int64)
