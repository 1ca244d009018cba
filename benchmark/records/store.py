"""The record store: one folder per run under ``OUT/records``, each complete or absent.

A failure never takes the place of a result: where the run's record is ``ok`` and a later try of it fails, the failure
is kept apart, under ``OUT/failed``, until a new result replaces both.

A folder holds ``record.json``, ``predictions.npz`` and ``cams.npz`` where the run gave any, and ``SHA256SUMS``
(readable by ``sha256sum -c``), by which a damaged or edited record is noticed. Nothing in it can carry code: JSON,
and NumPy arrays read without pickle.
"""

import contextlib
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, cast
from uuid import uuid4

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from benchmark.atomic_files import flush
from benchmark.hashing import hash_file, hash_json
from benchmark.records.outcomes import Outcome
from benchmark.records.record import FORMAT, Cams, Predictions, Record
from benchmark.text import plain

# Bounds on what is read: a record is kilobytes, predictions are a few bytes per image.
MAX_JSON_BYTES = 64 * 2**20
MAX_ARRAY_BYTES = 2 * 2**30

_JSON, _ARRAYS, _CAMS, _SUMS = "record.json", "predictions.npz", "cams.npz", "SHA256SUMS"
_NAME_LENGTH = 20  # hex digits of the key in a folder's name: 80 bits

_T = TypeVar("_T")


class _Unusable(Exception):
    """Says in one clause why a record is not used."""


@dataclass(frozen=True)
class Stored:
    """What a store holds: iterates over pairs of a record and its predictions (``None`` where there are none).

    Args:
        entries: sorted by folder.
        problems: one sentence for each folder that is not a usable record.
    """

    entries: tuple[tuple[Record, Predictions | None], ...]
    problems: tuple[str, ...]

    def __iter__(self) -> Iterator[tuple[Record, Predictions | None]]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


def short(key: str) -> str:
    """Return the part of a run's key that names its folders and files."""
    return key[:_NAME_LENGTH]


def problem_with(predictions: Predictions, num_classes: int) -> str | None:
    """Return in one clause what is wrong with predictions, or ``None``.

    Sound predictions have arrays of one length, labels within the classes, the two known parts, and
    probabilities of shape (M, num_classes) that are finite, not negative and sum to 1 within 0.001.
    """
    probabilities, count = predictions.probabilities, len(predictions.labels)
    if probabilities.shape != (count, num_classes):
        return f"probabilities have shape {probabilities.shape}, not {(count, num_classes)}"
    if any(getattr(predictions, name).shape != (count,) for name in ("image_ids", "parts", "groups", "labels")):
        return "its arrays differ in length"
    if count and (predictions.labels.min() < 0 or predictions.labels.max() >= num_classes):
        return f"labels are not within the {num_classes} classes"
    if not set(np.unique(predictions.parts)) <= {"validation", "test"}:
        return "parts other than 'validation' and 'test'"
    if not np.isfinite(probabilities).all():
        return "probabilities are not finite"
    if count and (probabilities.min() < 0 or np.abs(probabilities.sum(axis=1, dtype=np.float64) - 1).max() > 1e-3):
        return "probabilities are not a distribution"
    return None


def problem_with_cams(cams: Cams, num_classes: int) -> str | None:
    """Return in one clause what is wrong with Grad-CAM maps, or ``None``.

    Sound maps have arrays of one length, classes within the ``num_classes``, values that are finite and not
    negative, and a mask for each image that is scored.
    """
    count, maps, masks = len(cams.image_ids), cams.maps, cams.masks
    if cams.predicted.shape != (count,) or cams.scored.shape != (count,) or len(maps) != count or len(masks) != count:
        return "the arrays of its cams differ in length"
    if maps.ndim != 3 or masks.ndim != 3 or masks.shape[2] != -(-masks.shape[1] // 8) or masks.dtype != np.uint8:
        return f"its cams have maps of shape {maps.shape} and masks of {masks.shape}"
    if cams.mean_mask.size and cams.mean_mask.shape != (masks.shape[1],) * 2:
        return f"its cams have a mean mask of shape {cams.mean_mask.shape}"
    if count and (cams.predicted.min() < 0 or cams.predicted.max() >= num_classes):
        return f"classes of its cams are not within the {num_classes}"
    if not np.isfinite(maps).all() or not np.isfinite(cams.mean_mask).all() or (count and maps.min() < 0):
        return "its cams are not finite or negative"
    if cams.scored.any() and not masks[cams.scored].any(axis=(1, 2)).all():
        return "its cams are scored where there is no lesion"
    return None


class RecordStore:
    """The records of one results folder.

    Args:
        out: the results folder; made when first written to.
    """

    def __init__(self, out: Path) -> None:
        self.folder = out / "records"
        self.failed = out / "failed"

    def write(self, record: Record, predictions: Predictions | None = None, cams: Cams | None = None) -> Path:
        """Store a record, in place of an earlier one of the same key but of a result by a failure; return its folder.

        It is written to a temporary folder, flushed to the disk and renamed: after a crash it is complete or
        absent. Raises ``OSError`` where the disk is full or the folder can't be written.
        """
        ok = record.outcome is Outcome.OK
        home = self.folder if ok or not self.done(record.key) else self.failed
        final = home / short(record.key)
        home.mkdir(parents=True, exist_ok=True)
        new = home / f".new-{final.name}-{uuid4().hex[:8]}"
        old = home / f".old-{final.name}-{uuid4().hex[:8]}"
        new.mkdir()
        try:
            (new / _JSON).write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
            if predictions is not None:
                arrays = {field.name: getattr(predictions, field.name) for field in fields(Predictions)}
                np.savez(new / _ARRAYS, **arrays)
            if cams is not None:  # masks are mostly empty: packed, they are a tenth
                maps = {field.name: getattr(cams, field.name) for field in fields(Cams)}
                np.savez_compressed(new / _CAMS, **maps)
            sums = "".join(f"{hash_file(path)}  {path.name}\n" for path in sorted(new.iterdir()))
            (new / _SUMS).write_text(sums, encoding="utf-8")
            for path in new.iterdir():
                flush(path)
            flush(new)
            with contextlib.suppress(FileNotFoundError):
                final.rename(old)
            new.rename(final)
            flush(home)
        finally:
            shutil.rmtree(new, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
        if ok:
            shutil.rmtree(self.failed / final.name, ignore_errors=True)
        return final

    def tidy(self, key: str) -> None:
        """Remove what a killed command left of writing a run's record; a record that it had put aside stands again.

        Only who has the run's claim may do this.
        """
        for home in (self.folder, self.failed):
            final = home / short(key)
            for left in sorted(home.glob(f".old-{final.name}-*")):
                with contextlib.suppress(OSError):  # killed between its two renames
                    left.rename(final)
            for left in (*home.glob(f".old-{final.name}-*"), *home.glob(f".new-{final.name}-*")):
                shutil.rmtree(left, ignore_errors=True)

    def read(self, key: str) -> Record | None:
        """Return the record of one run, or ``None`` where there is none that can be used."""
        return _usable(lambda: self._read_record(self.folder / short(key)))

    def last_try(self, key: str) -> Record | None:
        """Return the record of a run's latest try: a failure beside a result, else the run's record."""
        return _usable(lambda: self._read_record(self.failed / short(key))) or self.read(key)

    def predictions(self, record: Record) -> Predictions | None:
        """Return a record's predictions, or ``None`` where there are none that can be used."""
        return _usable(lambda: _read_predictions(self.folder / short(record.key), record))

    def cams(self, record: Record) -> Cams | None:
        """Return a record's Grad-CAM maps, or ``None`` where there are none that can be used."""
        path = self.folder / short(record.key) / _CAMS
        return _usable(lambda: _read_sound(path, Cams, problem_with_cams, record))

    def done(self, key: str) -> bool:
        """Return whether the run's record is there, complete, and its outcome ``ok``."""
        record = self.read(key)
        return record is not None and record.key == key and record.outcome is Outcome.OK

    def read_all(self) -> Stored:
        """Return all records with their predictions; what can't be used, and failures of runs that have a result, are
        named and skipped.
        """
        entries, problems = [], []
        for folder in _folders(self.folder):
            try:
                record = self._read_record(folder)
                entries.append((record, _read_predictions(folder, record)))
            except (_Unusable, OSError) as error:
                problems.append(plain(f"{folder.parent.name}/{folder.name} is not used: {error}."))
        for folder in _folders(self.failed):
            try:
                record = self._read_record(folder)
                problems.append(
                    plain(
                        f"The last try of {record.backbone.name}, seed {record.seed}, ended as {record.outcome} "
                        f"({record.reason.rstrip('.')}); its earlier result stands."
                    )
                )
            except (_Unusable, OSError) as error:
                problems.append(plain(f"{folder.parent.name}/{folder.name} is not used: {error}."))
        return Stored(tuple(entries), tuple(problems))

    def _read_record(self, folder: Path) -> Record:
        sums = _sums(folder)
        if _JSON not in sums:
            raise _Unusable("it has no complete record.json")
        path = folder / _JSON
        if path.stat().st_size > MAX_JSON_BYTES:
            raise _Unusable("its record.json is too large to be one")
        for name, expected in sums.items():
            if not (folder / name).is_file() or hash_file(folder / name) != expected:
                raise _Unusable(f"{name} is not as it was written")
        text = path.read_bytes()
        try:
            record = Record.model_validate_json(text)
        except ValidationError as error:
            raise _Unusable(_why_invalid(text, error)) from None
        if record.format != FORMAT:
            raise _Unusable(f"it has format {record.format}, this version reads {FORMAT}; run it again")
        if _identity_hash(record) != record.key or short(record.key) != folder.name:
            raise _Unusable("its key, its identity and its folder's name do not belong together")
        if record.outcome is Outcome.OK and _ARRAYS not in sums:
            raise _Unusable("it says ok but has no predictions")
        return record


def _usable(read: Callable[[], _T]) -> _T | None:
    """Return what is read, ``None`` where it is not there or can't be used."""
    try:
        return read()
    except (_Unusable, OSError):
        return None


def _folders(home: Path) -> list[Path]:
    if not home.is_dir():
        return []
    # a leading dot is a write that was cut short, or is under way; files are what a file manager leaves (Thumbs.db)
    return sorted(path for path in home.iterdir() if path.is_dir() and not path.name.startswith("."))


def _read_predictions(folder: Path, record: Record) -> Predictions | None:
    return _read_sound(folder / _ARRAYS, Predictions, problem_with, record)


def _read_sound(
    path: Path, kind: Callable[..., _T], problem: Callable[[_T, int], str | None], record: Record
) -> _T | None:
    """Return a file's arrays as a dataclass, ``None`` where there is no file; raises ``_Unusable``."""
    arrays = _read_arrays(path, [field.name for field in fields(cast(Any, kind))])
    if arrays is None:
        return None
    value = kind(**arrays)
    wrong = problem(value, len(record.data.class_names))
    if wrong:
        raise _Unusable(wrong)
    return value


def _read_arrays(path: Path, names: list[str]) -> dict[str, npt.NDArray[Any]] | None:
    """Return the arrays of a file by name, ``None`` where there is no file; raises ``_Unusable``."""
    if not path.exists():
        return None
    what = path.stem
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_ARRAY_BYTES:
                raise _Unusable(f"its {what} are too large")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names}
    except (KeyError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise _Unusable(f"its {what} can't be read ({error})") from None


def _sums(folder: Path) -> dict[str, str]:
    """Return the checksums by file name; only the known names count."""
    path = folder / _SUMS
    if not path.is_file() or path.stat().st_size > 4096:
        return {}
    lines = [line.split("  ", 1) for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    return {line[1]: line[0] for line in lines if len(line) == 2 and line[1] in (_JSON, _ARRAYS, _CAMS)}


def _identity_hash(record: Record) -> str:
    try:
        return hash_json(record.identity)
    except (ValueError, TypeError, RecursionError):  # NaN and the like, which no run has
        return ""


def _why_invalid(text: bytes, error: ValidationError) -> str:
    """Return why JSON is not a record of this version, naming its format where it has another."""
    import json

    with contextlib.suppress(ValueError, RecursionError):
        values = json.loads(text)
        if isinstance(values, dict) and values.get("format", FORMAT) != FORMAT:
            return f"it has format {values['format']!r}, this version reads {FORMAT}; run it again"
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"it is not a record of this version ({place + ': ' if place else ''}{first['msg']})"
