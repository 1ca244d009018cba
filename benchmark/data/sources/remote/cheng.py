"""Fetching Cheng's files from figshare: the four archives and the folds, pinned by id, size and SHA-256."""

import csv
from functools import lru_cache
from pathlib import Path

from benchmark.data.sources.cheng_numbers import CITATION, LICENCE
from benchmark.data.sources.remote.base import About, Fetched, downloads
from benchmark.data.sources.remote.download import RemoteFile, fetch_files, is_complete

HOST = "https://ndownloader.figshare.com"
PAGE = "https://doi.org/10.6084/m9.figshare.1512427"
_ABOUT = About("cheng", "figshare article 1512427", LICENCE, CITATION, PAGE)
_SUFFIXES = (".zip", ".mat")


@lru_cache(maxsize=1)
def cheng_files() -> tuple[RemoteFile, ...]:
    """Return the files that make the data set."""
    with Path(__file__).with_name("cheng_files.csv").open(encoding="utf-8", newline="") as stream:
        lines = [line for line in csv.DictReader(stream) if line["file"].endswith(_SUFFIXES)]
    return tuple(
        RemoteFile(
            line["file"],
            f"{HOST}/files/{line['figshare_file_id']}",
            int(line["bytes"]),
            f"sha256:{line['sha256']}" if line["sha256"] else None,
        )
        for line in lines
    )


def fetch_cheng() -> Fetched:
    """Return a folder with the data set's files; errors as :func:`fetch_files`."""
    folder = downloads("cheng")
    fetch_files(folder, cheng_files(), PAGE)
    return Fetched(folder, _ABOUT)


def cheng_at_hand() -> bool:
    """Return whether nothing has to be fetched."""
    return all(is_complete(downloads("cheng"), file) for file in cheng_files())
