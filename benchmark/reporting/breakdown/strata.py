"""Scores in strata: recall and missed tumours by lesion area, plane, scanner, source, slice thickness and patient."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from benchmark.evaluation.bootstrap import Bootstrap
from benchmark.evaluation.clusters import ClusteredImages, Readings
from benchmark.evaluation.intervals import named_ends
from benchmark.evaluation.metrics import decide
from benchmark.evaluation.strata import Stratified, Stratum, stratify
from benchmark.records.record import DataFacts
from benchmark.reporting.board.board import BoardRow
from benchmark.reporting.board.column import WHO, Values
from benchmark.reporting.board.folds import predictions_by_fold
from benchmark.reporting.board.image_cases import scored_rows
from benchmark.reporting.breakdown.image_facts import AREA, NAMES, NUMBERS, THICKNESS, Facts
from benchmark.reporting.figures.labels import full_names

COLUMNS = {  # of strata.csv, and what each means
    **WHO,
    "facet": "By what the test images are cut, such as lesion area.",
    "stratum": "The part of them.",
    "n_images": "Its images.",
    "n_patients": "Its patients, or clusters of near-duplicates where patients are unknown.",
    "recall": "Share of its images that are read as their class.",
    "recall_low": "Lower end of its 95 % interval for other patients.",
    "recall_high": "Upper end of its 95 % interval for other patients.",
    "expected": "What it would be if each class were read there as it is everywhere.",
    "difference": "Recall less what is expected.",
    "missed": "Share of its tumours that are called healthy; empty without a class of healthy images.",
    "missed_low": "Lower end of its 95 % interval for other patients.",
    "missed_high": "Upper end of its 95 % interval for other patients.",
    "p": "p-value of the row's facet: whether strata differ by more than their classes (Wald's test); not corrected.",
}
TITLES = {
    AREA: "lesion area",
    THICKNESS: "slice thickness",
    "plane": "plane",
    "scanner": "scanner",
    "source": "source",
}
THIRDS = ("smallest third", "middle third", "largest third")
OTHERS = "others"
WORST = 10  # patients that are named
_MOST = 8  # strata of a kind; the rest is one
_FEW_VALUES = 4  # so many different thicknesses are strata of their own
_FEWEST = 6  # images of which a third can be taken


@dataclass(frozen=True)
class Facet:
    """One way of cutting the test images of a comparison group.

    Args:
        title: for people, such as ``lesion area``.
        names: of its strata, those first that the board's best row reads worst.
        rows: for each scored row of the comparison group its strata in that order, and the test of them all.
        unknown: test images of which it is not known.
    """

    title: str
    names: tuple[str, ...]
    rows: tuple[Stratified, ...]
    unknown: int


@dataclass(frozen=True)
class PatientReading:
    """How the slices of one patient were read."""

    patient: str
    class_name: str
    images: int
    wrong: float


@dataclass(frozen=True)
class ByPatient:
    """How a row read whole patients.

    Args:
        right, mixed, wrong: patients with all slices read right, some, none (a slice counts as right where most
            trainings read it so).
        worst: those with the most slices read wrong, ten at most.
    """

    right: int
    mixed: int
    wrong: int
    worst: tuple[PatientReading, ...]


@dataclass(frozen=True)
class Strata:
    """All strata of a comparison group.

    Args:
        rows: its scored rows, the highest macro-F1 first.
        names: of these rows.
        facets: those of which something is known.
        patients: for each row; empty where patients are not known.
    """

    rows: tuple[BoardRow, ...]
    names: tuple[str, ...]
    facets: tuple[Facet, ...]
    patients: tuple[ByPatient, ...]


@dataclass(frozen=True)
class _Read:
    """What a row read: its images, and for each the share of trainings that read it right, or called it healthy."""

    images: ClusteredImages
    right: npt.NDArray[np.float64]
    healthy: npt.NDArray[np.float64] | None

    @classmethod
    def of(cls, row: BoardRow, negative: int | None) -> "_Read | None":
        folds = predictions_by_fold(row.results)
        if not folds:
            return None
        images = ClusteredImages.of_row(folds)
        readings = Readings.of(folds, images)
        if readings is None or not readings.trainings:
            return None
        predicted = np.stack([decide(each) for each in readings.probabilities])
        healthy = None if negative is None else np.asarray((predicted == negative).mean(axis=0))
        return cls(images, readings.right(), healthy)

    def chosen(self, mine: npt.NDArray[np.bool_]) -> "_Read":
        """Return the reading of some images, their clusters numbered anew."""
        images = {field.name: getattr(self.images, field.name) for field in fields(ClusteredImages)}
        images = {name: value[mine] if name != "count" else value for name, value in images.items()}
        distinct, images["clusters"] = np.unique(images["clusters"], return_inverse=True)
        images["count"] = len(distinct)
        return _Read(
            ClusteredImages(**images), self.right[mine], None if self.healthy is None else self.healthy[mine]
        )


def strata_of(rows: Sequence[BoardRow], facts: Facts) -> Strata | None:
    """Return the strata of a comparison group.

    Args:
        rows: of the comparison group.
        facts: of its test images.

    Returns:
        ``None`` where nothing is known that parts the images.
    """
    data = rows[0].first.record.data
    if not facts and not data.grouped:
        return None
    read = {id(row): reading for row in scored_rows(rows) if (reading := _Read.of(row, data.negative)) is not None}
    comparable = tuple(row for row in scored_rows(rows) if id(row) in read)
    if not comparable:
        return None
    readings = [read[id(row)] for row in comparable]
    ids = readings[0].images.image_ids.tolist()
    readings = [each for each in readings if each.images.image_ids.tolist() == ids]
    comparable = tuple(row for row in comparable if read[id(row)].images.image_ids.tolist() == ids)
    facets = tuple(
        facet
        for name in (AREA, *NAMES, THICKNESS)
        if (facet := _facet(name, [facts.get(one, {}).get(name, "") for one in ids], readings, data)) is not None
    )
    patients = tuple(_by_patient(each, data) for each in readings) if data.grouped else ()
    if not facets and not patients:
        return None
    return Strata(comparable, tuple(full_names(comparable)), facets, patients)


def strata_lines(strata: Strata) -> list[Values]:
    """Return a line for each row, facet and stratum, under :data:`COLUMNS`."""
    return [
        {**row.who, "facet": facet.title, "stratum": name, **_values(stratum), "p": stratified.p}
        for facet in strata.facets
        for row, stratified in zip(strata.rows, facet.rows, strict=True)
        for name, stratum in zip(facet.names, stratified.strata, strict=True)
    ]


def _values(stratum: Stratum) -> Values:
    return {
        "n_images": stratum.images,
        "n_patients": stratum.clusters,
        "recall": stratum.recall,
        **named_ends("recall", stratum.interval),
        "expected": stratum.expected,
        "difference": stratum.recall - stratum.expected,
        "missed": stratum.missed,
        **named_ends("missed", stratum.missed_interval),
    }


def _facet(name: str, values: Sequence[str], readings: Sequence[_Read], data: DataFacts) -> Facet | None:
    """Return a facet, ``None`` where fewer than two strata have images."""
    names = _strata_names(name, values)
    order = list(dict.fromkeys(_ordered(name, names)))
    if len(order) < 2:
        return None
    mine = np.array([bool(each) for each in names])
    number = np.array([order.index(each) for each in names if each], dtype=np.int64)
    chosen = [reading.chosen(mine) for reading in readings]
    bootstrap = Bootstrap(chosen[0].images.count)
    stratified = [
        stratify(each.images, each.right, each.healthy, number, negative=data.negative, bootstrap=bootstrap)
        for each in chosen
    ]
    worst = sorted(range(len(order)), key=lambda k: stratified[0].strata[k].recall)
    return Facet(
        title=TITLES[name],
        names=tuple(order[k] for k in worst),
        rows=tuple(Stratified(tuple(each.strata[k] for k in worst), each.p) for each in stratified),
        unknown=int((~mine).sum()),
    )


def _strata_names(name: str, values: Sequence[str]) -> list[str]:
    """Return the stratum of each image, empty where the fact is not known."""
    if name not in NUMBERS:
        frequent = {each for each, _ in Counter(filter(None, values)).most_common(_MOST)}
        return [each if each in frequent or not each else OTHERS for each in values]
    numbers = np.array([float(each) if each else np.nan for each in values])
    measured = numbers[~np.isnan(numbers)]
    distinct = np.unique(measured)
    if name == THICKNESS and len(distinct) <= _FEW_VALUES:
        return ["" if np.isnan(each) else f"{each:g} mm" for each in numbers]
    if len(measured) < _FEWEST or len(distinct) < len(THIRDS):
        return [""] * len(values)
    cuts = np.quantile(measured, [1 / 3, 2 / 3])
    third = np.searchsorted(cuts, numbers, side="left")
    shown = []
    for k, title in enumerate(THIRDS):
        inside = measured[np.searchsorted(cuts, measured, side="left") == k]
        shown.append(f"{title} ({_range(name, inside)})" if len(inside) else "")
    return ["" if np.isnan(number) else shown[k] for number, k in zip(numbers, third, strict=True)]


def _range(name: str, values: npt.NDArray[np.float64]) -> str:
    if name == THICKNESS:
        return f"{values.min():g} to {values.max():g} mm"
    return f"{100 * values.min():.2g} to {100 * values.max():.2g} % of the image"


def _ordered(name: str, names: Sequence[str]) -> list[str]:
    present = sorted({each for each in names if each})
    if name in NUMBERS:
        return sorted(
            present, key=lambda each: next((k for k, title in enumerate(THIRDS) if each.startswith(title)), 0)
        )
    return present


def _by_patient(read: _Read, data: DataFacts) -> ByPatient:
    images, correct = read.images, read.right > 0.5
    slices = np.bincount(images.clusters, minlength=images.count)
    lost = np.bincount(images.clusters, 1.0 - read.right, images.count)
    hits = np.bincount(images.clusters, correct, images.count)
    first = np.zeros(images.count, dtype=np.int64)
    first[images.clusters[::-1]] = np.arange(len(images.clusters))[::-1]
    worst = [k for k in np.lexsort((images.groups[first], -lost / slices, -lost)) if lost[k] > 0][:WORST]
    return ByPatient(
        right=int((hits == slices).sum()),
        mixed=int(((hits > 0) & (hits < slices)).sum()),
        wrong=int((hits == 0).sum()),
        worst=tuple(
            PatientReading(
                str(images.groups[first[k]]),
                data.class_names[images.labels[first[k]]],
                int(slices[k]),
                float(lost[k]),
            )
            for k in worst
        ),
    )
