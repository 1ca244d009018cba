"""TensorFlow's update rule against the papers' formulas, written out in NumPy in double precision."""

from typing import Any

import numpy as np
import pytest

from benchmark.recipe import Optimizer, Regularization
from tests.engines.test_torch_optimizer import CASES, RATES, by_hand, gradients, start

pytestmark = pytest.mark.tensorflow


def ours(rule: Optimizer, penalty: Regularization | None = None) -> dict[str, Any]:
    """Return the variables after a few steps, traced once as in the engine."""
    import tensorflow as tf

    from benchmark.engines.tensorflow.optimizer import TensorFlowOptimizer

    variables = {name: tf.Variable(values, dtype=tf.float32) for name, values in start().items()}
    factors = [rule.head_learning_rate_factor if name == "head" else 1.0 for name in variables]
    updates = TensorFlowOptimizer(rule, list(variables.values()), factors, penalty)
    apply = tf.function(updates.apply)
    for step, rate in enumerate(RATES, start=1):
        given = [tf.constant(values, tf.float32) for values in gradients(step).values()]
        apply(given, tf.constant(updates.scalars(rate, step)))
    return {name: variable.numpy() for name, variable in variables.items()}


@pytest.mark.parametrize(("changes", "penalty"), CASES, ids=str)
def test_steps_are_those_of_the_formulas(changes: dict[str, Any], penalty: dict[str, Any]) -> None:
    rule, penalized = Optimizer(**changes), Regularization(**penalty)
    expected = by_hand(rule, penalized)
    for name, values in ours(rule, penalized).items():
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

    from benchmark.engines.tensorflow.optimizer import TensorFlowOptimizer

    variable = tf.Variable(tf.ones((3, 3)))
    updates = TensorFlowOptimizer(Optimizer(weight_decay=0.5), [variable], [1.0])
    updates.apply([None], tf.constant(updates.scalars(0.1, 1)))
    np.testing.assert_array_equal(variable.numpy(), np.ones((3, 3)))
