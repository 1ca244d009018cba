"""The record store: one folder per run under ``OUT/records``, each complete or absent.

A failure never takes the place of a result: where the run's record is ``ok`` and a later try of it fails, the failure
is kept apart, under ``OUT/internal/failed``, until a new result replaces both.

A folder holds ``record.json``, ``predictions.npz``, ``cams.npz`` and ``corruptions.npz`` where the run gave any, and
``SHA256SUMS`` (readable by ``sha256sum -c``), by which a damaged or edited record is noticed. Nothing in it can carry
code: JSON, and NumPy arrays read without pickle.
"""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import numpy as np

from benchmark.atomic_files import flush, inside, put_in_place, tidy_folder
from benchmark.data.preparation.shared_work import ShareOut, done_here
from benchmark.foreign_files import Refused, list_foreign, read_foreign
from benchmark.hashing import hash_file
from benchmark.records.corrupted import Corrupted
from benchmark.records.outcomes import Outcome
from benchmark.records.record import Cams, Predictions, Record
from benchmark.records.record_arrays import (
    ARRAYS,
    CAMS,
    CAMS_KINDS,
    CORRUPTED,
    CORRUPTED_KINDS,
    MAX_ARRAY_BYTES,
    HeldArrays,
    UnpackedBefore,
    arrays_of,
)
from benchmark.records.record_folder import JSON, LONGEST_NAME, NO_MEMORY, SUMS, Memory, Reading, read_folder
from benchmark.records.results_folder import FAILED, RECORDS, Place, has_old_layout
from benchmark.records.results_folder import short as short
from benchmark.records.soundness import problem_with_cams, problem_with_corrupted
from benchmark.text import plain

_T = TypeVar("_T")


@dataclass(frozen=True)
class Stored:
    """What a store holds: iterates over pairs of a record and its predictions (``None`` where there are none).

    Args:
        entries: sorted by folder.
        problems: one sentence for each folder that is not a usable record.
        contents: by a record's key, a hash of the bytes of all its files.
        remembered: by a record's key, what is remembered of it, where anything is.
    """

    entries: tuple[tuple[Record, Predictions | None], ...]
    problems: tuple[str, ...]
    contents: Mapping[str, str] = field(default_factory=dict)
    remembered: Mapping[str, Any] = field(default_factory=dict)

    def __iter__(self) -> Iterator[tuple[Record, Predictions | None]]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


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
            (new / JSON).write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
            # packed: ids and patients repeat, and masks are mostly empty
            for file, arrays in ((ARRAYS, predictions), (CAMS, cams), (CORRUPTED, corrupted)):
                if arrays is not None:
                    np.savez_compressed(new / file, **vars(arrays))
            sums = "".join(f"{hash_file(path)}  {path.name}\n" for path in sorted(new.iterdir()))
            (new / SUMS).write_text(sums, encoding="utf-8")
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
        return _usable(lambda: self._predictions(record))

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

    def read_all(self, memory: Memory = NO_MEMORY, share_out: ShareOut = done_here) -> Stored:
        """Return all records with their predictions; what can't be used, and failures of runs that have a result, are
        named and skipped.

        Args:
            memory: knows which records are sound, so that this is not looked into again. All files are read, and
                their hashes compared, in any case.
            share_out: has them read, by one process or by two.
        """
        entries, problems, contents, remembered, held = [], [], {}, {}, HeldArrays()
        for place in (RECORDS, FAILED[-1:] if has_old_layout(self.out) else FAILED):
            shown = "/".join(place)
            try:
                names = list_foreign(self.out, *place)
            except Refused as refused:
                problems.append(plain(f"{shown} is not used: {refused}."))
                continue
            # a leading dot is a write that was cut short, or is under way; files are a file manager's (Thumbs.db)
            names = [n for n in names if not n.startswith(".") and not self.out.joinpath(*place, n).is_file()]
            for read in share_out(Reading(self.out, place, memory), names):
                try:
                    if read.folder is None:
                        raise Refused(read.problem)
                    record = read.folder.record
                    if place == RECORDS:
                        unpacked = read.unpacked
                        entries.append((record, None if unpacked is None else held.predictions(unpacked)))
                        contents[record.key] = read.folder.content
                        if read.folder.remembered is not None:
                            remembered[record.key] = read.folder.remembered
                    else:
                        problems.append(_earlier_stands(record))
                except Refused as refused:
                    problems.append(plain(f"{shown}/{read.name[:LONGEST_NAME]} is not used: {refused}."))
        return Stored(tuple(entries), tuple(problems), contents, remembered)

    def _read_record(self, place: Place, name: str) -> Record:
        """Return the record of a folder; raises ``Refused``, or ``OSError`` where there is none."""
        return read_folder(self.out, place, name).record

    def _predictions(self, record: Record) -> Predictions | None:
        """Return a record's predictions, ``None`` where there are none; raises as :meth:`_read_record`."""
        unpacked = read_folder(self.out, RECORDS, short(record.key)).unpacked(UnpackedBefore())
        return None if unpacked is None else HeldArrays().predictions(unpacked)

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
