"""The folder of one record: read whole, its hashes compared, and checked before anything uses what is in it."""

import contextlib
import json
import os
import pickle
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from benchmark.foreign_files import Refused, is_own_folder, read_foreign
from benchmark.hashing import hash_bytes, hash_json
from benchmark.records.outcomes import Outcome
from benchmark.records.record import FORMAT, Predictions, Record
from benchmark.records.record_arrays import (
    ARRAYS,
    CAMS,
    CORRUPTED,
    MAX_ARRAY_BYTES,
    MAX_HELD_BYTES,
    Unpacked,
    UnpackedBefore,
    unpack_predictions,
)
from benchmark.records.results_folder import Place, short
from benchmark.records.soundness import problem_with_record

MAX_JSON_BYTES = 8 * 2**20  # of a record that is read: it has kilobytes
JSON, SUMS = "record.json", "SHA256SUMS"

LONGEST_NAME = 80  # characters of a folder's or a field's name that are shown


class Memory:
    """What is remembered of records that were found to be sound: here nothing."""

    def find(self, record: Record, content: str) -> Any:
        """Return what is remembered of a record whose files have these bytes, by their hash; ``None`` where it is not
        known to be sound. It can be pickled.
        """

    def learn(self, record: Record, content: str, predictions: Predictions) -> Any:
        """Return what is to be remembered of a record that was found to be sound, ``None`` where nothing is."""


NO_MEMORY = Memory()


@dataclass(frozen=True)
class RecordFolder:
    """What was read of a record's folder.

    Args:
        record: as it was read.
        text: the JSON that it was read from.
        content: a hash of the bytes of all its files.
        remembered: what is of it; ``None`` where it is not known to be sound.
        arrays: the bytes of ``predictions.npz``, which have that hash; ``None`` where there is none.
    """

    record: Record
    text: bytes
    content: str
    remembered: Any
    arrays: bytes | None

    def unpacked(self, before: UnpackedBefore) -> Unpacked | None:
        """Return the record's predictions, ``None`` where there are none; raises ``Refused``."""
        if self.arrays is None:
            return None
        return unpack_predictions(self.arrays, self.record, before, sound=self.remembered is not None)


def read_folder(out: Path, place: Place, name: str, memory: Memory = NO_MEMORY) -> RecordFolder:
    """Return what is read of a record's folder.

    Args:
        out: the results folder.
        place: the folders below it that hold the folders of records.
        name: of the record's folder.
        memory: knows which records are sound, so that this is not looked into again.

    Raises:
        Refused: it can't be used.
        OSError: it can't be read.
    """
    folder = out.joinpath(*place, name)
    if not is_own_folder(folder):
        raise Refused("it is a link or no folder" if os.path.lexists(folder) else "it is not there")
    sums = _sums(out, place, name)
    if JSON not in sums:
        raise Refused("it has no complete record.json")
    text = _read_file(out, place, name, JSON, MAX_JSON_BYTES)
    if hash_bytes(text) != sums[JSON]:
        raise Refused(f"{JSON} is not as it was written")
    arrays = None
    for other in sorted(sums.keys() - {JSON}):
        data = _read_file(out, place, name, other, MAX_ARRAY_BYTES)
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
    remembered = memory.find(record, content)
    wrong = None if remembered is not None else problem_with_record(record)
    if wrong:
        raise Refused(wrong)
    if record.outcome is Outcome.OK and ARRAYS not in sums:
        raise Refused("it says ok but has no predictions")
    return RecordFolder(record, text, content, remembered, arrays)


@dataclass(frozen=True)
class Read:
    """A record that was read with its predictions, or why it can't be used.

    Args:
        name: of its folder.
        problem: in one clause; empty where it can be used.
        folder: what was read, without the bytes of arrays.
        unpacked: its predictions, ``None`` where it has none.
    """

    name: str
    problem: str = ""
    folder: RecordFolder | None = None
    unpacked: Unpacked | None = None


class Reading:
    """Reads records of one folder; some may be read in a copy of the process, which hands them over.

    Args:
        out: the results folder.
        place: the folders below it that hold the folders of records.
        memory: of records that were read before.
    """

    def __init__(self, out: Path, place: Place, memory: Memory) -> None:
        self._out, self._place, self._memory = out, place, memory
        self._before = UnpackedBefore()
        self._sent: dict[int, int] = {}  # by the identity of an array that further records may have, its number
        self._received: list[Any] = []

    def make(self, name: str) -> Read:
        """Return what is read of a folder."""
        try:
            folder = read_folder(self._out, self._place, name, self._memory)
            unpacked = folder.unpacked(self._before)
        except (Refused, OSError) as error:
            return Read(name, str(error))
        folder = replace(folder, arrays=None)
        ok = folder.record.outcome is Outcome.OK
        if folder.remembered is None and ok and unpacked is not None and unpacked.computed <= MAX_HELD_BYTES:
            of_record = self._memory.learn(folder.record, folder.content, Predictions(**unpacked.arrays))
            folder = replace(folder, remembered=of_record)
        return Read(name, "", folder, unpacked)

    @staticmethod
    def size(read: Read) -> int:
        """Return how many bytes a record holds."""
        if read.folder is None or read.unpacked is None:
            return 0
        return len(read.folder.text) + sum(array.nbytes for array in read.unpacked.arrays.values())

    def packed(self, read: Read) -> bytes:
        """Return what was read as bytes; an array that was handed over before is its number."""
        folder, unpacked = read.folder, read.unpacked
        if folder is None:
            return pickle.dumps((read.name, read.problem, None, None))
        sent = None if unpacked is None else (self._packed_arrays(unpacked), unpacked.computed, unpacked.row)
        # text is read anew faster than the objects that it becomes
        return pickle.dumps((read.name, "", (folder.text, folder.content, folder.remembered), sent), protocol=5)

    def _packed_arrays(self, unpacked: Unpacked) -> dict[str, tuple[int | None, Any]]:
        sent: dict[str, tuple[int | None, Any]] = {}
        for name, array in unpacked.arrays.items():
            if array not in self._before:
                sent[name] = None, array
            elif id(array) in self._sent:
                sent[name] = self._sent[id(array)], None
            else:
                sent[name] = self._sent.setdefault(id(array), len(self._sent)), array
        return sent

    def unpacked(self, data: bytes) -> Read:
        """Return what a copy of this process packed."""
        name, problem, of_folder, sent = pickle.loads(data)
        if of_folder is None:
            return Read(name, problem)
        text, content, remembered = of_folder
        folder = RecordFolder(Record.model_validate_json(text), text, content, remembered, None)
        if sent is None:
            return Read(name, "", folder)
        packed, computed, row = sent
        arrays = {}
        for each, (number, array) in packed.items():
            if number is not None and array is not None:
                self._received.append(array)
            arrays[each] = self._received[number] if number is not None else array
        return Read(name, "", folder, Unpacked(arrays, computed, row))


def _read_file(out: Path, place: Place, name: str, file: str, limit: int) -> bytes:
    """Return a file of a record's folder, which has to be there; raises ``Refused`` with the file's name."""
    try:
        return read_foreign(out, *place, name, file, limit=limit)
    except FileNotFoundError:
        raise Refused(f"{file} is not as it was written") from None
    except Refused as refused:
        raise Refused(f"{file} is not read, because {refused}") from None


def _sums(out: Path, place: Place, name: str) -> dict[str, str]:
    """Return the checksums by file name; only the known names count."""
    try:
        text = read_foreign(out, *place, name, SUMS, limit=4096).decode("utf-8", errors="replace")
    except (Refused, OSError):
        return {}
    lines = [line.split("  ", 1) for line in text.splitlines()]
    return {line[1]: line[0] for line in lines if len(line) == 2 and line[1] in (JSON, ARRAYS, CAMS, CORRUPTED)}


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
    place = ".".join(str(part)[:LONGEST_NAME] for part in first["loc"])
    return f"{place + ': ' if place else ''}{first['msg'][:200]}"
