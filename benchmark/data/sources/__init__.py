"""Sources: where images come from. :func:`open_source` turns what a user wrote into one."""

from pathlib import Path

from benchmark.data.sources.base import Source
from benchmark.errors import UserError, nearest

__all__ = ["Source", "open_source"]

EMBEDDED = "phantom"
DOWNLOADED = "cheng"


def open_source(spec: str) -> Source:
    """Return the source that ``spec`` names.

    Args:
        spec: ``phantom`` (simulated, needs nothing), ``cheng`` (fetched from figshare), a folder or ``.zip`` file of
            images or of Cheng's slices, or a ``.csv`` or ``.parquet`` manifest.

    Raises:
        UserError: nothing of that name, or not a kind of data that can be read.
    """
    path = Path(spec).expanduser()
    if spec == EMBEDDED:
        from benchmark.data.sources.phantom import PhantomSource

        return PhantomSource(seed=0)
    if spec == DOWNLOADED:
        from benchmark.data.sources.cheng import ChengSource
        from benchmark.data.sources.cheng_download import fetch_cheng

        return ChengSource(fetch_cheng())
    if not path.exists():
        raise UserError(
            f"Data source '{spec}' does not exist.{nearest(spec, (EMBEDDED, DOWNLOADED))} Give '{EMBEDDED}', "
            f"'{DOWNLOADED}', or the path of a folder, a .zip file or a manifest (.csv, .parquet)."
        )
    return _of_path(path, spec)


def _of_path(path: Path, spec: str) -> Source:
    from benchmark.data.sources.archive import ZipSource
    from benchmark.data.sources.cheng import ChengSource
    from benchmark.data.sources.folder import FolderSource
    from benchmark.data.sources.manifest import MANIFESTS, ManifestSource

    kind = path.suffix.lower()
    if path.is_dir() or kind == ".zip":
        if ChengSource.recognises(path):
            return ChengSource(path)
        return FolderSource(path) if path.is_dir() else ZipSource(path)
    if kind in MANIFESTS:
        return ManifestSource(path)
    raise UserError(f"Data source '{spec}' is neither a folder, a .zip file nor a manifest (.csv, .parquet).")
