"""What was computed of runs and rows before, kept in this user's cache: what did not change is not computed again.

An entry is named by a hash of all that it follows from: the predictions and images, the question, and the code that
answers it. So it needs no date, and may be deleted at any time. Nothing in it is executed: NumPy arrays read without
pickle, and JSON. It is trusted like all of the cache, which nobody else may write to.
"""

import hashlib
import itertools
import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.atomic_files import written_file
from benchmark.data.preparation.cache import cache_root, make_folder
from benchmark.errors import UserError
from benchmark.package_files import files
from benchmark.version import __version__

FOLDER = "statistics"
_MOST, _MOST_BYTES = 50_000, 2 * 2**30  # entries; beyond, the oldest are removed
_PACKAGES = ("benchmark.evaluation", "benchmark.data", "benchmark.records")  # whose code statistics follow from
_IMPORTED = re.compile(rb"^[ \t]*(?:from|import) (benchmark[.\w]*)(?: import (\([^)]*|[\w, ]+))?", re.MULTILINE)
Entry = tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]  # JSON values, and arrays by name


class KeptStatistics:
    """Entries by key.

    Args:
        folder: where they lie; ``None`` keeps and finds nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._hashes: dict[int, tuple[npt.NDArray[Any], bytes]] = {}

    @classmethod
    def of_user(cls) -> "KeptStatistics":
        """Return those of this user's cache; none where there is no cache that this user alone may write to."""
        with suppress(UserError):
            folder = make_folder(make_folder(cache_root()) / FOLDER)
            return cls(folder)
        return cls(None)

    def key(self, *parts: Any, code: tuple[str, ...] = ()) -> str:
        """Return the name of what follows from some values: arrays, and what JSON can say.

        Args:
            code: packages from whose code it follows, besides those of statistics; what they import counts too.
        """
        made = hashlib.sha256(_code(code).encode())
        for part in parts:
            if isinstance(part, np.ndarray):
                made.update(self._hash(part))
            else:
                made.update(json.dumps(part, sort_keys=True, default=str).encode())
            made.update(b"\n")
        return made.hexdigest()

    def _hash(self, array: npt.NDArray[Any]) -> bytes:
        """Return a hash of an array; many runs share one."""
        entry = self._hashes.get(id(array))
        if entry is None or entry[0] is not array:
            content = np.ascontiguousarray(array)
            made = hashlib.sha256(f"{content.dtype.str} {content.shape}".encode())
            made.update(content.view(np.uint8).reshape(-1).data if content.size else b"")
            entry = self._hashes[id(array)] = array, made.digest()
        return entry[1]

    def number_of(self, arrays: Sequence[npt.NDArray[Any]]) -> int:
        """Return a number below 2^63 that follows from the content of arrays alone."""
        made = hashlib.sha256(b"".join(self._hash(array) for array in arrays)).digest()
        return int.from_bytes(made[:8], "big") >> 1

    def find(self, key: str) -> Entry | None:
        """Return an entry, ``None`` where there is none that is whole."""
        if self._folder is None:
            return None
        try:
            with np.load(self._path(key), allow_pickle=False) as kept:
                arrays = {name: kept[name] for name in kept.files}
            return json.loads(arrays.pop("json").tobytes()), arrays
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def keep(self, key: str, values: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Keep an entry; where it can't be written it is not kept."""
        if self._folder is None:
            return
        text = np.frombuffer(json.dumps(values).encode(), dtype=np.uint8)
        with suppress(OSError), self._written(self._path(key)) as unfinished:
            np.savez(unfinished, allow_pickle=False, json=text, **arrays)

    def find_values(self, key: str) -> dict[str, Any] | None:
        """Return the values of an entry without arrays, ``None`` where there is none that is whole."""
        if self._folder is None:
            return None
        try:
            values = json.loads(self._path(key, "json").read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        return values if isinstance(values, dict) else None

    def keep_values(self, key: str, values: Mapping[str, Any]) -> None:
        """Keep an entry without arrays; where it can't be written it is not kept."""
        if self._folder is not None:
            with suppress(OSError), self._written(self._path(key, "json")) as unfinished:
                unfinished.write_text(json.dumps(values), encoding="utf-8")

    @staticmethod
    @contextmanager
    def _written(path: Path) -> Iterator[Path]:
        """Give a file to fill that becomes an entry; raises ``OSError`` where it can't be written."""
        path.parent.mkdir(mode=0o755, exist_ok=True)
        with written_file(path, durable=False) as unfinished:  # what is half can't be read, and is computed again
            yield unfinished

    def tidy(self) -> None:
        """Remove the oldest entries where there are very many, or they take very much."""
        if self._folder is None:
            return
        with suppress(OSError):
            entries = [(path, path.stat()) for path in self._folder.glob("*/*.*")]
            entries.sort(key=lambda entry: -entry[1].st_mtime)
            sizes = itertools.accumulate(status.st_size for _, status in entries)
            for number, ((path, _), size) in enumerate(zip(entries, sizes, strict=True)):
                if number >= _MOST or size > _MOST_BYTES:
                    path.unlink(missing_ok=True)

    def _path(self, key: str, kind: str = "npz") -> Path:
        assert self._folder is not None
        return self._folder / key[:2] / f"{key}.{kind}"


NOTHING_KEPT = KeptStatistics(None)


@cache
def _code(further: tuple[str, ...]) -> str:
    """Return a hash of the code of statistics and of further packages, of all of this package that it imports, and of
    the libraries that it computes with.
    """
    import scipy

    made = hashlib.sha256(f"{__version__} {np.__version__} {scipy.__version__}".encode())
    sources = {source for package in _PACKAGES for source in files(package).rglob("*.py")}
    sources |= {source for package in further for source in files(package).glob("*.py")}
    for source, content in sorted(_with_imports(sources, files("benchmark")).items()):
        made.update(source.name.encode() + content)
    return made.hexdigest()


def _with_imports(sources: Iterable[Path], root: Path) -> dict[Path, bytes]:
    """Return the content of some modules, and of all modules below ``root`` that these import, and so on."""
    contents: dict[Path, bytes] = {}
    waiting = list(sources)
    while waiting:
        source = waiting.pop()
        if source not in contents:
            contents[source], imported = _read(source, root)
            waiting += imported
    return contents


@cache
def _read(source: Path, root: Path) -> tuple[bytes, tuple[Path, ...]]:
    """Return the content of a module, and the modules below ``root`` that it may import."""
    content = source.read_bytes()
    places = []
    for module, names in _IMPORTED.findall(content):
        names_of_module = module.decode().split(".")[1:]
        rooms = [root.joinpath(*names_of_module[:length]) for length in range(1, len(names_of_module) + 1)]
        inside = rooms[-1] if rooms else root
        places += [*rooms, *(inside / name.decode() for name in re.findall(rb"\w+", names))]
    candidates = (file for place in places for file in (place.with_suffix(".py"), place / "__init__.py"))
    return content, tuple(file for file in candidates if file.is_file())
