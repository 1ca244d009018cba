"""TensorFlow's update rule against the papers' formulas, written out in NumPy in double precision."""

from typing import Any

import numpy as np
import pytest

from benchmark.recipe import Optimizer
from tests.engines.test_torch_optimizer import RATES, by_hand, gradients, start

pytestmark = pytest.mark.tensorflow


def ours(rule: Optimizer) -> dict[str, Any]:
    """Return the variables after a few steps, traced once as in the engine."""
    import tensorflow as tf

    from benchmark.training.engines.tensorflow_optimizer import Updates

    variables = {name: tf.Variable(values, dtype=tf.float32) for name, values in start().items()}
    updates = Updates(rule, list(variables.values()), [name == "head" for name in variables])
    apply = tf.function(updates.apply)
    for step, rate in enumerate(RATES, start=1):
        given = [tf.constant(values, tf.float32) for values in gradients(step).values()]
        apply(given, tf.constant(updates.scalars(rate, step)))
    return {name: variable.numpy() for name, variable in variables.items()}


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "adam", "weight_decay": 0.0},
        {"name": "adam", "weight_decay": 0.1},
        {"name": "adam", "weight_decay": 0.0, "epsilon": 0.01},
        {"name": "adam", "weight_decay": 0.0, "epsilon": 0.01, "epsilon_inside": True},
        {"name": "adam", "weight_decay": 0.0, "beta1": 0.5, "beta2": 0.9},
        {"name": "adamw", "weight_decay": 0.1},
        {"name": "adamw", "weight_decay": 0.1, "decay_norms_and_biases": True},
        {"name": "adamw", "head_learning_rate_factor": 10.0},
        {"name": "adamw", "clip_norm": 0.1},
        {"name": "sgd", "momentum": 0.0, "weight_decay": 0.0},
        {"name": "sgd", "momentum": 0.9, "weight_decay": 0.1},
        {"name": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 0.0, "clip_norm": 0.2},
    ],
    ids=lambda changes: " ".join(f"{name}={value}" for name, value in changes.items()),
)
def test_steps_are_those_of_the_formulas(changes: dict[str, Any]) -> None:
    rule = Optimizer(**changes)
    expected = by_hand(rule)
    for name, values in ours(rule).items():
        np.testing.assert_allclose(values, expected[name], rtol=2e-5, atol=2e-6)


def test_epsilon_inside_is_where_keras_has_it() -> None:
    import keras

    rule = Optimizer(name="adam", weight_decay=0, epsilon=0.01, epsilon_inside=True)
    variables = {name: keras.Variable(values.astype(np.float32)) for name, values in start().items()}
    optimizer = keras.optimizers.Adam(1.0, epsilon=rule.epsilon)
    for step, rate in enumerate(RATES, start=1):
        optimizer.learning_rate = rate * 1.0
        given = [keras.ops.convert_to_tensor(values.astype(np.float32)) for values in gradients(step).values()]
        optimizer.apply(given, list(variables.values()))
    for name, values in ours(rule).items():
        np.testing.assert_allclose(values, variables[name].numpy(), rtol=2e-5, atol=2e-6)


def test_a_variable_without_gradient_stays_where_it_is() -> None:
    import tensorflow as tf

    from benchmark.training.engines.tensorflow_optimizer import Updates

    variable = tf.Variable(tf.ones((3, 3)))
    updates = Updates(Optimizer(weight_decay=0.5), [variable], [False])
    updates.apply([None], tf.constant(updates.scalars(0.1, 1)))
    np.testing.assert_array_equal(variable.numpy(), np.ones((3, 3)))
