"""Recipes by name: those that come with the package, and files of the user's own."""

import tomllib
from pathlib import Path

from benchmark.errors import UserError, nearest
from benchmark.recipe.whole import Recipe, validated

SHIPPED = Path(__file__).parents[1] / "recipes"


def shipped_names() -> tuple[str, ...]:
    """Return the names of the recipes that come with the package."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.toml")))


def load_recipe(name: str) -> Recipe:
    """Return a shipped recipe by name, or one from a ``.toml`` file by path.

    Raises:
        UserError: no such recipe, not TOML, or a field that is not allowed.
    """
    if name in shipped_names():
        text, where = (SHIPPED / f"{name}.toml").read_text(encoding="utf-8"), f"recipe '{name}'"
    elif name.endswith(".toml"):
        try:
            text, where = Path(name).read_text(encoding="utf-8"), f"recipe file '{name}'"
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"Recipe file '{name}' can't be read: {error}.") from None
    else:
        raise UserError(
            f"Unknown recipe '{name}'.{nearest(name, shipped_names())} "
            f"Known: {', '.join(shipped_names())}; or give the path of a .toml file."
        )
    try:
        return validated(tomllib.loads(text), where)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"In {where}: {error}.") from None
