"""Sentences and numbers that every output says alike."""

from collections.abc import Sequence

from benchmark.evaluation.bootstrap import RESAMPLES
from benchmark.evaluation.comparison import ALPHA
from benchmark.evaluation.statistics import BlockStatistics
from benchmark.record import DataFacts
from benchmark.reporting.board import BoardRow
from benchmark.reporting.remarks import namesakes

DISCLAIMER = "Research software, not for clinical use."


def data_notes(rows: Sequence[BoardRow]) -> list[str]:
    """Return one sentence for each thing that a reader must know of the data behind an arena's rows."""
    data = rows[0].first.record.data
    folds = len({result.record.data.split_hash for result in rows[0].results})
    notes = []
    if data.synthetic:
        notes.append("The images are synthetic: no conclusion about patients can be drawn.")
    train, validation, tested = (rows[0].values[name] for name in ("n_train", "n_validation", "n_test"))
    notes.append(
        f"{train} images to train, {validation} to choose (mean of {folds} folds); each of {tested} images is tested "
        "once."
        if folds > 1
        else f"{train} images to train, {validation} to choose, {tested} to test."
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
    said = dict.fromkeys(
        f"{row.values['backbone']}, {row.values['recipe']}: {row.values['reason']}" for row in rows if row.guessed
    )
    return [*notes, *namesakes(rows), *said]


def rank_notes(statistics: BlockStatistics, data: DataFacts) -> list[str]:
    """Return what a reader must know of a block's intervals and ranks."""
    unranked = all(rank is None for rank in statistics.ranks)
    both, what = ("Intervals", "scores") if unranked else ("Intervals and ranks", "ranks")
    if data.grouped:
        notes = [f"{both} rest on {statistics.clusters} patients ({statistics.n_test} images)."]
    elif statistics.clusters < statistics.n_test:
        notes = [
            f"{both} rest on {statistics.clusters} clusters of identical images. Patients are unknown, "
            f"so that intervals are too narrow."
        ]
    else:
        notes = ["Patients are unknown: intervals treat images as independent and are too narrow."]
    if statistics.folds > 1:
        notes.append("Each image is read by the network of its fold; AUROC is the mean of folds.")
    if statistics.seeds < 3:
        runs = {1: "One seed", 2: "Two seeds"}[statistics.seeds]
        notes.append(f"{runs}: the {what} are of these trained models, not of these backbones.")
    else:
        notes.append("Seeds are resampled too.")
    if unranked:
        notes.append("Rows have no rank because the split leaks; differences are of these test images.")
    if statistics.pairs:
        smallest = min(pair.comparison.p_holm for pair in statistics.pairs)
        pairs = f"{len(statistics.pairs)} pairs" if len(statistics.pairs) > 1 else "one pair"
        notes.append(
            f"Rows differ where the paired bootstrap of macro-F1 ({RESAMPLES} resamples, Student's t) gives a p "
            f"below {ALPHA} after Holm's correction for {pairs}; the smallest p is {smallest:.2g}."
        )
    return notes


def count(value: float) -> str:
    """Return a count, or a mean of counts with one decimal."""
    return str(int(value)) if value == int(value) else f"{value:.1f}"


def number(value: float, digits: int = 3) -> str:
    """Return a number with ``digits`` significant digits, never in scientific notation, whole ones whole."""
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.{digits}g}" if abs(value) < 10**digits and abs(value) >= 1e-4 else f"{value:.0f}"
