"""Downloads that go on where they were cut, and count only when their hash is right."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.data.preparation.cache import locked
from benchmark.errors import UserError

_TIMEOUT_S = 30


@dataclass(frozen=True)
class RemoteFile:
    """One file elsewhere.

    Args:
        name: of the file.
        url: where it is served.
        size: in bytes.
        hash: ``sha256:`` or ``md5:`` with hex digits; ``None`` where it was never published, and the size must do.
    """

    name: str
    url: str
    size: int
    hash: str | None


def fetch_files(folder: Path, files: Sequence[RemoteFile], page: str) -> None:
    """Fetch the files that are not in a folder yet.

    Args:
        folder: where they are kept; who has no network puts them there by hand.
        files: their names are kept.
        page: where people find them.

    Raises:
        UserError: no network, a wrong hash, no space.
    """
    with locked(folder):
        for file in files:
            if not is_complete(folder, file):
                _fetch(file, folder, page)


def is_complete(folder: Path, file: RemoteFile) -> bool:
    """Return whether a file is there: its hash was right when it got its name."""
    path = folder / file.name
    return path.is_file() and path.stat().st_size == file.size


def _fetch(file: RemoteFile, folder: Path, page: str) -> None:
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")  # the bar shows what is fetched
    try:
        pooch.retrieve(
            file.url,
            known_hash=file.hash,
            fname=file.name,
            path=folder,
            downloader=_Resuming(folder / f"{file.name}.part", file),
        )
    except requests.RequestException as error:
        raise UserError(
            f"'{file.name}' can't be fetched from {file.url} ({type(error).__name__}): try again and it goes on "
            f"where it stopped, or get the files from {page} by hand and put them into '{folder}'."
        ) from None
    except ValueError:  # pooch's word for a wrong hash
        raise UserError(f"'{file.name}' from {file.url} has a wrong hash and was thrown away: try again.") from None
    except OSError as error:
        raise UserError(f"'{file.name}' can't be written to '{folder}' ({error.strerror or error}).") from None


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
                for chunk in response.iter_content(2**14):
                    stream.write(chunk)
                    progress.advance(task, len(chunk))
        if self.part.stat().st_size < self.file.size:
            raise requests.ConnectionError(f"{self.file.name} was cut")
        self.part.replace(output_file)
        return None


def get_json(url: str, what: str, way_out: str) -> Any:
    """Return what a service answers.

    Args:
        url: of the request.
        what: is looked up, for messages.
        way_out: what to do without an answer, the end of a sentence.

    Raises:
        UserError: no network, no such thing, no JSON.
    """
    import requests

    try:
        response = requests.get(url, timeout=_TIMEOUT_S, headers={"Accept": "application/json"})
        if response.status_code == requests.codes.not_found:
            raise UserError(f"There is no {what} ({url} answers 404).")
        response.raise_for_status()
        return response.json()
    except (requests.RequestException, ValueError) as error:
        raise UserError(f"{what} can't be looked up at {url} ({type(error).__name__}): {way_out}.") from None
