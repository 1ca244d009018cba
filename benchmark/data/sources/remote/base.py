"""Data that was fetched, and the source that it becomes."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

from benchmark.atomic_files import written_file
from benchmark.data.preparation.cache import cache_root
from benchmark.data.sources.base import Item, Loaded, Source, SourceFacts
from benchmark.errors import UserError


@dataclass(frozen=True)
class About:
    """What is to be said of published data.

    Args:
        name: short, for folders and tables.
        version: that was fetched, as its publisher calls it.
        licence: under which it is given; empty where the publisher does not say.
        citation: what to cite.
        page: where people find it.
    """

    name: str
    version: str
    licence: str
    citation: str
    page: str

    def save(self, path: Path) -> None:
        """Write it as JSON, so that it is known without a network."""
        with written_file(path) as unfinished:
            unfinished.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "About":
        """Read what :meth:`save` wrote; raises ``UserError`` where it can't."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"'{path}' can't be read ({error}): remove it, and it is fetched again.") from None


@dataclass(frozen=True)
class Fetched:
    """Files at hand.

    Args:
        path: a folder, a zip file or a manifest.
        about: what is to be said of them.
        notes: what a user must know.
        images: how many there must be; ``None`` where that is not known.
    """

    path: Path
    about: About
    notes: tuple[str, ...] = ()
    images: int | None = None


def downloads(name: str) -> Path:
    """Return where files of a name are kept in the cache."""
    return cache_root() / "downloads" / name


class PublishedSource:
    """A source with the licence, citation and version of what was published.

    Args:
        files: reads the images.
        fetched: where they are from.
    """

    def __init__(self, files: Source, fetched: Fetched) -> None:
        self.files = files
        self.about = fetched.about
        self._notes = fetched.notes
        self._images = fetched.images

    @property
    def items(self) -> Sequence[Item]:
        """The images."""
        return self.files.items

    @cached_property
    def facts(self) -> SourceFacts:
        """The files', with what was published: name, licence, citation, and the version that was fetched."""
        about, files = self.about, self.files.facts
        notes = [f"fetched from {about.page}, {about.version}", *self._notes]
        if self._images not in (None, len(self.items)):
            notes.append(
                f"{len(self.items)} images, and {self._images} are known of this set: it may be another release"
            )
        return replace(
            files,
            name=about.name,
            licence=about.licence or files.licence,
            citation=about.citation or files.citation,
            notes=(*notes, *files.notes),
        )

    def signature(self) -> str:
        """Return the files' signature."""
        return self.files.signature()

    def load(self, index: int) -> Loaded:
        """Read and decode one image."""
        return self.files.load(index)
