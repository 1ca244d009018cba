"""Data sets of Kaggle, through kagglehub (the extra ``kaggle``): pinned by version, checked by Kaggle's own MD5."""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from benchmark.data.sources.remote.base import About, Fetched, downloads
from benchmark.errors import UserError

_HANDLE = re.compile(r"([\w-]+)/([\w.-]+?)(?:/(?:versions/)?(\d+))?")
_CACHE_VARIABLE = "KAGGLEHUB_CACHE"


@dataclass(frozen=True)
class KaggleHandle:
    """A data set of Kaggle.

    Args:
        owner, name: as in its address.
        version: ``None`` is the newest, which may change.
    """

    owner: str
    name: str
    version: int | None = None

    @classmethod
    def parse(cls, text: str) -> "KaggleHandle":
        """Return ``OWNER/NAME[/VERSION]`` as a handle; raises ``UserError`` for anything else."""
        match = _HANDLE.fullmatch(text)
        if match is None:
            raise UserError(f"'kaggle:{text}' names no data set of Kaggle: give kaggle:OWNER/NAME or with /VERSION.")
        return cls(match[1], match[2], int(match[3]) if match[3] else None)

    def __str__(self) -> str:
        version = "" if self.version is None else f"/versions/{self.version}"
        return f"{self.owner}/{self.name}{version}"

    @property
    def page(self) -> str:
        """Where people find it."""
        return f"https://www.kaggle.com/datasets/{self.owner}/{self.name}"

    @property
    def by_hand(self) -> Path:
        """Where ``archive.zip`` is looked for when somebody fetched it by hand."""
        version = "" if self.version is None else f"-{self.version}"
        return downloads("kaggle") / f"{self.owner}-{self.name}{version}.zip"

    def at_hand(self) -> Path | None:
        """Return the files, where nothing has to be fetched: put there by hand, or in kagglehub's cache."""
        if self.by_hand.is_file():
            return self.by_hand
        kept = Path(os.environ.get(_CACHE_VARIABLE) or os.path.expanduser("~/.cache/kagglehub"))  # noqa: PTH111 (Path raises without a home)
        folder = kept / "datasets" / self.owner / self.name
        if self.version is None:  # the newest is looked up: it may have changed
            return None
        complete = (folder / f"{self.version}.complete").is_file()
        return folder / "versions" / str(self.version) if complete else None

    def fetch(self, about: About | None = None) -> Fetched:
        """Return the files, fetched where they are not at hand.

        Args:
            about: what is known of the data set; by default its name and address.

        Raises:
            UserError: no network, no such data set, kagglehub is missing.
        """
        path = self.at_hand() or self._download()
        version = path.name if path.is_dir() else str(self.version or "of unknown version")
        about = about or About(f"{self.name}-{version}", "", "", f"Kaggle, {self.page}", self.page)
        unpinned = () if self.version else (f"the newest version is taken: pin it by kaggle:{self}/{version}",)
        return Fetched(path, replace(about, version=f"version {version}"), unpinned)

    def _download(self) -> Path:
        self.by_hand.parent.mkdir(parents=True, exist_ok=True)
        way_out = f"or get archive.zip from {self.page} by hand and put it there as '{self.by_hand}'"
        try:
            import kagglehub  # type: ignore[import-untyped]
        except ImportError:
            raise UserError(
                f"'kaggle:{self}' needs kagglehub: pip install 'tumorboard[kaggle]', {way_out}."
            ) from None
        try:
            return Path(kagglehub.dataset_download(str(self)))
        except Exception as error:  # kagglehub raises its own, of requests, and of zipfile
            reason = str(error).strip().partition("\n")[0][:160].rstrip(".") or "no answer"
            raise UserError(
                f"'kaggle:{self}' can't be fetched ({type(error).__name__}: {reason}): try again and it goes on "
                f"where it stopped, {way_out}."
            ) from None
