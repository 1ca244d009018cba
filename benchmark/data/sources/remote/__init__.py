"""Data by name: fetched once, pinned by version and hash, kept in the cache. :func:`fetch` gives the files."""

from benchmark.data.sources.remote.base import Fetched
from benchmark.data.sources.remote.known import KNOWN_SETS
from benchmark.errors import UserError

__all__ = ["KNOWN_SETS", "Fetched", "fetch", "is_remote"]

PREFIXES = ("kaggle:", "hf:", "doi:", "https://doi.org/", "10.")


def is_remote(spec: str) -> bool:
    """Return whether what a user wrote names data elsewhere: a known set, Kaggle, Hugging Face or a DOI."""
    return spec in KNOWN_SETS or spec.startswith(PREFIXES)


def fetch(spec: str) -> Fetched:
    """Return the files that a name stands for, fetching what is not at hand.

    Args:
        spec: a known set's name, ``kaggle:OWNER/NAME[/VERSION]``, ``hf:OWNER/NAME[@REVISION]``, or a DOI of figshare
            or Zenodo.

    Raises:
        UserError: no such data, no network, a wrong hash, a library that is missing.
    """
    if spec in KNOWN_SETS:
        return KNOWN_SETS[spec].fetch()
    kind, _, rest = spec.partition(":")
    if kind == "kaggle":
        from benchmark.data.sources.remote.kaggle import KaggleHandle

        return KaggleHandle.parse(rest).fetch()
    if kind == "hf":
        from benchmark.data.sources.remote.hugging_face import fetch_hugging_face

        return fetch_hugging_face(rest)
    from benchmark.data.sources.remote.doi import fetch_doi

    doi = spec.removeprefix("doi:").removeprefix("https://doi.org/")
    if not doi.startswith("10."):
        raise UserError(f"'{spec}' is no DOI: it begins with 10., such as 10.6084/m9.figshare.1512427.")
    return fetch_doi(doi)
