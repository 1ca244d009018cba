"""Recipes by name: those that come with the package, and files of the user's own."""

from pathlib import Path

from benchmark.errors import UserError, nearest
from benchmark.recipe.recipe import Recipe, validated
from benchmark.toml_files import read_toml

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
        path, where = SHIPPED / f"{name}.toml", f"recipe '{name}'"
    elif name.endswith(".toml"):
        path, where = Path(name), f"recipe file '{name}'"
    else:
        raise UserError(
            f"Unknown recipe '{name}'.{nearest(name, shipped_names())} "
            f"Known: {', '.join(shipped_names())}; or give the path of a .toml file."
        )
    return validated(read_toml(path, f"Recipe file '{name}'", where), where)
