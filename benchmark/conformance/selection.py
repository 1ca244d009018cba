"""Which backbones a user means: registered names, library names, or files that declare some."""

from collections.abc import Sequence
from pathlib import Path

from backbones import Backbone
from benchmark.dependencies import require_posix
from benchmark.errors import UserError
from benchmark.execution.planning.suite_expansion import find_backbone
from benchmark.plugins import plugin_files, registry_with


def find_backbones(
    asked: Sequence[str], plugins: Sequence[Path], *, everything: bool
) -> tuple[list[Backbone], tuple[Path, ...]]:
    """Return the backbones that are meant, and the plug-in files that are needed to load them.

    Args:
        asked: names (``timm:NAME`` and ``keras:NAME`` too) or ``.py`` files, each meaning all that it declares.
        plugins: further plug-in files.
        everything: whether all registered backbones are meant.

    Raises:
        UserError: nothing asked for, an unknown name, a file that can't be imported, or a system on which nothing
            can be checked.
    """
    require_posix()
    files = [Path(name) for name in asked if name.endswith(".py")]
    needed = plugin_files((*files, *plugins))
    registry = registry_with(needed)
    backbones = [registry.get(name) for name in registry.names()] if everything else []
    backbones += [
        b for b in map(registry.get, registry.names()) if b.origin in {str(path.resolve()) for path in files}
    ]
    for name in asked:
        if not name.endswith(".py"):
            backbones.append(find_backbone(registry, name))
    if not backbones:
        raise UserError("Name a backbone or a .py file to check, or give --all.")
    return list({backbone.name: backbone for backbone in backbones}.values()), needed
