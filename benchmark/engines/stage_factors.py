"""Learning rates by stage."""

from benchmark.recipe import Optimizer


def stage_factors(rule: Optimizer, stages: int) -> list[float]:
    """Return the factor on the learning rate of each of a network's stages, the head's last."""
    factors = [rule.layer_decay ** (stages - 1 - number) for number in range(stages)]
    factors[-1] *= rule.head_learning_rate_factor
    return factors
