"""The folds of a cross-validation as one: what they are called, and their scores on the images that all of them test.

Each image is tested once, by the network that had not seen it. Counts, macro-F1 and whatever else follows from
decisions is scored on all of these images at once; AUROC is the mean of the folds' own, because networks of two folds
have no common scale of probability.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, stdev
from typing import Any

import numpy as np

from benchmark.evaluation.metrics import RunScores, score
from benchmark.records.outcomes import Outcome
from benchmark.records.record import Predictions
from benchmark.reporting.board.cam_scores import NAMES as CAM_NAMES
from benchmark.reporting.board.derived_scores import extra_scores
from benchmark.reporting.board.rows import SCORES, SHARED_SPEEDS, SPEEDS, TIMES, Result, Row, averaged, run_row

_OF_HEALTHY = {"sensitivity_at_95": False, "specificity_at_95": True, "cost": None}  # else of ill, or of all images
_SHARED_COUNTS = ("n_train", "n_validation")


def split_label(results: Sequence[Result], done: Iterable[Result]) -> str:
    """Return a row's split for people; where not all of its folds are done, how many are (``2 of 5 folds``)."""
    whole = results[0].split
    folds = results[0].record.data.folds
    count = len({result.record.data.fold for result in done})
    return whole if folds is None or count in (0, folds) else f"{count} of {whole}"


def by_fold(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Return scored runs by the hash of their split, each fold's in the order of their seeds."""
    folds: dict[str, list[Result]] = {}
    for result in sorted(results, key=lambda result: (result.record.data.fold or 0, result.record.seed)):
        if result.scores is not None and result.predictions is not None:
            folds.setdefault(result.record.data.split_hash, []).append(result)
    return folds


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


def aggregated(results: Sequence[Result]) -> tuple[Row, Row]:
    """Return a row's values and spreads from its runs.

    Values are means over trainings; speeds and times over runs, and only where all ran on one device. Spreads are
    sample standard deviations over trainings, and over folds under ``<column>_fold``. What several runs have from one
    measurement counts once.
    """
    scored = [result for result in results if result.scores]
    lines = [run_row(result) for result in scored or results]
    pooled = [_pooled(training) for training in trainings(scored)] if results[0].record.data.folds else []
    values, spread = dict(lines[0]), {}
    devices = list(dict.fromkeys(str(line["device"]) for line in lines if "device" in line))
    of_runs = {*SPEEDS, *TIMES, *CAM_NAMES}
    measured = {
        result.record.provenance.get("speeds_measured_in", result.record.key): line
        for result, line in zip(scored or results, lines, strict=True)
    }
    for name in averaged(results[0].record.data.class_names):
        source = pooled if pooled and name not in of_runs else lines
        if name in SHARED_SPEEDS:
            source = list(measured.values())
        numbers = [float(line[name]) for line in source if name in line]
        if not numbers or (name in SPEEDS and len(devices) > 1):
            values.pop(name, None)  # speeds of two machines have no mean
            continue
        values[name] = fmean(numbers) if len(numbers) > 1 else next(line[name] for line in source if name in line)
        if len(numbers) > 1:
            spread[name] = stdev(numbers)
    if len(devices) > 1:
        values["device"] = "; ".join(devices)
        values.pop("speed_block", None)
    if pooled:
        values |= {name: count for name, count in pooled[0].items() if "support_" in name or name == "patients"}
        values["n_test"] = sum(runs[0].record.data.n_test for runs in by_fold(scored).values())
        values |= {name: round(fmean(line[name] for line in lines)) for name in _SHARED_COUNTS}
    leaks = dict.fromkeys(leak for result in results for leak in result.record.data.leaks)
    values |= {"leaks": " ".join(leaks)} if leaks else {}
    return values, spread | _between_folds(scored)


def fold_scores(results: Iterable[Result]) -> dict[int, Row]:
    """Return the mean scores of a row's runs in each fold, by its number; empty without folds."""
    folds: dict[int, list[Row]] = {}
    for runs in by_fold(results).values():
        number = runs[0].record.data.fold
        if number is not None:
            folds.setdefault(number, []).extend(run_row(run) for run in runs)
    return {number: _means(lines, SCORES) for number, lines in sorted(folds.items())}


def failure(results: Sequence[Result]) -> Row:
    """Return the status of a row, with the reason where a run has no scores or a fold lacks a seed."""
    failures = [result for result in results if not result.scores]
    if failures:
        part = f"{len(failures)} of {len(results)} runs: " if len(results) > 1 else ""
        return {"status": str(failures[0].status), "reason": part + failures[0].reason}
    return {"status": str(Outcome.OK)} | ({} if even(results) else {"reason": "Its folds have different seeds."})


def _between_folds(scored: Sequence[Result]) -> Row:
    folds = fold_scores(scored)
    numbers = {name: [line[name] for line in folds.values() if name in line] for name in SCORES}
    return {f"{name}_fold": stdev(each) for name, each in numbers.items() if len(each) > 1}


def _pooled(runs: Sequence[Result]) -> Row:
    """Return the scores of one training, one run for each fold, as a flat line."""
    first, data = runs[0], runs[0].record.data
    tests = [run.predictions.part("test") for run in runs if run.predictions is not None]
    joined = Predictions(
        *(
            np.concatenate([getattr(test, name) for test in tests])
            for name in ("image_ids", "parts", "labels", "groups", "probabilities")
        )
    )
    lines = [run_row(run) for run in runs]
    means = _means(lines, ("auroc", "val_macro_f1"))
    scores = replace(
        score(joined.labels, joined.probabilities, data.class_names, data.negative_class),
        auroc=means.get("auroc", float("nan")),
    )
    further = {**extra_scores(first.record, joined), **_rates(runs, tests)}
    whole = replace(first, scores=RunScores(scores, means.get("val_macro_f1", float("nan"))), extras=further)
    return run_row(whole)


def _rates(runs: Sequence[Result], tests: Sequence[Predictions]) -> Row:
    """Return means over the images of all folds of what each fold says of its own: sensitivity and specificity, each
    fold at the threshold of its own validation images, and cost.
    """
    data = runs[0].record.data
    negative = -1 if data.negative is None else data.negative
    found: Row = {}
    for name, healthy in _OF_HEALTHY.items():
        if all(name in run.extras for run in runs):
            weights = [
                len(test.labels) if healthy is None else int(((test.labels == negative) == healthy).sum())
                for test in tests
            ]
            total = sum(weight * run.extras[name] for weight, run in zip(weights, runs, strict=True))
            found[name] = total / sum(weights)
    return found


def _means(lines: Sequence[Mapping[str, Any]], names: Iterable[str]) -> Row:
    numbers = {name: [float(line[name]) for line in lines if name in line] for name in names}
    return {name: fmean(each) for name, each in numbers.items() if len(each) == len(lines)}
