"""The record store: one folder per run under ``OUT/records``, each complete or absent.

A failure never takes the place of a result: where the run's record is ``ok`` and a later try of it fails, the failure
is kept apart, under ``OUT/internal/failed``, until a new result replaces both.

A folder holds ``record.json``, ``predictions.npz``, ``cams.npz`` and ``corruptions.npz`` where the run gave any, and
``SHA256SUMS`` (readable by ``sha256sum -c``), by which a damaged or edited record is noticed. Nothing in it can carry
code: JSON, and NumPy arrays read without pickle.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import numpy as np
from pydantic import ValidationError

from benchmark.atomic_files import flush, inside, put_in_place, tidy_folder
from benchmark.foreign_files import Refused, is_own_folder, list_foreign, read_foreign
from benchmark.hashing import hash_bytes, hash_file, hash_json
from benchmark.records.corrupted import Corrupted
from benchmark.records.outcomes import Outcome
from benchmark.records.record import FORMAT, Cams, Predictions, Record
from benchmark.records.record_arrays import (
    ARRAYS,
    CAMS,
    CAMS_KINDS,
    CORRUPTED,
    CORRUPTED_KINDS,
    MAX_ARRAY_BYTES,
    HeldArrays,
    arrays_of,
    read_predictions,
)
from benchmark.records.results_folder import FAILED, RECORDS, Place, has_old_layout
from benchmark.records.soundness import problem_with_cams, problem_with_corrupted, problem_with_record
from benchmark.text import plain

MAX_JSON_BYTES = 8 * 2**20  # of a record that is read: it has kilobytes

_JSON, _SUMS = "record.json", "SHA256SUMS"
_NAME_LENGTH = 20  # hex digits of the key in a folder's name: 80 bits

_LONGEST_NAME = 80  # characters of a folder's or a field's name that are shown

_T = TypeVar("_T")
# Whether a record whose files have these bytes (by their hash) was read before, and found to be sound.
Sound = Callable[[Record, str], bool]


@dataclass(frozen=True)
class Stored:
    """What a store holds: iterates over pairs of a record and its predictions (``None`` where there are none).

    Args:
        entries: sorted by folder.
        problems: one sentence for each folder that is not a usable record.
        contents: by a record's key, a hash of the bytes of all its files.
    """

    entries: tuple[tuple[Record, Predictions | None], ...]
    problems: tuple[str, ...]
    contents: Mapping[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[tuple[Record, Predictions | None]]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


def short(key: str) -> str:
    """Return the part of a run's key that names its folders and files."""
    return key[:_NAME_LENGTH]


class RecordStore:
    """The records of one results folder.

    Args:
        out: the results folder; made when first written to.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.folder = out.joinpath(*RECORDS)
        self.failed = out.joinpath(*FAILED)

    def write(
        self,
        record: Record,
        predictions: Predictions | None = None,
        cams: Cams | None = None,
        corrupted: Corrupted | None = None,
    ) -> Path:
        """Store a record, in place of an earlier one of the same key but of a result by a failure; return its folder.

        It is written to a temporary folder, flushed to the disk and renamed: after a crash it is complete or
        absent. Raises ``OSError`` where the disk is full or the folder can't be written.
        """
        ok = record.outcome is Outcome.OK
        place = RECORDS if ok or not self.done(record.key) else FAILED
        final = inside(self.out, *place, short(record.key))
        home = final.parent
        new = home / f".new-{final.name}-{uuid4().hex}"
        new.mkdir()
        try:
            (new / _JSON).write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
            # packed: ids and patients repeat, and masks are mostly empty
            for file, arrays in ((ARRAYS, predictions), (CAMS, cams), (CORRUPTED, corrupted)):
                if arrays is not None:
                    np.savez_compressed(new / file, **vars(arrays))
            sums = "".join(f"{hash_file(path)}  {path.name}\n" for path in sorted(new.iterdir()))
            (new / _SUMS).write_text(sums, encoding="utf-8")
            for path in new.iterdir():
                flush(path)
            flush(new)
            put_in_place(new, final)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        if ok:
            shutil.rmtree(self.failed / final.name, ignore_errors=True)
        return final

    def tidy(self, key: str) -> None:
        """Remove what a killed command left of writing a run's record; a record that it had put aside stands again.

        Only who has the run's claim may do this.
        """
        for home in (self.folder, self.failed):
            tidy_folder(home / short(key))

    def unfinished(self) -> frozenset[str]:
        """Return the names (:func:`short`) of runs of which a killed command may have left something to tidy."""
        names = [path.name for home in (self.folder, self.failed) if home.is_dir() for path in home.iterdir()]
        return frozenset(name.split("-")[1] for name in names if name.startswith((".new-", ".old-")))

    def read(self, key: str) -> Record | None:
        """Return the record of one run, or ``None`` where there is none that can be used."""
        return _usable(lambda: self._read_record(RECORDS, short(key)))

    def problem(self, key: str) -> str | None:
        """Return in one clause why a run's stored result can't be used, ``None`` where it can."""
        try:
            self._read_record(RECORDS, short(key))
        except (Refused, OSError) as error:
            return str(error)
        return None

    def last_try(self, key: str) -> Record | None:
        """Return the record of a run's latest try: a failure beside a result, else the run's record."""
        return _usable(lambda: self._read_record(FAILED, short(key))) or self.read(key)

    def predictions(self, record: Record) -> Predictions | None:
        """Return a record's predictions, or ``None`` where there are none that can be used."""
        return _usable(lambda: self._read_folder(RECORDS, short(record.key), _never).predictions(HeldArrays()))

    def cams(self, record: Record) -> Cams | None:
        """Return a record's Grad-CAM maps, or ``None`` where there are none that can be used."""
        return _usable(lambda: self._read_sound(record, CAMS, CAMS_KINDS, Cams, problem_with_cams))

    def corrupted(self, record: Record) -> Corrupted | None:
        """Return what a record's network decided of spoilt images, ``None`` where nothing of it can be used."""
        return _usable(
            lambda: self._read_sound(record, CORRUPTED, CORRUPTED_KINDS, Corrupted, problem_with_corrupted)
        )

    def done(self, key: str) -> bool:
        """Return whether the run's record is there, complete, and its outcome ``ok``."""
        record = self.read(key)
        return record is not None and record.key == key and record.outcome is Outcome.OK

    def keys(self) -> list[str]:
        """Return the short forms of the keys of all runs that have a folder here, usable or not, sorted."""
        names: set[str] = set()
        for place in (RECORDS, FAILED):
            with contextlib.suppress(Refused):
                names |= {name for name in list_foreign(self.out, *place) if not name.startswith(".")}
        return sorted(names)

    def read_all(self, sound: Sound | None = None) -> Stored:
        """Return all records with their predictions; what can't be used, and failures of runs that have a result, are
        named and skipped.

        Args:
            sound: which records are known to be sound, so that this is not looked into again. All files are read,
                and their hashes compared, in any case.
        """
        entries, problems, contents, held = [], [], {}, HeldArrays()
        for place in (RECORDS, FAILED[-1:] if has_old_layout(self.out) else FAILED):
            shown = "/".join(place)
            try:
                names = list_foreign(self.out, *place)
            except Refused as refused:
                problems.append(plain(f"{shown} is not used: {refused}."))
                continue
            for name in names:
                # a leading dot is a write that was cut short, or is under way; files are a file manager's (Thumbs.db)
                if name.startswith(".") or self.out.joinpath(*place, name).is_file():
                    continue
                try:
                    read = self._read_folder(place, name, sound or _never)
                    if place == RECORDS:
                        entries.append((read.record, read.predictions(held)))
                        contents[read.record.key] = read.content
                    else:
                        problems.append(_earlier_stands(read.record))
                except (Refused, OSError) as error:
                    problems.append(plain(f"{shown}/{name[:_LONGEST_NAME]} is not used: {error}."))
        return Stored(tuple(entries), tuple(problems), contents)

    def _read_record(self, place: Place, name: str) -> Record:
        """Return the record of a folder; raises ``Refused``, or ``OSError`` where there is none."""
        return self._read_folder(place, name, _never).record

    def _read_folder(self, place: Place, name: str, sound: Sound) -> "_Folder":
        """Return what is read of a record's folder; raises as :meth:`_read_record`."""
        folder = self.out.joinpath(*place, name)
        if not is_own_folder(folder):
            raise Refused("it is a link or no folder" if os.path.lexists(folder) else "it is not there")
        sums = _sums(self.out, place, name)
        if _JSON not in sums:
            raise Refused("it has no complete record.json")
        text = self._read_file(place, name, _JSON, MAX_JSON_BYTES)
        if hash_bytes(text) != sums[_JSON]:
            raise Refused(f"{_JSON} is not as it was written")
        arrays = None
        for other in sorted(sums.keys() - {_JSON}):
            data = self._read_file(place, name, other, MAX_ARRAY_BYTES)
            if hash_bytes(data) != sums[other]:
                raise Refused(f"{other} is not as it was written")
            arrays = data if other == ARRAYS else arrays
        try:
            record = Record.model_validate_json(text)
        except ValidationError as error:
            raise Refused(_why_invalid(text, error)) from None
        if record.format != FORMAT:
            raise Refused(f"it has format {record.format}, this version reads {FORMAT}; run it again")
        if _identity_hash(record) != record.key or short(record.key) != name:
            raise Refused("its key, its identity and its folder's name do not belong together")
        content = hash_json(sums)
        is_sound = sound(record, content)
        wrong = None if is_sound else problem_with_record(record)
        if wrong:
            raise Refused(wrong)
        if record.outcome is Outcome.OK and ARRAYS not in sums:
            raise Refused("it says ok but has no predictions")
        return _Folder(record, content, is_sound, arrays)

    def _read_file(self, place: Place, name: str, file: str, limit: int) -> bytes:
        """Return a file of a record's folder, which has to be there; raises ``Refused`` with the file's name."""
        try:
            return read_foreign(self.out, *place, name, file, limit=limit)
        except FileNotFoundError:
            raise Refused(f"{file} is not as it was written") from None
        except Refused as refused:
            raise Refused(f"{file} is not read, because {refused}") from None

    def _read_sound(
        self,
        record: Record,
        file: str,
        kinds: Mapping[str, tuple[str, int]],
        made_of: Callable[..., _T],
        problem: Callable[[_T, int], str | None],
    ) -> _T | None:
        """Return what a record's file of arrays holds, ``None`` without the file; refused where that is not sound."""
        try:
            data = read_foreign(self.out, *RECORDS, short(record.key), file, limit=MAX_ARRAY_BYTES)
        except FileNotFoundError:
            return None
        except Refused as refused:
            raise Refused(f"its {file.partition('.')[0]} can't be read ({refused})") from None
        made = made_of(**arrays_of(data, file, kinds))
        wrong = problem(made, len(record.data.class_names))
        if wrong:
            raise Refused(wrong)
        return made


def _never(record: Record, content: str) -> bool:
    return False


@dataclass(frozen=True)
class _Folder:
    """What is read of a record's folder.

    Args:
        record: as it was read.
        content: a hash of the bytes of all its files.
        sound: whether it is known that record and predictions are sound.
        arrays: the bytes of ``predictions.npz``, which have that hash; ``None`` where there is none.
    """

    record: Record
    content: str
    sound: bool
    arrays: bytes | None

    def predictions(self, held: HeldArrays) -> Predictions | None:
        """Return the record's predictions, ``None`` where there are none; raises ``Refused``."""
        return None if self.arrays is None else read_predictions(self.arrays, self.record, held, sound=self.sound)


def _usable(read: Callable[[], _T]) -> _T | None:
    """Return what is read, ``None`` where it is not there or can't be used."""
    try:
        return read()
    except (Refused, OSError):
        return None


def _earlier_stands(record: Record) -> str:
    return plain(
        f"The last try of {record.backbone.name}, seed {record.seed}, ended as {record.outcome} "
        f"({record.reason.rstrip('.')}); its earlier result stands."
    )


def _sums(out: Path, place: Place, name: str) -> dict[str, str]:
    """Return the checksums by file name; only the known names count."""
    try:
        text = read_foreign(out, *place, name, _SUMS, limit=4096).decode("utf-8", errors="replace")
    except (Refused, OSError):
        return {}
    lines = [line.split("  ", 1) for line in text.splitlines()]
    return {line[1]: line[0] for line in lines if len(line) == 2 and line[1] in (_JSON, ARRAYS, CAMS, CORRUPTED)}


def _identity_hash(record: Record) -> str:
    try:
        return hash_json(record.identity)
    except (ValueError, TypeError, RecursionError):  # NaN and the like, which no run has
        return ""


def _why_invalid(text: bytes, error: ValidationError) -> str:
    """Return why JSON is not a record of this version, naming its format where it has another."""
    with contextlib.suppress(ValueError, RecursionError, MemoryError):
        values = json.loads(text)
        if isinstance(values, dict) and values.get("format", FORMAT) != FORMAT:
            return f"it has format {repr(values['format'])[:20]}, this version reads {FORMAT}; run it again"
    return f"it is not a record of this version ({first_problem(error)})"


def first_problem(error: ValidationError) -> str:
    """Return where a file is first wrong and how, without what stands there, which may be anybody's."""
    first = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(str(part)[:_LONGEST_NAME] for part in first["loc"])
    return f"{place + ': ' if place else ''}{first['msg'][:200]}"
