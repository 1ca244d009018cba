"""Data sets of Hugging Face, through huggingface_hub and pyarrow (the extra ``hf``): pinned by revision.

A data set is read from its Parquet files, which Hugging Face makes of any public one. The images are copied once,
as they are stored, into a zip file with a manifest in the cache.
"""

import csv
import io
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.atomic_files import written_file
from benchmark.data.preparation.cache import locked
from benchmark.data.sources.layout import part_of
from benchmark.data.sources.remote.base import About, Fetched, downloads
from benchmark.errors import UserError
from benchmark.file_names import file_name

_REPOSITORY = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")
_CONVERTED = "refs/convert/parquet"  # the branch with Parquet files that Hugging Face makes itself
_LABELS = ("label", "labels", "class", "class_name", "diagnosis", "tumor_type", "category")
_PATIENTS = ("group", "patient", "patient_id", "pid", "subject", "subject_id")
_SUFFIXES = {b"\xff\xd8": ".jpg", b"\x89P": ".png", b"BM": ".bmp", b"II": ".tif", b"MM": ".tif", b"RI": ".webp"}
_BATCH = 256  # rows that are held in memory at once


def fetch_hugging_face(text: str) -> Fetched:
    """Return a zip file with a manifest of a data set's images.

    Args:
        text: ``OWNER/NAME``, or with ``@REVISION``; without, the newest revision is taken, and said.

    Raises:
        UserError: no network, no such data set, no column of images or labels, a library is missing.
    """
    match = _REPOSITORY.fullmatch(text)
    if match is None:
        raise UserError(f"'hf:{text}' names no data set of Hugging Face: give hf:OWNER/NAME[@REVISION].")
    repository, revision = match[1], match[2]
    pinned = _kept(repository, revision) if revision else None
    if pinned is not None and pinned.with_suffix(".json").is_file():
        return Fetched(pinned, About.load(pinned.with_suffix(".json")))
    remote = _Remote.look_up(repository, revision)
    path = _kept(repository, remote.revision)
    about = path.with_suffix(".json")
    with locked(path.parent):
        if not about.is_file():
            _write(path, remote)
            remote.about().save(about)
    notes = () if revision else (f"the newest revision is taken: pin it by hf:{repository}@{remote.revision}",)
    return Fetched(path, About.load(about), notes)


def _kept(repository: str, revision: str) -> Path:
    return downloads("hf") / f"{file_name(f'{repository}-{revision}', longest=200)}.zip"


def _hub() -> Any:
    try:
        import huggingface_hub
        import pyarrow.parquet  # noqa: F401 (used below; both are the extra's)
    except ImportError as error:
        raise UserError(f"'hf:' needs {error.name}: pip install 'tumorboard[hf]'.") from None
    return huggingface_hub


@dataclass(frozen=True)
class _Remote:
    """A data set at one revision.

    Args:
        repository: ``OWNER/NAME``.
        revision: of the data set, a commit.
        branch: revision of the Parquet files: the same, or that of the converted branch.
        files: Parquet files at ``branch``.
        licence: empty where it is not said.
    """

    repository: str
    revision: str
    branch: str
    files: tuple[str, ...]
    licence: str

    @property
    def page(self) -> str:
        return f"https://huggingface.co/datasets/{self.repository}"

    @classmethod
    def look_up(cls, repository: str, revision: str | None) -> "_Remote":
        hub = _hub()
        api = hub.HfApi()
        try:
            info = api.dataset_info(repository, revision=revision)
            branch = info.sha
            files = _parquet(info)
            if not files:
                converted = api.dataset_info(repository, revision=_CONVERTED)
                branch, files = converted.sha, _parquet(converted)
        except Exception as error:  # of huggingface_hub and of the HTTP library under it
            raise _unreachable(repository, error) from None
        if not files:
            raise UserError(f"'hf:{repository}' has no Parquet files, and Hugging Face has made none of it.")
        licence = (info.card_data or {}).get("license") or ""
        return cls(repository, info.sha, branch, files, licence if isinstance(licence, str) else ", ".join(licence))

    def about(self) -> About:
        """Return what is to be said of it."""
        citation = f"{self.repository}, Hugging Face, {self.page}, revision {self.revision[:12]}"
        name = self.repository.partition("/")[2]
        return About(name, f"revision {self.revision[:12]}", self.licence, citation, self.page)

    def local(self, file: str) -> Path:
        """Return a file, fetched where it is not in the hub's cache; a cut download goes on where it stopped."""
        try:
            return Path(_hub().hf_hub_download(self.repository, file, repo_type="dataset", revision=self.branch))
        except Exception as error:
            raise _unreachable(self.repository, error) from None


def _unreachable(repository: str, error: Exception) -> UserError:
    reason = str(error).strip().partition("\n")[0].rstrip(".")[:160] or "no answer"
    return UserError(
        f"'hf:{repository}' can't be fetched ({type(error).__name__}: {reason}): try again and it goes on where it "
        f"stopped, or get the images from https://huggingface.co/datasets/{repository} by hand, with a manifest.csv "
        "(path,label) beside them, and give their folder with --data."
    )


def _parquet(info: Any) -> tuple[str, ...]:
    return tuple(sorted(one.rfilename for one in info.siblings or () if one.rfilename.endswith(".parquet")))


def _write(path: Path, remote: _Remote) -> None:
    """Write the images and their manifest, complete or not at all."""
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    columns = ["path", "label", "split", "group"]
    lines = []
    with written_file(path) as unfinished, zipfile.ZipFile(unfinished, "w") as archive:
        for file in remote.files:
            for name, label, group, content in _images(remote.local(file), file, remote.repository):
                archive.writestr(name, content)
                lines.append((name, label, _part(file) or "", group))
        if len({line[1] for line in lines}) < 2:
            raise UserError(f"'hf:{remote.repository}' has one class only: at least two are needed.")
        parts = {line[2] for line in lines}
        shown = [True, True, "" not in parts and parts != {"test"}, any(line[3] for line in lines)]
        writer.writerow([column for column, there in zip(columns, shown, strict=True) if there])
        writer.writerows([cell for cell, there in zip(line, shown, strict=True) if there] for line in lines)
        archive.writestr("manifest.csv", table.getvalue())


def _part(file: str) -> str | None:
    """Return the part that a Parquet file is of: by its name (``train-00000-of-00001``), or its folder's."""
    return next((part for word in reversed(re.split(r"[/\-.]", file)) if (part := part_of(word))), None)


def _images(path: Path, file: str, repository: str) -> Iterator[tuple[str, str, str, bytes]]:
    """Yield name, label, patient (or nothing) and content of each image of a Parquet file."""
    import pyarrow.parquet as parquet

    with parquet.ParquetFile(path) as table:
        columns = _Columns.of(table.schema_arrow, repository)
        number = 0
        for batch in table.iter_batches(_BATCH, columns=columns.names()):
            for cells in batch.to_pylist():
                content = (cells[columns.image] or {}).get("bytes")
                if content:
                    stem = file.removesuffix(".parquet").replace("/", "-")
                    suffix = _SUFFIXES.get(content[:2], ".png")
                    group = str(cells[columns.patient]) if columns.patient else ""
                    yield f"{stem}/{number:06d}{suffix}", columns.class_name(cells[columns.label]), group, content
                number += 1


@dataclass(frozen=True)
class _Columns:
    """Which columns hold what; ``classes`` are names of labels that are numbers."""

    image: str
    label: str
    patient: str | None
    classes: tuple[str, ...]

    @classmethod
    def of(cls, schema: Any, repository: str) -> "_Columns":
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
        labels = [name for name in schema.names if features.get(name, {}).get("_type") == "ClassLabel"]
        labels += [name for name in schema.names if name.lower() in _LABELS]
        images = [name for name in schema.names if _holds_images(schema.field(name).type)]
        for what, names in (("images", images), ("labels", labels)):
            if not names:
                raise UserError(
                    f"'hf:{repository}' has no column of {what}; its columns are {', '.join(schema.names)}."
                )
        patient = next((name for name in schema.names if name.lower() in _PATIENTS), None)
        return cls(images[0], labels[0], patient, tuple(features.get(labels[0], {}).get("names", ())))

    def names(self) -> list[str]:
        return [name for name in (self.image, self.label, self.patient) if name]

    def class_name(self, value: Any) -> str:
        return self.classes[value] if self.classes and isinstance(value, int) else str(value)


def _holds_images(kind: Any) -> bool:
    import pyarrow

    return bool(pyarrow.types.is_struct(kind) and kind.get_field_index("bytes") >= 0)
