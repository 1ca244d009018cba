"""Hugging Face: a publication as one commit of a data set's or a model's repository, through huggingface_hub."""

import re
import tempfile
from pathlib import Path
from typing import Any

from benchmark.errors import UserError
from benchmark.publishing.board import Contents
from benchmark.publishing.publication import MARKER, is_model, write_publication

SCHEME = "hf:"
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
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "publication"
        write_publication(source, folder, contents)
        try:
            _require_free(api, name, kind)
            made = api.create_repo(name, repo_type=kind, private=private, exist_ok=True)
            api.upload_folder(
                repo_id=name, repo_type=kind, folder_path=str(folder), delete_patterns=["*"],
                commit_message="Published by TumorBoard",
            )  # fmt: skip
        except UserError:
            raise
        except Exception as error:  # of huggingface_hub and of the HTTP library under it
            raise _unreachable(name, error) from None
    return str(made)


def _require_free(api: Any, name: str, kind: str) -> None:
    """Raise ``UserError`` where a repository holds something else than a publication."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        files = api.list_repo_files(name, repo_type=kind)
    except RepositoryNotFoundError:
        return
    if MARKER not in files and set(files) - {".gitattributes", "README.md"}:
        raise UserError(
            f"--to hf:{name}: the repository holds something else than a publication of TumorBoard, which would be "
            "lost; give another name."
        )


def _unreachable(name: str, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:200].rstrip(".") or "no answer"
    return UserError(
        f"'hf:{name}' can't be written ({type(error).__name__}: {reason}): nothing of it is published. See to the "
        "network, the token and its rights, and give the same command again; or publish into a folder."
    )
