"""Sources: where images come from. :func:`open_source` turns what a user wrote into one."""

from pathlib import Path

from benchmark.data.sources.base import Source
from benchmark.errors import UserError

__all__ = ["Source", "open_source"]


def open_source(spec: str) -> Source:
    """Return the source that ``spec`` names: ``phantom``, a folder, or a ``.zip`` file.

    Raises:
        UserError: nothing of that name, or not a kind of data that can be read.
    """
    if spec == "phantom":
        from benchmark.data.sources.phantom import PhantomSource

        return PhantomSource(seed=0)
    path = Path(spec).expanduser()
    if path.is_dir():
        from benchmark.data.sources.folder import FolderSource

        return FolderSource(path)
    if not path.exists():
        raise UserError(
            f"Data source '{spec}' does not exist: give 'phantom', or the path of a folder or a .zip file."
        )
    if path.suffix.lower() == ".zip":
        from benchmark.data.sources.archive import ZipSource

        return ZipSource(path)
    raise UserError(f"Data source '{spec}' is neither a folder nor a .zip file.")
