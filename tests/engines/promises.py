"""What every engine promises of averaged weights, parts of batches and frozen layers, on its own small networks."""

from typing import Any

import numpy as np
import pytest

from benchmark.records.outcomes import Outcome, RunFailure
from tests.engines.torch_small import changed, images, logits, train


def averages_are_what_is_evaluated(built: Any, plain: Any) -> None:
    engine, _ = built(plain, ema__decay=0.5)
    expected = engine.state(optimizer=False)
    for step in range(1, 4):
        train(engine, 1, first=step, ema_decay=0.5)
        trained = engine.state(optimizer=True)
        expected = {name: 0.5 * mean + 0.5 * trained[name] for name, mean in expected.items()}
    for name, mean in engine.state(optimizer=False).items():
        np.testing.assert_allclose(mean, expected[name], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(mean, trained[f"ema/{name}"])
        np.testing.assert_array_equal(mean, engine.weights()[name])
    other, _ = built(plain)
    other.load_state(engine.state(optimizer=False))
    np.testing.assert_array_equal(logits(engine, images()), logits(other, images()))
    assert not changed(trained, engine.state(optimizer=True))  # evaluating leaves no trace


def averages_resume_bit_for_bit(built: Any, network: Any) -> None:
    engine, _ = built(network, ema__decay=0.9)
    train(engine, 3, ema_decay=0.9)
    saved = engine.state(optimizer=True)
    logits(engine, images())
    losses = train(engine, 3, first=4, ema_decay=0.9)
    other, _ = built(network, ema__decay=0.9, seed=9)
    train(other, 1, ema_decay=0.9)
    logits(other, images())
    other.load_state(saved)
    assert train(other, 3, first=4, ema_decay=0.9) == losses
    assert not changed(engine.state(optimizer=True), other.state(optimizer=True))
    best = engine.state(optimizer=False)
    other.load_state(best)
    assert not changed(best, other.state(optimizer=False))


def parts_of_a_batch_make_one_step(built: Any, plain: Any) -> None:
    changes = {"optimizer__name": "sgd", "optimizer__clip_norm": 0.3, "regularization__l2": 0.01}
    whole, parts = built(plain, **changes)[0], built(plain, **changes)[0]
    losses = train(whole, 3, count=7)
    np.testing.assert_allclose(train(parts, 3, count=7, parts=3), losses, rtol=1e-5)
    for name, value in whole.state(optimizer=True).items():
        np.testing.assert_allclose(parts.state(optimizer=True)[name], value, rtol=1e-4, atol=1e-6)


def statistics_that_move_are_noticed(engine: Any, spoil: Any) -> None:
    train(engine, 2)
    engine.assert_frozen()
    spoil()
    with pytest.raises(RunFailure, match="not in inference mode") as raised:
        engine.assert_frozen()
    assert raised.value.outcome is Outcome.ERROR
