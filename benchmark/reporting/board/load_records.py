"""Records from one results folder or several, as one list: each run once, classes in one order."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from benchmark.errors import UserError
from benchmark.records.corrupted import Corrupted
from benchmark.records.outcomes import Outcome
from benchmark.records.record import Cams, Predictions, Record
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


def gather(folders: Sequence[Path]) -> Gathered:
    """Return the records of several folders; what is not used, or was changed, is named in its problems.

    A run that is in two folders is used once: the one that is ``ok``, else that of the first folder.

    Raises:
        UserError: a folder has no records at all.
    """
    by_key: dict[str, tuple[Path, Entry]] = {}
    problems: list[str] = []
    for folder in dict.fromkeys(path.resolve() for path in folders):
        stored = RecordStore(folder).read_all()
        if not stored.entries and not stored.problems:
            raise UserError(f"'{folder}' has no records of runs; give the folder that was --out of a run.")
        problems += [f"{folder}/{text}" if len(folders) > 1 else text for text in stored.problems]
        for entry in stored:
            key = entry[0].key
            if key not in by_key:
                by_key[key] = (folder, entry)
                continue
            kept, other = by_key[key], (folder, entry)
            if kept[1][0].outcome is not Outcome.OK and entry[0].outcome is Outcome.OK:
                kept, other = other, kept
            by_key[key] = kept
            problems.append(_same_run(kept, other))
    entries, changed = _one_order([entry for _, entry in by_key.values()])
    cams, corrupted, damaged = _beside_records(entries, by_key)
    return Gathered(tuple(entries), (*problems, *changed, *damaged), cams, corrupted)


def _beside_records(
    entries: Sequence[Entry], by_key: Mapping[str, tuple[Path, Entry]]
) -> tuple[dict[str, Cams], dict[str, Corrupted], list[str]]:
    """Return the Grad-CAM maps of records and their decisions of spoilt images, classes in the records' order, and
    what can't be used of them.
    """
    cams: dict[str, Cams] = {}
    corrupted: dict[str, Corrupted] = {}
    problems: list[str] = []
    for record, _ in entries:
        folder, (original, _) = by_key[record.key]
        store, order = RecordStore(folder), record.data.class_names
        place = np.array([*(order.index(name) for name in original.data.class_names), -1], dtype=np.int16)
        which = f"{short(record.key)} of {record.backbone.name}"
        if record.cam is not None and record.cam.images:
            maps = store.cams(original)
            if maps is None:
                problems.append(f"The Grad-CAM maps of record {which} can't be read.")
            else:
                cams[record.key] = replace(maps, predicted=place[maps.predicted].astype(np.int64))
        if record.corruption is not None and record.corruption.pictures:
            decided = store.corrupted(original)
            if decided is None:
                problems.append(f"What record {which} decided of spoilt images can't be read.")
            else:
                corrupted[record.key] = replace(decided, decisions=place[decided.decisions])
    return cams, corrupted, problems


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
