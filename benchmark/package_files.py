"""Files that come with an installed package, found without importing it."""

import importlib.util
from pathlib import Path


def files(package: str) -> Path:
    """Return the folder of a package, which is not imported: some look for the user's home as soon as they are.

    Raises:
        ModuleNotFoundError: it is not installed, or is no package with a folder.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"the package '{package}' is not installed", name=package)
    return Path(spec.submodule_search_locations[0])
