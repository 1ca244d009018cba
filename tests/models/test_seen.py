"""What a network makes of batches, put together."""

import numpy as np
import pytest

from benchmark.models import seen
from benchmark.models.feature_distance import TrainingFeatures
from benchmark.models.prepared import Facts
from benchmark.models.seen import SeenParts

LENGTH = 6  # of features


def facts(read: list[bool]) -> Facts:
    count = sum(read)
    return Facts(
        np.ones(count, dtype=bool),
        np.full((count, 2), 16),
        [b"12345678"] * count,
        np.array(read),
        ["?"] * read.count(False),
    )


@pytest.mark.parametrize("together", [1, 3, 4, 2048])
@pytest.mark.parametrize("kept", [True, False])
def test_distances_are_in_order_however_many_are_compared_at_once(
    monkeypatch: pytest.MonkeyPatch, together: int, kept: bool
) -> None:
    monkeypatch.setattr(seen, "_COMPARED_TOGETHER", together)
    random = np.random.default_rng(0)
    training = TrainingFeatures.of(random.normal(size=(20, LENGTH)), random.normal(size=(9, LENGTH)))
    parts = SeenParts(2, training if kept else None)
    features: list[np.ndarray] = []
    for read in ([True, True], [False, False], [True, False, True], [True], [False]):
        count = sum(read)
        features.append(random.normal(size=(count, LENGTH)).astype(np.float32))
        logits = random.normal(size=(count, 2)).astype(np.float32)
        parts.add(facts(read), logits, features[-1] if count and kept else np.zeros((count, 0), dtype=np.float32))
    assert len(parts) == 9
    whole = parts.together()
    assert len(whole.logits) == len(whole.distances) == len(whole.grey) == 5
    if kept:
        np.testing.assert_allclose(whole.distances, training.distances(np.concatenate(features)), rtol=1e-6)
    else:
        assert np.isnan(whole.distances).all()


def test_of_no_image_that_can_be_read_there_is_nothing() -> None:
    parts = SeenParts(2, TrainingFeatures.of(np.eye(4, LENGTH), np.eye(3, LENGTH)))
    parts.add(facts([False, False]), np.zeros((0, 2), dtype=np.float32), np.zeros((0, 0), dtype=np.float32))
    whole = parts.together()
    assert whole.logits.shape == (0, 2)
    assert whole.distances.shape == (0,)
    assert whole.problems == ("?", "?")
