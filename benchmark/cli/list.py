"""The command ``list``: every backbone, with the weights at hand, and plug-ins that can't be used."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmark.cli.json_output import json_option, print_json
from benchmark.cli.shared_options import plugin_option
from benchmark.dependencies import how_to_install
from benchmark.errors import UserError
from benchmark.text import aligned, plain, shown

if TYPE_CHECKING:
    from backbones import Backbone


@click.command("list")
@json_option
@plugin_option
def list_command(as_json: bool, plugins: tuple[Path, ...]) -> None:
    """Show every backbone, with the weights at hand, and plug-ins that can't be used, with the reason."""
    from backbones.registry import load_registry

    registry = load_registry(plugins)
    entries = [_facts(registry.get(name)) for name in registry.names()]
    broken = [{"name": each.name, "origin": each.origin, "reason": each.reason} for each in registry.broken]
    if as_json:
        print_json({"backbones": entries, "broken": broken})
        return
    cells = [tuple(_cell(entry[column]) for column in _LISTED) for entry in entries]
    for line in aligned([tuple(_LISTED.values()), *cells]):
        click.echo(shown(line))
    click.echo(
        "\nAlso every model of two libraries: timm:NAME, keras:NAME. timm/resnet50 and timm:resnet50 are two rows:\n"
        "the first is declared above, with fixed weights, the second is what the installed timm makes of that name."
    )
    missing = sorted({module for name in registry.names() for module in registry.get(name).missing_modules()})
    if missing:
        click.echo(f"Not installed: {', '.join(missing)}. To train with them: {how_to_install(missing)}")
    for each in broken:
        click.echo(plain(f"Not usable: {each['name']} ({each['origin']}): {each['reason']}"))


# what `list` shows in its table, and how it is headed
_LISTED = {
    "name": "name",
    "framework": "framework",
    "library": "library",
    "input_size": "input",
    "parameters": "parameters",
    "stages": "stages",
    "weights": "weights",
    "note": "note",
}


def _cell(value: Any) -> str:
    """Return a fact as a cell: numbers above ten thousand in millions, empty where it is not known."""
    if value is None:
        return ""
    return f"{value / 1e6:.1f} M" if isinstance(value, int) and value >= 10_000 else str(value)


def _facts(entry: "Backbone") -> dict[str, Any]:
    """Return what ``list`` shows of a backbone."""
    try:
        at_hand = entry.local_weights() if entry.local_weights else None
        weights = "none"
        if at_hand is not None:
            weights = "at hand"
        elif entry.imagenet is not None:
            weights = "to fetch"
    except Exception as error:  # a plug-in's; it must not take the list along
        at_hand, weights = None, f"broken ({type(error).__name__}: {error})"
    missing = entry.missing_modules()
    note = entry.note
    if missing:
        note = f"not installed: {', '.join(missing)}" + (f"; {note}" if note else "")
    return {
        "name": entry.name,
        "framework": _executed_by(entry),
        "library": entry.library,
        "input_size": entry.input_size,
        "parameters": entry.parameters,
        "stages": entry.stage_count,
        "weights": weights,
        "imagenet": entry.imagenet,
        "weights_file": str(at_hand) if at_hand else None,
        "note": note,
        "origin": entry.origin,
    }


def _executed_by(entry: "Backbone") -> str:
    """Return the framework that executes a network, as boards name it; a plug-in's own where no engine runs it."""
    from benchmark.engines import engine_of
    from benchmark.records.settings import Settings

    try:
        return engine_of(entry, Settings().keras_backend)
    except UserError:
        return entry.framework
