"""Records from one results folder or several, as one list: each run once, classes in one order."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from benchmark.data.preparation.shared_work import ShareOut, done_here
from benchmark.errors import UserError
from benchmark.evaluation.metrics import Counts
from benchmark.records.corrupted import Corrupted
from benchmark.records.outcomes import Outcome
from benchmark.records.record import Cams, Predictions, Record
from benchmark.records.record_folder import NO_MEMORY, Memory
from benchmark.records.store import RecordStore, Stored, short

Entry = tuple[Record, Predictions | None]


@dataclass(frozen=True)
class Gathered(Stored):
    """The records of several folders.

    Args:
        cams: Grad-CAM maps by the record's key, as far as there are any.
        corrupted: decisions of spoilt images by the record's key, likewise.
    """

    cams: Mapping[str, Cams] = field(default_factory=dict)
    corrupted: Mapping[str, Corrupted] = field(default_factory=dict)


def gather(folders: Sequence[Path], memory: Memory = NO_MEMORY, share_out: ShareOut = done_here) -> Gathered:
    """Return the records of several folders; what is not used, or was changed, is named in its problems.

    A run that is in two folders is used once: the one that is ``ok``, else that of the first folder.

    Args:
        folders: the results folders.
        memory: knows which records are sound, so that this is not looked into again.
        share_out: has the records of a folder read, by one process or by two.

    Raises:
        UserError: a folder has no records at all.
    """
    by_key: dict[str, tuple[Path, Entry]] = {}
    problems: list[str] = []
    read: dict[Path, Stored] = {}
    for folder in dict.fromkeys(path.resolve() for path in folders):
        stored = read[folder] = RecordStore(folder).read_all(memory, share_out)
        if not stored.entries and not stored.problems:
            raise UserError(f"'{folder}' has no records of runs; give the folder that was --out of a run.")
        problems += [f"{folder}/{text}" if len(folders) > 1 else text for text in stored.problems]
        for entry in stored:
            key = entry[0].key
            if key not in by_key:
                by_key[key] = (folder, entry)
                continue
            first, other = by_key[key], (folder, entry)
            if first[1][0].outcome is not Outcome.OK and entry[0].outcome is Outcome.OK:
                first, other = other, first
            by_key[key] = first
            problems.append(_same_run(first, other))
    entries, changed = _one_order([entry for _, entry in by_key.values()])
    cams, damaged = _beside(
        entries, by_key, "The Grad-CAM maps",
        lambda record: record.cam is not None and bool(record.cam.images), RecordStore.cams, _reordered_cams,
    )  # fmt: skip
    corrupted, lost = _beside(
        entries, by_key, "The decisions of spoilt images",
        lambda record: record.corruption is not None and bool(record.corruption.pictures), RecordStore.corrupted,
        _reordered_decisions,
    )  # fmt: skip
    contents = {key: read[folder].contents[key] for key, (folder, _) in by_key.items()}
    remembered = {key: read[folder].remembered.get(key) for key, (folder, _) in by_key.items()}
    return Gathered(tuple(entries), (*problems, *changed, *damaged, *lost), contents, remembered, cams, corrupted)


Kept = TypeVar("Kept", Cams, Corrupted)


def _beside(
    entries: Sequence[Entry],
    by_key: Mapping[str, tuple[Path, Entry]],
    what: str,
    has: Callable[[Record], bool],
    read: Callable[[RecordStore, Record], Kept | None],
    reordered: Callable[[Kept, Counts], Kept],
) -> tuple[dict[str, Kept], list[str]]:
    """Return what is kept beside records, its classes in the records' order, and a sentence for what can't be read.

    Args:
        entries: the records, whose classes may be in another order than in their folders.
        by_key: where each was read, and as what.
        what: it is, for the sentence.
        has: whether a record says that there is such a thing.
        read: reads it from the folder; ``None`` where it can't be.
        reordered: returns it with class k in place ``places[k]``.
    """
    kept: dict[str, Kept] = {}
    problems: list[str] = []
    for record, _ in entries:
        if not has(record):
            continue
        folder, (original, _) = by_key[record.key]
        content = read(RecordStore(folder), original)
        if content is None:
            problems.append(f"{what} of record {short(record.key)} of {record.backbone.name} can't be read.")
            continue
        names, order = original.data.class_names, record.data.class_names
        if names != order:
            content = reordered(content, np.array([order.index(name) for name in names]))
        kept[record.key] = content
    return kept, problems


def _reordered_cams(cams: Cams, places: Counts) -> Cams:
    return replace(cams, predicted=places[cams.predicted].astype(np.int64))


def _reordered_decisions(corrupted: Corrupted, places: Counts) -> Corrupted:
    of_all = np.append(places, -1).astype(np.int16)  # -1 is no decision
    return replace(corrupted, decisions=of_all[corrupted.decisions])


def _same_run(kept: tuple[Path, Entry], other: tuple[Path, Entry]) -> str:
    record, predictions = other[1]
    text = f"{other[0]}/records/{short(record.key)} is not used: the same run is in '{kept[0]}'"
    first = kept[1][1]
    outcomes = {record.outcome, kept[1][0].outcome}
    if outcomes != {Outcome.OK} or predictions is None or first is None:
        return text + "."
    if not np.array_equal(predictions.image_ids, first.image_ids) or (
        predictions.probabilities.shape != first.probabilities.shape
    ):
        return text + ", with other images."
    apart = float(np.abs(predictions.probabilities - first.probabilities).max(initial=0.0))
    return text + (f", with probabilities that differ by up to {apart:.2g}." if apart else ".")


def _one_order(entries: Sequence[Entry]) -> tuple[list[Entry], list[str]]:
    """Give all records of the same images their classes in the order of the first; columns go by name.

    Records whose classes are others than those of most records of the same images are left out.
    """
    sets: dict[str, Counter[frozenset[str]]] = {}
    for record, _ in entries:
        sets.setdefault(record.data.fingerprint, Counter())[frozenset(record.data.class_names)] += 1
    orders: dict[str, tuple[str, ...]] = {}
    kept: list[Entry] = []
    problems: list[str] = []
    for record, predictions in entries:
        data = record.data
        usual = sets[data.fingerprint].most_common(1)[0][0]
        if frozenset(data.class_names) != usual:
            problems.append(
                f"Record {short(record.key)} of {record.backbone.name} is not used: its classes "
                f"({', '.join(data.class_names)}) are not those of the other records of the same images "
                f"({', '.join(sorted(usual))})."
            )
            continue
        order = orders.setdefault(data.fingerprint, data.class_names)
        if data.class_names != order:
            problems.append(
                f"Record {short(record.key)} of {record.backbone.name} has its classes in another order than the "
                f"first of the same images: they were matched by name."
            )
            columns = np.array([data.class_names.index(name) for name in order])
            record = record.model_copy(update={"data": data.model_copy(update={"class_names": order})})
            predictions = None if predictions is None else _reordered(predictions, columns)
        kept.append((record, predictions))
    return kept, problems


def _reordered(predictions: Predictions, columns: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> Predictions:
    """Return predictions whose class k was class ``columns[k]``."""
    return replace(
        predictions,
        labels=np.argsort(columns)[predictions.labels].astype(np.int64),
        probabilities=predictions.probabilities[:, columns],
    )
