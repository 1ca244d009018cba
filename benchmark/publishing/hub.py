"""Hugging Face: a publication as one commit of a data set's or a model's repository, through huggingface_hub."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmark.errors import UserError
from benchmark.publishing.board import Contents
from benchmark.publishing.publication import MARKER, is_model, write_publication

SCHEME = "hf:"
_ATTRIBUTES = ".gitattributes"  # which Hugging Face makes itself
_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def publish_to_hub(source: Path, name: str, contents: Contents, *, private: bool) -> str:
    """Publish a results folder as a data set, or a kept model as a model; return the address of its page.

    All files go up in one commit, which also removes those of an earlier publication. A repository with other files
    than a publication's is left alone.

    Args:
        source: a results folder, or the folder of a kept model.
        name: ``OWNER/NAME``.
        contents: what of a results folder.
        private: whether a repository that is made is private.

    Raises:
        UserError: no network, no token, no right to write, something else stands there, or a package is missing.
    """
    if not _REPOSITORY.fullmatch(name):
        raise UserError(f"--to hf:{name}: give hf:OWNER/NAME.")
    try:
        import huggingface_hub
    except ImportError:
        raise UserError('--to hf: needs huggingface_hub: pip install "tumorboard[hf]".') from None
    api = huggingface_hub.HfApi(library_name="tumorboard")
    if not huggingface_hub.get_token():
        raise UserError(
            f"--to hf:{name} needs a token that may write: set HF_TOKEN, or log in by: hf auth login. Tokens are "
            "made at https://huggingface.co/settings/tokens."
        )
    kind = "model" if is_model(source) else "dataset"
    with _told(name):
        there = _files(api, name, kind)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "publication"
        write_publication(source, folder, contents)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        files = {path.relative_to(folder).as_posix(): path for path in paths}
        gone = [each for each in there if each not in files and each != _ATTRIBUTES]
        operations = [
            *(huggingface_hub.CommitOperationAdd(each, str(path)) for each, path in files.items()),
            *(huggingface_hub.CommitOperationDelete(each) for each in gone),
        ]
        with _told(name):
            made = api.create_repo(name, repo_type=kind, private=private or None, exist_ok=True)
            # upload_folder may make several commits, of which a reader may see the first
            api.create_commit(name, operations, repo_type=kind, commit_message="Published by TumorBoard")
    return str(made)


def _files(api: Any, name: str, kind: str) -> list[str]:
    """Return what a repository holds, none where there is none; raises ``UserError`` where it is no publication."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        files: list[str] = api.list_repo_files(name, repo_type=kind)
    except RepositoryNotFoundError:
        return []
    if MARKER not in files and set(files) - {_ATTRIBUTES}:
        raise UserError(
            f"--to hf:{name}: the repository holds something else than a publication of TumorBoard, which would be "
            "lost; give another name."
        )
    return files


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Tell in a sentence what the hub, or the way to it, refuses."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of huggingface_hub and of the HTTP library under it
        reason = " ".join(str(error).split())[:200].rstrip(".") or "no answer"
        raise UserError(
            f"'hf:{name}' can't be written ({type(error).__name__}: {reason}): nothing is published. See to the "
            "network, the token and its rights, and give the same command again; or publish into a folder."
        ) from None
