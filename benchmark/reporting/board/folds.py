"""The folds of a cross-validation as one: what they are called, and their scores on the images that all of them test.

Each image is tested once, by the network that had not seen it. Counts, macro-F1 and whatever else follows from
decisions is scored on all of these images at once; AUROC is the mean of the folds' own, because networks of two folds
have no common scale of probability.
"""

import math
import pickle
import sys
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean

import numpy as np

from benchmark.evaluation.many_rows.spread import stdev
from benchmark.evaluation.metrics import RunScores, score
from benchmark.grouping import grouped
from benchmark.records.outcomes import Outcome
from benchmark.records.record import DataFacts, Predictions
from benchmark.reporting.board.column import Average, Values
from benchmark.reporting.board.columns import COLUMNS, columns_of, in_section
from benchmark.reporting.board.derived_scores import scores_of
from benchmark.reporting.board.rows import Result, absent


def split_label(results: Sequence[Result], done: Iterable[Result]) -> str:
    """Return a row's split for people; where not all of its folds are done, how many are (``2 of 5 folds``)."""
    whole = results[0].split
    folds = results[0].record.data.folds
    count = len({result.record.data.fold for result in done})
    return whole if folds is None or count in (0, folds) else f"{count} of {whole}"


def by_fold(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Return scored runs by the hash of their split, each fold's in the order of their seeds."""
    ordered = sorted(results, key=lambda result: (result.record.data.fold or 0, result.record.seed))
    scored = [result for result in ordered if result.scores is not None and result.predictions is not None]
    return grouped((result.record.data.split_hash, result) for result in scored)


def predictions_by_fold(results: Iterable[Result]) -> dict[str, list[Predictions]]:
    """Return the predictions of scored runs by the hash of their split."""
    folds = by_fold(results)
    return {name: [run.predictions for run in runs if run.predictions is not None] for name, runs in folds.items()}


def trainings(results: Iterable[Result]) -> list[tuple[Result, ...]]:
    """Return scored runs as trainings: one run of each fold, as many as every fold has."""
    return list(zip(*by_fold(results).values(), strict=False))


def even(results: Sequence[Result]) -> bool:
    """Return whether every fold was trained with the same seeds."""
    seeds = [[run.record.seed for run in runs] for runs in by_fold(results).values()]
    return all(each == seeds[0] for each in seeds)


def aggregated(results: Sequence[Result]) -> tuple[Values, Values]:
    """Return a row's values and spreads from its runs, each as its column is averaged.

    Spreads are sample standard deviations over trainings or runs, and over folds under ``<column>_fold``.
    """
    scored = [result for result in results if result.scores]
    used, data = scored or results, results[0].record.data
    lines = [result.values for result in used]
    pooled = [_pooled(training) for training in trainings(scored)] if data.folds else []
    measured = {run.record.provenance.get("speeds_measured_in", run.record.key): run.values for run in used}
    devices = list(dict.fromkeys(str(line["device"]) for line in lines if "device" in line))
    values, spread = dict(lines[0]), {}
    for column in columns_of(data):
        name, average = column.name, column.average
        if average is Average.ALL_FOLDS and pooled and name in pooled[0]:
            values[name] = pooled[0][name]
        if not column.averaged:
            continue
        of_runs = average in _OF_RUNS or not pooled
        source = list(measured.values()) if average is Average.ONE_DEVICE_ONCE else lines if of_runs else pooled
        numbers = [line[name] for line in source if name in line]
        lacking = average is Average.ONE_DEVICE_ONCE and len(numbers) < _timed(
            source
        )  # a slow run has no latency p95
        if not numbers or lacking or (average in _ONE_DEVICE and len(devices) > 1):
            values.pop(name, None)  # speeds of two machines have no mean
            continue
        values[name] = fmean(numbers) if len(numbers) > 1 else numbers[0]
        if len(numbers) > 1:
            spread[name] = stdev(numbers)
    if len(devices) > 1:
        values["device"] = "; ".join(devices)
        values.pop("speed_block", None)
    if pooled:
        values["n_test"] = sum(runs[0].record.data.n_test for runs in by_fold(scored).values())
        values |= {name: round(fmean(line[name] for line in lines)) for name in ("n_train", "n_validation")}
    leaks = dict.fromkeys(leak for result in results for leak in result.record.data.leaks)
    values |= {"leaks": "; ".join(leaks)} if leaks else {}
    return values, spread | _between_folds(scored)


class Averages:
    """The values and spreads of rows as work that two processes may share."""

    make = staticmethod(aggregated)

    @staticmethod
    def size(made: tuple[Values, Values]) -> int:
        """Return about how many bytes they hold."""
        return 100 * sum(map(len, made))

    @staticmethod
    def packed(made: tuple[Values, Values]) -> bytes:
        """Return them as bytes."""
        return pickle.dumps(made, protocol=5)

    @staticmethod
    def unpacked(data: bytes) -> tuple[Values, Values]:
        """Return them from bytes of a copy of this process; the names of columns are the same of all rows."""
        values, spread = ({sys.intern(name): value for name, value in each.items()} for each in pickle.loads(data))
        return values, spread


def _timed(lines: Sequence[Values]) -> int:
    """Return in how many lines of runs the speed of prediction stands."""
    names = [column.name for column in COLUMNS if column.average is Average.ONE_DEVICE_ONCE]
    return sum(any(name in line for name in names) for line in lines)


def fold_scores(results: Iterable[Result]) -> dict[int, Values]:
    """Return the mean scores of a row's runs in each fold, by its number from 1; empty without folds."""
    runs = [run for of_fold in by_fold(results).values() for run in of_fold]
    folds = grouped((number, run.values) for run in runs if (number := run.record.data.fold) is not None)
    names = [column.name for column in in_section("scores")]
    return {
        number: {name: fmean(line[name] for line in lines) for name in names if all(name in line for line in lines)}
        for number, lines in sorted(folds.items())
    }


def failure(results: Sequence[Result]) -> Values:
    """Return the status of a row, with the reason where a run has no scores or a fold lacks a seed."""
    failures = [result for result in results if not result.scores]
    if failures:
        part = f"{len(failures)} of {len(results)} runs: " if len(results) > 1 else ""
        return {"status": str(failures[0].status), "reason": part + failures[0].reason}
    return {"status": str(Outcome.OK)} | ({} if even(results) else {"reason": "Its folds have different seeds."})


def _between_folds(scored: Sequence[Result]) -> Values:
    folds = fold_scores(scored).values()
    numbers = {
        column.name: [fold[column.name] for fold in folds if column.name in fold] for column in in_section("scores")
    }
    return {f"{name}_fold": stdev(each) for name, each in numbers.items() if len(each) > 1}


def _pooled(runs: Sequence[Result]) -> Values:
    """Return the scores of one training, one run of each fold, by column name."""
    record, data = runs[0].record, runs[0].record.data
    tests = [run.predictions.part("test") for run in runs if run.predictions is not None]
    joined = Predictions(**{name: np.concatenate([getattr(test, name) for test in tests]) for name in vars(tests[0])})
    scores = score(joined.labels, joined.probabilities, data.class_names, data.negative_class)
    values = scores_of(record, RunScores(scores, math.nan), joined)
    for column in COLUMNS:
        if column.average in _WEIGHTS:
            weights = [_WEIGHTS[column.average](test, data) for test in tests]
            everywhere = all(column.name in run.values for run in runs)
            values[column.name] = fmean((run.values[column.name] for run in runs), weights) if everywhere else None
    return {name: value for name, value in values.items() if not absent(value)}


def _healthy(test: Predictions, data: DataFacts) -> int:
    """Return the number of test images without a tumour."""
    negative = -1 if data.negative is None else data.negative
    return int((test.labels == negative).sum())


# of a fold, in the mean over folds
_WEIGHTS: dict[Average, Callable[[Predictions, DataFacts], int]] = {
    Average.FOLDS: lambda test, data: 1,
    Average.FOLDS_BY_IMAGES: lambda test, data: len(test.labels),
    Average.FOLDS_BY_HEALTHY: _healthy,
    Average.FOLDS_BY_ILL: lambda test, data: len(test.labels) - _healthy(test, data),
}
_ONE_DEVICE = (Average.ONE_DEVICE, Average.ONE_DEVICE_ONCE)
_OF_RUNS = (Average.RUNS, *_ONE_DEVICE)
