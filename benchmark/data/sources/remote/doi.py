"""Articles of figshare and records of Zenodo, by their DOI: pinned by version, every file checked by its MD5."""

import re
from pathlib import Path

from benchmark.data.sources.remote.base import About, Fetched, downloads
from benchmark.data.sources.remote.download import RemoteFile, fetch_files, get_json
from benchmark.errors import UserError
from benchmark.file_names import file_name

FIGSHARE = "https://api.figshare.com/v2"
ZENODO = "https://zenodo.org/api"
_FIGSHARE_DOI = re.compile(r"10\.\d{4,9}/(?:m9\.)?figshare\.(\d+)(?:\.v(\d+))?", re.IGNORECASE)
_ZENODO_DOI = re.compile(r"10\.5281/zenodo\.(\d+)", re.IGNORECASE)
_TEXTS = (".pdf", ".txt", ".md", ".html", ".docx")  # what no image set is made of


Publication = tuple[About, tuple[RemoteFile, ...]]  # what a repository says of a DOI: words and files


def fetch_doi(doi: str) -> Fetched:
    """Return the files of a DOI.

    Args:
        doi: such as ``10.6084/m9.figshare.1512427.v5`` or ``10.5281/zenodo.123456``.

    Raises:
        UserError: another repository's DOI, no network, no such article, a wrong hash.
    """
    folder = downloads(file_name(f"doi-{doi.lower()}", longest=200))
    page = f"https://doi.org/{doi}"
    kept = folder / "about.json"
    if kept.is_file():  # it is written when all files are there
        return Fetched(folder / "files", About.load(kept))
    by_hand = folder / "files"
    way_out = f"try again, or get the files from {page} by hand and give their folder with --data"
    if match := _FIGSHARE_DOI.fullmatch(doi):
        about, published = _figshare(match[1], match[2], doi, way_out)
    elif match := _ZENODO_DOI.fullmatch(doi):
        about, published = _zenodo(match[1], doi, way_out)
    else:
        raise UserError(
            f"The DOI {doi} is neither figshare's nor Zenodo's: get its files by hand, give their folder."
        )
    files = [file for file in published if not file.name.lower().endswith(_TEXTS)]
    if not files:
        raise UserError(f"The DOI {doi} ({page}) has no files but texts.")
    fetch_files(by_hand, files, page)
    about.save(kept)
    return Fetched(by_hand, about)


def _figshare(article: str, version: str | None, doi: str, way_out: str) -> Publication:
    path = f"{FIGSHARE}/articles/{article}" + (f"/versions/{version}" if version else "")
    answer = get_json(path, f"figshare article {article}", way_out)
    try:
        about = About(
            name=f"figshare-{article}",
            version=f"version {answer['version']}",
            licence=answer.get("license", {}).get("name", ""),
            citation=answer.get("citation") or f"{answer['title']}, figshare, doi:{doi}",
            page=f"https://doi.org/{doi}",
        )
        files = tuple(
            RemoteFile(_file_name(one["name"]), one["download_url"], int(one["size"]), f"md5:{one['computed_md5']}")
            for one in answer["files"]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"figshare's answer on article {article} can't be read ({error}): {way_out}.") from None
    return about, files


def _zenodo(record: str, doi: str, way_out: str) -> Publication:
    answer = get_json(f"{ZENODO}/records/{record}", f"Zenodo record {record}", way_out)
    try:
        metadata = answer["metadata"]
        creators = "; ".join(one["name"] for one in metadata.get("creators", []))
        about = About(
            name=f"zenodo-{record}",
            version=f"record {answer['id']}"
            + (f", version {metadata['version']}" if metadata.get("version") else ""),
            licence=metadata.get("license", {}).get("id", ""),
            citation=f"{creators}: {metadata['title']}, Zenodo, doi:{doi}",
            page=f"https://doi.org/{doi}",
        )
        files = tuple(
            RemoteFile(_file_name(one["key"]), one["links"]["self"], int(one["size"]), str(one["checksum"]))
            for one in answer["files"]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"Zenodo's answer on record {record} can't be read ({error}): {way_out}.") from None
    return about, files


def _file_name(name: str) -> str:
    """Return a file's name without folders: it must not lead out of the cache."""
    plain = Path(str(name).replace("\\", "/")).name
    if plain in ("", ".", ".."):
        raise ValueError(f"a file named '{name}'")
    return plain
