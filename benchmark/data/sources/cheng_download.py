"""Fetching the Cheng data set: resumable, verified, into the cache."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.data.preparation.cache import cache_root, locked
from benchmark.errors import UserError

HOST = "https://ndownloader.figshare.com"
PAGE = "https://doi.org/10.6084/m9.figshare.1512427"
_FACTS = Path(__file__).with_name("cheng_files.csv")
_WANTED = (".zip", ".mat")
_TIMEOUT_S = 30


@dataclass(frozen=True)
class RemoteFile:
    """One file of the article.

    Args:
        name: of the file.
        file_id: figshare's.
        size: in bytes.
        sha256: 64 hex digits, ``None`` where it was never published.
    """

    name: str
    file_id: str
    size: int
    sha256: str | None


def remote_files() -> tuple[RemoteFile, ...]:
    """Return the files that make the data set: four archives and the folds."""
    with _FACTS.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["file"].endswith(_WANTED)]
    return tuple(
        RemoteFile(row["file"], row["figshare_file_id"], int(row["bytes"]), row["sha256"] or None) for row in rows
    )


def fetch_cheng(cache: Path | None = None, host: str = HOST, files: tuple[RemoteFile, ...] | None = None) -> Path:
    """Return a folder with the data set's files, fetching those that are not there yet.

    A download that was cut goes on where it stopped; a file counts only when its SHA-256 is right (for the folds,
    of which none is published, when its size is).

    Args:
        cache: the folder of all caches.
        host: serves ``/files/<id>``.
        files: other than the article's.

    Raises:
        UserError: no network, a wrong checksum, no space.
    """
    folder = cache_root(cache) / "downloads" / "cheng"
    with locked(folder):
        for file in files or remote_files():
            if not _complete(folder / file.name, file):
                _fetch(file, host, folder)
    return folder


def _complete(path: Path, file: RemoteFile) -> bool:
    return path.is_file() and path.stat().st_size == file.size  # its hash was right when it got this name


def _fetch(file: RemoteFile, host: str, folder: Path) -> None:
    import pooch
    import requests

    url = f"{host}/files/{file.file_id}"
    try:
        pooch.retrieve(
            url,
            known_hash=f"sha256:{file.sha256}" if file.sha256 else None,
            fname=file.name,
            path=folder,
            downloader=_Resuming(folder / f"{file.name}.part", file),
        )
    except requests.RequestException as error:
        raise UserError(
            f"'{file.name}' can't be fetched from {url} ({type(error).__name__}): try again and it goes on where it "
            f"stopped, or get the files from {PAGE} by hand and give their folder with --data."
        ) from None
    except ValueError:  # pooch's word for a wrong hash
        raise UserError(f"'{file.name}' from {url} has a wrong SHA-256 and was thrown away: try again.") from None


class _Resuming:
    """A downloader for pooch that goes on with what an earlier attempt left, by HTTP range requests.

    Args:
        part: where the unfinished file is kept.
        file: what is fetched.
    """

    def __init__(self, part: Path, file: RemoteFile) -> None:
        self.part = part
        self.file = file

    def __call__(self, url: str, output_file: str, pooch: Any, check_only: bool = False) -> bool | None:
        import requests
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        if check_only:
            return bool(requests.head(url, timeout=_TIMEOUT_S, allow_redirects=True).ok)
        have = self.part.stat().st_size if self.part.exists() else 0
        if have >= self.file.size:  # a finished part was refused before
            have = 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        columns = (TextColumn(self.file.name), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        console = Console(stderr=True)
        with (
            requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as response,
            Progress(*columns, console=console, disable=not console.is_terminal) as progress,
        ):
            response.raise_for_status()
            if response.status_code != requests.codes.partial_content:
                have = 0  # the server sends the whole file
            task = progress.add_task(self.file.name, total=self.file.size, completed=have)
            with self.part.open("ab" if have else "wb") as stream:
                for chunk in response.iter_content(2**16):
                    stream.write(chunk)
                    progress.advance(task, len(chunk))
        if self.part.stat().st_size < self.file.size:
            raise requests.ConnectionError(f"{self.file.name} was cut")
        self.part.replace(output_file)
        return None
