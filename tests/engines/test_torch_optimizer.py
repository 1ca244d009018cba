"""The optimisers against their papers' formulas, written out in NumPy in double precision."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from benchmark.recipe import Optimizer, Regularization

Arrays = dict[str, npt.NDArray[np.float64]]

SHAPES = {"conv": (4, 3, 3, 3), "bias": (4,), "head": (2, 5)}
RATES = (1e-2, 3e-3, 1e-2, 5e-3, 1e-3)


def gradients(step: int) -> Arrays:
    generator = np.random.default_rng(step)
    return {name: generator.normal(size=shape) * 0.1 for name, shape in SHAPES.items()}


def start() -> Arrays:
    generator = np.random.default_rng(99)
    return {name: generator.normal(size=shape) for name, shape in SHAPES.items()}


def ours(rule: Optimizer, penalty: Regularization) -> Arrays:
    """Return the parameters after a few steps of the engine's optimiser, a kernel in channels_last format."""
    import torch

    from benchmark.engines.torch.optimizer import TorchOptimizer

    def tensor(values: Any) -> Any:
        result = torch.tensor(values, dtype=torch.float32)
        return result.to(memory_format=torch.channels_last) if result.ndim == 4 else result

    parameters = {name: torch.nn.Parameter(tensor(values)) for name, values in start().items()}
    updates = TorchOptimizer(rule, parameters, {"head": rule.head_learning_rate_factor}, penalty)
    for step, rate in enumerate(RATES, start=1):
        for name, values in gradients(step).items():
            parameters[name].grad = tensor(values)
        updates.apply(rate, step, None)
    return {name: parameter.detach().numpy() for name, parameter in parameters.items()}


def by_hand(rule: Optimizer, penalty: Regularization = Regularization()) -> Arrays:  # noqa: B008  # frozen
    """Return the same by the formulas."""
    values = start()
    first = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    second = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    for step, rate in enumerate(RATES, start=1):
        given = gradients(step)
        for name in {"conv": ["conv"], "all": ["conv", "head"]}[penalty.kernels]:
            given[name] = given[name] + penalty.l1 * np.sign(values[name]) + 2 * penalty.l2 * values[name]
        if rule.clip_norm is not None:
            norm = math.sqrt(sum(float((g**2).sum()) for g in given.values()))
            given = {name: g * min(1.0, rule.clip_norm / norm) for name, g in given.items()}
        for name, g in given.items():
            lr = rate * (rule.head_learning_rate_factor if name == "head" else 1.0)
            decay = rule.weight_decay if values[name].ndim > 1 or rule.decay_norms_and_biases else 0.0
            if rule.decoupled:
                values[name] = values[name] * (1 - lr * decay)
            else:
                g = g + decay * values[name]
            if rule.name == "sgd":
                first[name] = rule.momentum * first[name] + g
                values[name] = values[name] - lr * (g + rule.momentum * first[name] if rule.nesterov else first[name])
                continue
            first[name] = rule.beta1 * first[name] + (1 - rule.beta1) * g
            second[name] = rule.beta2 * second[name] + (1 - rule.beta2) * g**2
            one, two = 1 - rule.beta1**step, 1 - rule.beta2**step
            if rule.epsilon_inside:
                change = lr * math.sqrt(two) / one * first[name] / (np.sqrt(second[name]) + rule.epsilon)
            else:
                change = lr * (first[name] / one) / (np.sqrt(second[name] / two) + rule.epsilon)
            values[name] = values[name] - change
    return values


RULES: list[dict[str, Any]] = [
    {"name": "adam", "weight_decay": 0.0},
    {"name": "adam", "weight_decay": 0.1},
    {"name": "adam", "weight_decay": 0.1, "decoupled_decay": True},
    {"name": "adam", "weight_decay": 0.0, "epsilon": 0.01},
    {"name": "adam", "weight_decay": 0.0, "epsilon": 0.01, "epsilon_inside": True},
    {"name": "adam", "weight_decay": 0.0, "beta1": 0.5, "beta2": 0.9},
    {"name": "adamw", "weight_decay": 0.1},
    {"name": "adamw", "weight_decay": 0.1, "decay_norms_and_biases": True},
    {"name": "adamw", "head_learning_rate_factor": 10.0},
    {"name": "adamw", "clip_norm": 0.1},
    {"name": "sgd", "momentum": 0.0, "weight_decay": 0.0},
    {"name": "sgd", "momentum": 0.9, "weight_decay": 0.1},
    {"name": "sgd", "momentum": 0.9, "weight_decay": 0.1, "decoupled_decay": True, "decay_norms_and_biases": True},
    {"name": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 0.0, "clip_norm": 0.2},
]
# each rule alone, and one with each penalty
CASES = [
    *((rule, {}) for rule in RULES),
    (RULES[-2], {"l1": 0.01, "l2": 0.02, "kernels": "conv"}),
    (RULES[-1], {"l1": 0.01, "l2": 0.02, "kernels": "all"}),
]


@pytest.mark.parametrize(("changes", "penalty"), CASES, ids=str)
def test_steps_are_those_of_the_formulas(changes: dict[str, Any], penalty: dict[str, Any]) -> None:
    rule, penalized = Optimizer(**changes), Regularization(**penalty)
    expected = by_hand(rule, penalized)
    for name, values in ours(rule, penalized).items():
        np.testing.assert_allclose(values, expected[name], rtol=2e-5, atol=2e-6)


def test_where_epsilon_stands_makes_a_difference_that_the_test_above_would_see() -> None:
    outside = by_hand(Optimizer(name="adam", epsilon=0.01))
    inside = by_hand(Optimizer(name="adam", epsilon=0.01, epsilon_inside=True))
    assert np.abs(outside["conv"] - inside["conv"]).max() > 1e-3


def test_a_parameter_without_gradient_stays_where_it_is() -> None:
    import torch

    from benchmark.engines.torch.optimizer import TorchOptimizer

    parameter = torch.nn.Parameter(torch.ones(3, 3))
    TorchOptimizer(Optimizer(weight_decay=0.5), {"unused": parameter}).apply(0.1, 1, None)
    assert torch.equal(parameter.detach(), torch.ones(3, 3))


def test_an_overflow_of_float16_skips_the_step_and_halves_the_scale() -> None:
    import torch

    from benchmark.engines.torch.optimizer import TorchOptimizer

    parameter = torch.nn.Parameter(torch.ones(2, 2))
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    updates = TorchOptimizer(Optimizer(name="sgd", momentum=0.0, weight_decay=0.0, clip_norm=1.0), {"w": parameter})
    for factor, expected, scale in ((float("inf"), 1.0, 512.0), (3.0, 1 - 0.1 * 0.5, 512.0)):
        updates.forget_gradients()
        scaler.scale((parameter * factor).sum()).backward()
        updates.apply(0.1, 1, scaler)
        # the gradient is 3 everywhere, its norm 6, clipped to 1
        assert torch.allclose(parameter.detach(), torch.full((2, 2), expected))
        assert scaler.get_scale() == scale
