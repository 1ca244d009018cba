"""Ensembles from records alone: the averaged probabilities of several rows, as a row of its own.

Nothing is trained and no framework is imported. Members are chosen, and weighed where that is wanted, on validation
images. An ensemble costs what its members cost together: its time for an image is the sum of theirs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from benchmark.errors import UserError, nearest
from benchmark.evaluation.temperature import cross_entropy, softmax
from benchmark.grouping import grouped
from benchmark.hashing import hash_json
from benchmark.records.outcomes import Outcome
from benchmark.records.record import BackboneFacts, NetworkFacts, Predictions, Record, Throughput, Timings
from benchmark.reporting.board.folds import by_fold
from benchmark.reporting.board.rows import Result, evaluate

Weights = Literal["none", "validation"]
Floats = npt.NDArray[np.float64]

SEEDS = "seeds"  # each row's own seeds together: a deep ensemble (Lakshminarayanan et al. 2017)
_BEST = "top"
_SPEEDS = ("infer_images_per_s", "pipeline_images_per_s")
_LATENCIES = ("latency_p50_ms",)


@dataclass(frozen=True)
class Ensembles:
    """Which ensembles are shown; see :func:`with_ensembles`."""

    asked: tuple[str, ...]
    weights: Weights = "none"


@dataclass(frozen=True)
class _Row:
    """The runs that a row of the board will be of."""

    runs: tuple[Result, ...]

    @property
    def name(self) -> str:
        return self.runs[0].record.backbone.name

    @property
    def images(self) -> str:
        """A hash of the data and splits, by which rows can be compared."""
        data = self.runs[0].record.data
        splits = sorted({run.record.data.split_hash for run in self.runs})
        return hash_json([data.fingerprint, data.class_names, data.limit, splits])

    @property
    def validation(self) -> float:
        """Mean macro-F1 on validation images, by which members are chosen."""
        return fmean(run.scores.val_macro_f1 for run in self.runs if run.scores is not None)


def with_ensembles(results: Sequence[Result], asked: Sequence[str], weights: Weights = "none") -> list[Result]:
    """Return results with those of ensembles behind them.

    Args:
        results: of all runs.
        asked: each ``top3`` (or another number: the best rows of each data set and split, by the macro-F1 of their
            validation images), ``seeds`` (of each row that has several, its seeds together), or names of backbones
            joined by ``+``.
        weights: whether members count alike, or as minimises the cross-entropy of their validation images.

    Raises:
        UserError: a name that no row has, or too few rows.
    """
    extended = list(results)
    for each in asked:
        made = [ensemble for group in _groups(results) for ensemble in _of_group(group, each, weights)]
        if not made:
            raise UserError(_why_none(results, each))
        extended += made
    return extended


def _groups(results: Sequence[Result]) -> list[list[_Row]]:
    """Return the scored rows by data and split."""
    scored = [result for result in results if result.scores is not None and result.predictions is not None]
    rows = [_Row(tuple(runs)) for runs in grouped((result.row_key, result) for result in scored).values()]
    return list(grouped((row.images, row) for row in rows).values())


def _of_group(rows: list[_Row], asked: str, weights: Weights) -> list[Result]:
    """Return the results of the ensembles that are asked for among rows that can be compared."""
    if asked == SEEDS:
        return [result for row in rows for result in _of_seeds(row, weights)]
    if asked.startswith(_BEST) and asked[len(_BEST) :].isdecimal():
        count = int(asked[len(_BEST) :])
        if count < 2:
            raise UserError(f"--ensemble {asked}: give at least top2.")
        best = sorted(rows, key=lambda row: (-row.validation, row.name))[:count]
        return _together(best, weights) if len(best) == count else []
    members = []
    for name in _names(asked):
        named = sorted((row for row in rows if row.name == name), key=lambda row: -row.validation)
        if not named:
            return []
        members.append(named[0])  # of several recipes the one that validation images prefer
    return _together(members, weights)


def _names(asked: str) -> list[str]:
    names = [name.strip() for name in asked.split("+")]
    if len(names) < 2 or "" in names or len(set(names)) < len(names):
        raise UserError(
            f"--ensemble {asked}: give top3, seeds, or different backbones joined by +, such as "
            "timm/resnet50+keras/vgg16."
        )
    return names


def _why_none(results: Sequence[Result], asked: str) -> str:
    names = sorted({result.record.backbone.name for result in results if result.scores is not None})
    if asked == SEEDS:
        return "--ensemble seeds: no row has several seeds."
    if asked.startswith(_BEST) and asked[len(_BEST) :].isdecimal():
        return f"--ensemble {asked}: no data set and split has so many rows."
    for name in _names(asked):
        if name not in names:
            return (
                f"--ensemble {asked}: no row of '{name}' is ok.{nearest(name, names)} There are {', '.join(names)}."
            )
    return f"--ensemble {asked}: these have no rows on the same images."


def _of_seeds(row: _Row, weights: Weights) -> list[Result]:
    """Return a row's seeds together, one result for each fold."""
    made = []
    for runs in by_fold(row.runs).values():
        if len(runs) > 1:
            name = f"{row.name} ({len(runs)} seeds)"
            made.append(_averaged(runs, name, weights))
    return made


def _together(rows: Sequence[_Row], weights: Weights) -> list[Result]:
    """Return rows together, a result for each fold and seed: the k-th seed of one with the k-th of the others."""
    folds = [by_fold(row.runs) for row in rows]
    name = " + ".join(row.name for row in rows)
    return [
        _averaged(runs, name, weights)
        for split in folds[0]
        for runs in zip(*(fold.get(split, []) for fold in folds), strict=False)
    ]


def _averaged(runs: Sequence[Result], name: str, weights: Weights) -> Result:
    """Return the result of some runs' mean probabilities.

    Raises:
        UserError: they predicted other images.
    """
    predictions = [run.predictions for run in runs if run.predictions is not None]
    first = predictions[0]
    order = np.lexsort((first.image_ids, first.parts))
    stacked = []
    for each in predictions:
        own = np.lexsort((each.image_ids, each.parts))
        alike = all(
            np.array_equal(getattr(each, field)[own], getattr(first, field)[order])
            for field in ("image_ids", "parts", "labels")
        )
        if not alike:
            raise UserError(f"--ensemble: the members of {name} predicted other images, and can't be averaged.")
        stacked.append(each.probabilities[own].astype(np.float64))
    probabilities = np.stack(stacked)
    validation = first.parts[order] == "validation"
    shares = np.full(len(runs), 1 / len(runs))
    if weights == "validation" and validation.any():
        shares = fit_shares(first.labels[order][validation], probabilities[:, validation])
    mean = np.tensordot(shares, probabilities, axes=1)
    ordered = {field: getattr(first, field)[order] for field in ("image_ids", "parts", "labels", "groups")}
    joined = Predictions(**ordered, probabilities=mean.astype(np.float32))
    records = [run.record for run in runs]
    return evaluate(_record(records, name, shares.tolist(), weights), joined)


def fit_shares(labels: npt.NDArray[np.int64], probabilities: Floats) -> Floats:
    """Return the shares of members, not negative and 1 together, whose mean has the least cross-entropy.

    Args:
        labels: int64, shape (N,).
        probabilities: of the members, shape (M, N, C).
    """
    from scipy.optimize import minimize

    def loss(values: Floats) -> float:
        return cross_entropy(labels, np.tensordot(softmax(values), probabilities, axes=1))

    optimum = minimize(loss, np.zeros(len(probabilities)), method="L-BFGS-B", bounds=[(-10, 10)] * len(probabilities))
    return softmax(np.asarray(optimum.x))


def _record(records: Sequence[Record], name: str, shares: list[float], weights: Weights) -> Record:
    """Return the record that an ensemble would have, had it been a run."""
    first = records[0]
    of_one_run = ("seed", "split_hash", "images_hash")
    members = [hash_json({key: value for key, value in record.identity.items() if key not in of_one_run})
               for record in records]  # fmt: skip
    own: dict[str, Any] = {
        name: value for name, value in first.identity.items()
        if name in ("recipe", "images_hash", "split_hash", "precision", "device_kind")
        and all(record.identity.get(name) == value for record in records)
    }  # fmt: skip
    identity = {**own, "ensemble": members, "weights": weights, "seed": first.seed, "backbone": name}
    frameworks, libraries = (
        " + ".join(dict.fromkeys(getattr(record.backbone, field) for record in records))
        for field in ("framework", "library")
    )
    kinds = {record.weights.used for record in records}
    used = first.weights if len(kinds) == 1 else next(r.weights for r in records if r.weights.used != "none")
    recipes = list(dict.fromkeys(record.recipe_name for record in records))
    shown = ", ".join(f"{share:.2f}" for share in shares)
    return Record(
        key=hash_json(identity),
        identity=identity,
        outcome=Outcome.OK,
        recipe_name=" + ".join(recipes),
        seed=first.seed,
        device=first.device if len({record.device for record in records}) == 1 else "several devices",
        backbone=BackboneFacts(
            name=name, framework=frameworks, library=libraries, origin="ensemble",
            note=f"Ensemble of {len(records)}: mean of their probabilities"
            + (f", shares {shown}, chosen on validation images" if weights == "validation" else ""),
        ),
        data=first.data,
        audit=first.audit,
        weights=used.model_copy(update={"fell_back": any(record.weights.fell_back for record in records)}),
        network=_network([record.network for record in records]),
        throughput=_throughput([record.throughput for record in records], {record.device for record in records}),
        timings=Timings(**{field: sum(getattr(record.timings, field) for record in records)
                           for field in Timings.model_fields}),
        provenance={"ensemble_of": [record.key for record in records]},
    )  # fmt: skip


def _network(networks: Sequence[NetworkFacts | None]) -> NetworkFacts | None:
    facts = [network for network in networks if network is not None]
    if len(facts) < len(networks):
        return None
    sums: Mapping[str, Any] = {
        name: sum(getattr(network, name) for network in facts)
        for name in ("parameters", "trainable_parameters", "gmacs")
    }
    return facts[0].model_copy(update={**sums, "stages": ()})


def _throughput(speeds: Sequence[Throughput], devices: set[str]) -> Throughput:
    """Return the speeds of networks that compute one after the other; none where they ran on several devices."""
    if len(devices) > 1 or len({speed.batch_size for speed in speeds}) > 1:
        return Throughput()
    values: dict[str, float] = {}
    for name in (*_SPEEDS, *_LATENCIES):
        each = [getattr(speed, name) for speed in speeds]
        if None not in each and all(each):
            values[name] = sum(each) if name in _LATENCIES else 1 / sum(1 / speed for speed in each)
    return Throughput(**values, batch_size=speeds[0].batch_size)
