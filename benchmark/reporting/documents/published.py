"""Published results on the same data set, to stand beside a board: never ranked, never compared with its rows.

``published.csv`` has a row for each result that a work reports, with a DOI or an address to look it up; what can't be
found there does not stand in it. ``seed_notebook.csv``, beside the suite that repeats it, has one for
each experiment of the notebook that this benchmark grew from.
"""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean

from benchmark.records.record import DataFacts
from benchmark.reporting.board.columns import in_section

NOTEBOOK = "seed notebook"
_PUBLISHED = Path(__file__).with_name("published.csv")
_EXPERIMENTS = Path(__file__).parents[2] / "suites" / "seed_notebook.csv"
_NOTEBOOK_DATA, _NOTEBOOK_PROTOCOL = "nickparvar-v1", "official split"
# data sets with a published row: classes, and images in all and in the test part of the official split
_KNOWN = {
    "cheng": (frozenset({"glioma", "meningioma", "pituitary"}), 3064, None),
    "nickparvar-v1": (frozenset({"glioma", "meningioma", "notumor", "pituitary"}), 7023, 1311),
}


@dataclass(frozen=True)
class Published:
    """One published result. What is not reported is ``None``, or absent from its mapping.

    Args:
        work: the paper or notebook that reports it.
        source: its DOI or address; of the notebook the file with its figures.
        model: the network as that work calls it.
        protocol: the split as that work describes it.
        pretrained: whether training began with pretrained weights.
        accuracy, macro_f1: 0-1.
        counts: images that are not predicted as their class, and missed tumours, by the name of the board's column.
        caveat: what a reader must know of it, else empty.
    """

    work: str
    source: str
    model: str
    protocol: str
    pretrained: bool
    accuracy: float | None
    macro_f1: float | None
    counts: Mapping[str, int]
    caveat: str

    @property
    def level(self) -> str:
        """What was kept apart between training and test: ``patient``, ``slice`` (patients are on both sides), or
        ``unknown``.
        """
        return next((level for level in ("patient", "slice") if self.protocol.startswith(level)), "unknown")


LEVELS = {
    "patient": "patients kept apart",
    "slice": "split by slice, patients on both sides",
    "unknown": "not known whether patients were kept apart",
}
PUBLISHED_NOTE = (
    "Published results on the same data set, as they were reported: protocols differ, and so they are neither ranked "
    "nor compared. Where patients are on both sides of a split, scores are too high."
)


def known_data(data: DataFacts) -> str | None:
    """Return under which name results on these images are published, ``None`` where none are known.

    A data set is known by its name, or by its classes and numbers of images (of which 1 % may be absent).
    """
    total = data.n_train + data.n_validation + data.n_test
    for name, (classes, images, tested) in _KNOWN.items():
        if frozenset(data.class_names) != classes or data.synthetic:
            continue
        named = data.name.casefold().startswith(name)
        whole = data.limit is None and 0.99 * images <= total <= images
        if named or (whole and (tested is None or (data.split.startswith("official") and data.n_test == tested))):
            return name
    return None


def published_results(data: DataFacts) -> tuple[Published, ...]:
    """Return what is published on the data set of a record, the highest accuracy first; empty for other data."""
    name = known_data(data)
    results = [] if name is None else [*_published().get(name, ()), *(_notebook() if name == _NOTEBOOK_DATA else ())]
    return tuple(sorted(results, key=lambda result: (-(result.accuracy or 0.0), result.work, result.model)))


def published_table(data: DataFacts) -> tuple[list[str], list[tuple[Published, list[str]]]]:
    """Return the headings of a table of what is published, that of remarks last, and for each result its cells, but
    for its remark; no line where nothing is known.
    """
    results = published_results(data)
    counts = [column for column in in_section("errors", data) if any(column.name in each.counts for each in results)]
    head = ["work", "source", "model", "weights", "protocol", "patients", "accuracy", "macro-F1"]
    lines = []
    for each in results:
        weights = "pretrained" if each.pretrained else "none"
        cells = [each.work, each.source, each.model, weights, each.protocol, LEVELS[each.level]]
        cells += ["" if score is None else f"{score:.4g}" for score in (each.accuracy, each.macro_f1)]
        lines.append((each, [*cells, *(column.text(each.counts.get(column.name)) for column in counts)]))
    return [*head, *(column.title for column in counts), "note"], lines


@cache
def _published() -> dict[str, list[Published]]:
    """Return the rows of ``published.csv`` by data set."""
    by_data_set: dict[str, list[Published]] = {}
    for line in _lines(_PUBLISHED):
        by_data_set.setdefault(line["dataset"], []).append(
            Published(
                work=line["work"],
                source=line["source"],
                model=line["model"],
                protocol=line["protocol"],
                pretrained=line["pretrained"] == "yes",
                accuracy=_number(line["accuracy"]),
                macro_f1=_number(line["macro_f1"]),
                counts={},
                caveat=line["caveat"],
            )
        )
    return by_data_set


@cache
def _notebook() -> list[Published]:
    results = []
    for line in _lines(_EXPERIMENTS):
        of_classes = {name: _number(line[name]) for name in line if name.startswith(("f1_", "fn_", "missed_"))}
        numbers = {name: number for name, number in of_classes.items() if number is not None}
        f1 = [number for name, number in numbers.items() if name.startswith("f1_")]
        results.append(
            Published(
                work=NOTEBOOK,
                source=f"suites/{_EXPERIMENTS.name}",
                model=f"{line['backbone']}, {line['id']}",
                protocol=_NOTEBOOK_PROTOCOL,
                pretrained=line["backbone"] != "baseline_cnn",
                accuracy=_number(line["accuracy"]),
                macro_f1=fmean(f1) if f1 else None,
                counts={name: int(number) for name, number in numbers.items() if not name.startswith("f1_")},
                caveat=line["note"],
            )
        )
    return results


def _number(text: str) -> float | None:
    number = float(text) if text else math.nan
    return None if math.isnan(number) else number


def _lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
