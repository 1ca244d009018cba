"""What a row's recipe is called: recipes of one name that differ are told apart by what differs."""

from collections.abc import Sequence
from typing import Any

from benchmark.grouping import dotted
from benchmark.reporting.board.rows import Result


def recipe_labels(results: Sequence[Result]) -> dict[str, str]:
    """Name each row's recipe. Rows that would look alike are told apart by the fields in which they differ."""
    alike: dict[tuple[Any, ...], dict[str, Result]] = {}
    for result in results:
        record = result.record
        backbone, data = record.backbone, record.data
        shown_as = backbone.name, backbone.framework, record.recipe_name, data.name, result.split
        alike.setdefault(shown_as, {}).setdefault(result.row_key, result)
    labels: dict[str, str] = {}
    for rows in alike.values():
        asked = {key: result.record.identity.get("recipe") for key, result in rows.items()}
        recipes = {key: dotted(recipe) if isinstance(recipe, dict) else {} for key, recipe in asked.items()}
        fields = sorted({name for recipe in recipes.values() for name in recipe})
        differing = [name for name in fields if len({str(recipe.get(name)) for recipe in recipes.values()}) > 1]
        for key, result in rows.items():
            difference = ", ".join(f"{name}={recipes[key].get(name)}" for name in differing)
            labels[key] = f"{result.record.recipe_name} ({difference})" if difference else result.record.recipe_name
    return labels
