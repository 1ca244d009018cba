"""Sentences and numbers that every output says alike."""

from collections.abc import Sequence

from benchmark.reporting.board import BoardRow

DISCLAIMER = "Research software, not for clinical use."


def data_notes(rows: Sequence[BoardRow]) -> list[str]:
    """Return one sentence for each thing that a reader must know of the data behind an arena's rows."""
    data = rows[0].first.record.data
    folds = len({result.record.data.split_hash for row in rows for result in row.results})
    notes = []
    if data.synthetic:
        notes.append("The images are synthetic: no conclusion about patients can be drawn.")
    notes.append(
        f"{data.n_train} images to train, {data.n_validation} to choose, {data.n_test} to test"
        + (" (of the first fold)." if folds > 1 else ".")
    )
    notes.append(
        "No patient is on both sides of the split."
        if data.grouped and not data.leaks
        else "Patients are known."
        if data.grouped
        else "Patients are unknown: slices of one patient may be on both sides of the split, and scores too high."
    )
    leaks = dict.fromkeys(leak for row in rows for result in row.results for leak in result.record.data.leaks)
    notes += [f"The split leaks: {leak}" for leak in leaks]
    if data.limit is not None:
        notes.append(f"Limited to {data.limit} images: not comparable with the whole data set.")
    if data.negative_class is not None:
        notes.append(f"The class without a tumour is {data.negative_class}.")
    return notes


def count(value: float) -> str:
    """Return a count, or a mean of counts with one decimal."""
    return str(int(value)) if value == int(value) else f"{value:.1f}"


def number(value: float, digits: int = 3) -> str:
    """Return a number with ``digits`` significant digits, never in scientific notation, whole ones whole."""
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.{digits}g}" if abs(value) < 10**digits and abs(value) >= 1e-4 else f"{value:.0f}"
