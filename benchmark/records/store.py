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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from benchmark.atomic_files import flush, inside, tidy_folder
from benchmark.foreign_arrays import read_arrays
from benchmark.foreign_files import Refused, is_own_folder, list_foreign, read_foreign
from benchmark.hashing import hash_bytes, hash_file, hash_json
from benchmark.records.corrupted import Corrupted
from benchmark.records.outcomes import Outcome
from benchmark.records.record import FORMAT, Cams, Predictions, Record
from benchmark.records.results_folder import FAILED, RECORDS, Place, has_old_layout
from benchmark.records.soundness import problem_with, problem_with_cams, problem_with_corrupted, problem_with_record
from benchmark.text import plain

# Bounds on what is read: a record is kilobytes, predictions are a few bytes per image.
MAX_JSON_BYTES = 8 * 2**20
MAX_ARRAY_BYTES = 256 * 2**20  # of one file, packed and unpacked
MAX_HELD_BYTES = 2**30  # of all arrays of one folder; those that are equal in several records are held once

_JSON, _ARRAYS, _CAMS, _SUMS = "record.json", "predictions.npz", "cams.npz", "SHA256SUMS"
_CORRUPTED = "corruptions.npz"
_NAME_LENGTH = 20  # hex digits of the key in a folder's name: 80 bits

# The arrays of a file: their kind (numpy.dtype.kind) and number of axes.
_PREDICTIONS_KINDS = {"image_ids": ("U", 1), "parts": ("U", 1), "labels": ("i", 1), "groups": ("U", 1)}
_PREDICTIONS_KINDS |= {"probabilities": ("f", 2)}
_CAMS_KINDS = {"image_ids": ("U", 1), "predicted": ("i", 1), "scored": ("b", 1), "maps": ("f", 3), "masks": ("u", 3)}
_CAMS_KINDS |= {"mean_mask": ("f", 2)}
_CORRUPTED_KINDS = {"image_ids": ("U", 1), "names": ("U", 1), "decisions": ("i", 3)}

_OF_ONE_RUN = ("seed", "split_hash", "images_hash")  # of an identity: the runs of one row may differ in it
_LONGEST_NAME = 80  # characters of a folder's or a field's name that are shown

_T = TypeVar("_T")


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
        old = home / f".old-{final.name}-{uuid4().hex}"
        new.mkdir()
        try:
            (new / _JSON).write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
            # packed: ids and patients repeat, and masks are mostly empty
            for file, arrays in ((_ARRAYS, predictions), (_CAMS, cams), (_CORRUPTED, corrupted)):
                if arrays is not None:
                    np.savez_compressed(new / file, **vars(arrays))
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
        return _usable(lambda: self._read_predictions(record, _Held()))

    def cams(self, record: Record) -> Cams | None:
        """Return a record's Grad-CAM maps, or ``None`` where there are none that can be used."""
        return _usable(lambda: self._read_sound(record, _CAMS, _CAMS_KINDS, Cams, problem_with_cams))

    def corrupted(self, record: Record) -> Corrupted | None:
        """Return what a record's network decided of spoilt images, ``None`` where nothing of it can be used."""
        return _usable(
            lambda: self._read_sound(record, _CORRUPTED, _CORRUPTED_KINDS, Corrupted, problem_with_corrupted)
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

    def read_all(self) -> Stored:
        """Return all records with their predictions; what can't be used, and failures of runs that have a result, are
        named and skipped.
        """
        entries, problems, held = [], [], _Held()
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
                    record = self._read_record(place, name)
                    if place == RECORDS:
                        entries.append((record, self._read_predictions(record, held)))
                    else:
                        problems.append(_earlier_stands(record))
                except (Refused, OSError) as error:
                    problems.append(plain(f"{shown}/{name[:_LONGEST_NAME]} is not used: {error}."))
        return Stored(tuple(entries), tuple(problems))

    def _read_record(self, place: Place, name: str) -> Record:
        """Return the record of a folder; raises ``Refused``, or ``OSError`` where there is none."""
        folder = self.out.joinpath(*place, name)
        if not is_own_folder(folder):
            raise Refused("it is a link or no folder" if os.path.lexists(folder) else "it is not there")
        sums = _sums(self.out, place, name)
        if _JSON not in sums:
            raise Refused("it has no complete record.json")
        text = self._read_file(place, name, _JSON, MAX_JSON_BYTES)
        if hash_bytes(text) != sums[_JSON]:
            raise Refused(f"{_JSON} is not as it was written")
        for other, expected in sums.items():
            if other != _JSON and hash_bytes(self._read_file(place, name, other, MAX_ARRAY_BYTES)) != expected:
                raise Refused(f"{other} is not as it was written")
        try:
            record = Record.model_validate_json(text)
        except ValidationError as error:
            raise Refused(_why_invalid(text, error)) from None
        if record.format != FORMAT:
            raise Refused(f"it has format {record.format}, this version reads {FORMAT}; run it again")
        if _identity_hash(record) != record.key or short(record.key) != name:
            raise Refused("its key, its identity and its folder's name do not belong together")
        wrong = problem_with_record(record)
        if wrong:
            raise Refused(wrong)
        if record.outcome is Outcome.OK and _ARRAYS not in sums:
            raise Refused("it says ok but has no predictions")
        return record

    def _read_file(self, place: Place, name: str, file: str, limit: int) -> bytes:
        """Return a file of a record's folder, which has to be there; raises ``Refused`` with the file's name."""
        try:
            return read_foreign(self.out, *place, name, file, limit=limit)
        except FileNotFoundError:
            raise Refused(f"{file} is not as it was written") from None
        except Refused as refused:
            raise Refused(f"{file} is not read, because {refused}") from None

    def _read_predictions(self, record: Record, held: "_Held") -> Predictions | None:
        predictions = self._read_sound(record, _ARRAYS, _PREDICTIONS_KINDS, Predictions, problem_with)
        if predictions is None:
            return None
        own = {field: value for field, value in record.identity.items() if field not in _OF_ONE_RUN}
        computed = len(predictions.labels) * len(record.data.class_names) ** 2 * 8
        return Predictions(**held.shared(vars(predictions), computed, hash_json(own)))

    def _read_sound(
        self,
        record: Record,
        file: str,
        kinds: Mapping[str, tuple[str, int]],
        made_of: Callable[..., _T],
        problem: Callable[[_T, int], str | None],
    ) -> _T | None:
        """Return what a record's file of arrays holds, ``None`` without the file; refused where that is not sound."""
        what = file.partition(".")[0]
        try:
            data = read_foreign(self.out, *RECORDS, short(record.key), file, limit=MAX_ARRAY_BYTES)
            made = made_of(**read_arrays(data, kinds, unpacked=MAX_ARRAY_BYTES))
        except FileNotFoundError:
            return None
        except Refused as refused:
            raise Refused(f"its {what} can't be read ({refused})") from None
        wrong = problem(made, len(record.data.class_names))
        if wrong:
            raise Refused(wrong)
        return made


class _Held:
    """Arrays that are held at once: counted, and those that are equal in several records held once."""

    def __init__(self) -> None:
        self._arrays: dict[tuple[str, tuple[int, ...], str], npt.NDArray[Any]] = {}
        self._bytes = 0
        self._computed: dict[str, int] = {}

    def shared(
        self, arrays: Mapping[str, npt.NDArray[Any]], computed: int, row: str = ""
    ) -> dict[str, npt.NDArray[Any]]:
        """Return arrays, each the one that is held already where there is an equal one.

        Args:
            arrays: by name.
            computed: bytes that what is computed of them takes, while the runs of one row are scored.
            row: what its runs share.

        Raises:
            Refused: all together would be too large.
        """
        keys = {name: (array.dtype.str, array.shape, hash_bytes(array.tobytes())) for name, array in arrays.items()}
        more = sum(arrays[name].nbytes for name, key in keys.items() if key not in self._arrays)
        of_row = self._computed.get(row, 0) + computed
        if self._bytes + more + of_row > MAX_HELD_BYTES:
            raise Refused(
                f"the records before it fill the {MAX_HELD_BYTES // 2**20} MiB that are read of one folder; "
                "move some of them to another"
            )
        self._bytes += more
        self._computed[row] = of_row
        return {name: self._arrays.setdefault(key, arrays[name]) for name, key in keys.items()}


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
    return {line[1]: line[0] for line in lines if len(line) == 2 and line[1] in (_JSON, _ARRAYS, _CAMS, _CORRUPTED)}


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
