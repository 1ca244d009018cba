"""The commands ``recipe`` and ``suite``: what is shipped, and what is in it."""

from typing import TYPE_CHECKING

import click

from benchmark.text import plain

if TYPE_CHECKING:
    from benchmark.recipe import Recipe


@click.command("recipe")
@click.argument("name", required=False)
@click.option("--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Change a field first.")
def recipe_command(name: str | None, settings: tuple[str, ...]) -> None:
    """Print a recipe in full as TOML, shipped or from a .toml file; without a name, list the shipped ones."""
    from benchmark.execution.planning.request import parse_setting
    from benchmark.recipe import load_recipe, shipped_names

    if name is None:
        for shipped in shipped_names():
            click.echo(shipped)
        return
    recipe = load_recipe(name).with_values(dict(parse_setting(text) for text in settings))
    click.echo(as_toml(recipe), nl=False)


@click.command("suite")
@click.argument("name", required=False)
def suite_command(name: str | None) -> None:
    """Show the entries of a suite, shipped or from a .toml file; without a name, the shipped suites."""
    from benchmark.recipe.suite import load_suite, suite_names

    if name is None:
        for shipped in suite_names():
            click.echo(f"{shipped}: {load_suite(shipped).about}")
        return
    suite = load_suite(name)
    click.echo(plain(suite.about))
    for entry in suite.entries:
        facts = [", ".join(entry.backbones or suite.backbones or ())]
        facts += [f"continues from '{entry.init_from}'"] if entry.init_from else []
        facts += ["for a GPU, or --limit"] if entry.gpu else []
        facts += [entry.note] if entry.note else []
        click.echo(plain(f"{entry.name}: {'; '.join(facts)}"))


def as_toml(recipe: "Recipe") -> str:
    """Return a recipe as TOML that reads back as the same recipe.

    TOML has no word for nothing: a field that is ``None`` is left out, which is what its absence means, and
    named in a comment.
    """
    import tomli_w

    from benchmark.recipe import dotted_fields

    unset = [name for name, value in dotted_fields(recipe.model_dump(mode="json")).items() if value is None]
    comment = f"\n# Not set: {', '.join(unset)}\n" if unset else ""
    return tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True)) + comment
