"""The recipe: every training choice, as data.

A recipe is a frozen, validated record read from TOML. Nothing that changes a result lives elsewhere, so the
resolved recipe is part of a run's identity.
"""

from benchmark.recipe.augmentation import Augmentation
from benchmark.recipe.recipe import SHIPPED, Recipe, dotted_fields, field_names, load_recipe, shipped_names
from benchmark.recipe.sections import (
    BatchNorm,
    EarlyStopping,
    Ema,
    Execution,
    Flips,
    Head,
    Loss,
    Optimizer,
    Regularization,
    Schedule,
)

__all__ = [
    "SHIPPED",
    "Augmentation",
    "BatchNorm",
    "EarlyStopping",
    "Ema",
    "Execution",
    "Flips",
    "Head",
    "Loss",
    "Optimizer",
    "Recipe",
    "Regularization",
    "Schedule",
    "dotted_fields",
    "field_names",
    "load_recipe",
    "shipped_names",
]
