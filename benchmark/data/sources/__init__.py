"""Sources: where images come from. :func:`open_source` turns what a user wrote into one."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from benchmark.data.sources.base import Source
from benchmark.errors import UserError, nearest

if TYPE_CHECKING:
    from benchmark.data.sources.tree import FileTree

__all__ = ["Kind", "Source", "is_plain_tree", "kind_of", "open_source"]

EMBEDDED = "phantom"
Kind = Literal["named", "absent", "manifest", "tree", "other"]


def _is_named(spec: str) -> bool:
    """Return whether what a user wrote is a name of data, embedded or elsewhere, rather than a path."""
    from benchmark.data.sources import remote

    is_set = spec == EMBEDDED or spec in remote.KNOWN_SETS
    return is_set or (remote.is_remote(spec) and not Path(spec).expanduser().exists())


def kind_of(spec: str) -> Kind:
    """Return what a user's words stand for: data by name, nothing, a manifest, a folder or zip file, another file."""
    path = Path(spec).expanduser()
    if _is_named(spec):
        return "named"
    return _kind_of_path(path) if path.exists() else "absent"


def _kind_of_path(path: Path) -> Literal["manifest", "tree", "other"]:
    from benchmark.data.sources.manifest_table import MANIFESTS

    kind = path.suffix.lower()
    if path.is_file() and kind in MANIFESTS:
        return "manifest"
    return "tree" if path.is_dir() or kind == ".zip" else "other"


def open_source(spec: str) -> Source:
    """Return the source that ``spec`` names.

    Args:
        spec: ``phantom`` (simulated, needs nothing); a folder or ``.zip`` file of images or of Cheng's slices, or a
            ``.csv`` or ``.parquet`` manifest; or data that is fetched: a known set's name such as ``cheng``,
            ``kaggle:OWNER/NAME[/VERSION]``, ``hf:OWNER/NAME[@REVISION]``, a DOI of figshare or Zenodo.

    Raises:
        UserError: nothing of that name, or not a kind of data that can be read; see also
            :func:`benchmark.data.sources.remote.fetch`.
    """
    from benchmark.data.sources import remote

    path = Path(spec).expanduser()
    if spec == EMBEDDED:
        from benchmark.data.sources.phantom import PhantomSource

        return PhantomSource(seed=0)
    kind = kind_of(spec)
    if kind == "named":
        from benchmark.data.sources.remote.base import PublishedSource

        fetched = remote.fetch(spec)
        return PublishedSource(_of_path(fetched.path, str(fetched.path)), fetched)
    if kind == "absent":
        names = (EMBEDDED, *remote.KNOWN_SETS)
        raise UserError(
            f"Data source '{spec}' does not exist.{nearest(spec, names)} Give the path of a folder, a .zip file or a "
            f"manifest (.csv, .parquet); a name ({', '.join(names)}); kaggle:OWNER/NAME, hf:OWNER/NAME, or a DOI."
        )
    return _of_path(path, spec)


def _of_path(path: Path, spec: str) -> Source:
    from benchmark.data.sources.cheng import ChengSource
    from benchmark.data.sources.folder import FolderSource
    from benchmark.data.sources.manifest import ManifestSource
    from benchmark.data.sources.tree import FileTree

    kind = _kind_of_path(path)
    if kind == "manifest":
        return ManifestSource(path)
    if kind == "other":
        raise UserError(f"Data source '{spec}' is neither a folder, a .zip file nor a manifest (.csv, .parquet).")
    tree = FileTree(path)
    table = _manifest_in(tree.files)
    if table is not None:
        return ManifestSource(path, tree, table)
    return ChengSource(tree) if ChengSource.recognises(tree) else FolderSource(tree)


def is_plain_tree(tree: "FileTree") -> bool:
    """Return whether a folder or zip file holds image files alone, and neither a manifest nor Cheng's slices."""
    from benchmark.data.sources.cheng import ChengSource

    return _manifest_in(tree.files) is None and not ChengSource.recognises(tree)


def _manifest_in(files: tuple[str, ...]) -> str | None:
    """Return the table named ``manifest`` that lies above all other files; ``None`` where there is none."""
    tables = [file for file in files if file.rpartition("/")[2].lower() in ("manifest.csv", "manifest.parquet")]
    if not tables:
        return None
    table = min(tables, key=lambda file: (file.count("/"), file))
    folder = table.rpartition("/")[0]
    return table if all(file.startswith(f"{folder}/" if folder else "") for file in files) else None
