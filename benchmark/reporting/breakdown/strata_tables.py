"""Strata for people, as tables of Markdown and of the page."""

from benchmark.evaluation.intervals import in_brackets
from benchmark.evaluation.strata import Stratum
from benchmark.reporting.breakdown.part import Part, PartTable
from benchmark.reporting.breakdown.strata import ByPatient, Facet, Strata
from benchmark.reporting.breakdown.strata_figure import MOST_ROWS

TITLE = "What is read worse: recall by stratum"
READING = (
    "Recall is the share of a stratum's images that are read as their class; in brackets its 95 % interval for "
    "other patients. Expected is the recall that it would have if each class were read there as well as in all "
    "images: a stratum may hold more of an easy class. Missed is the share of its tumours that are called healthy. "
    "The strata that the best row reads worst stand first. p asks whether the strata differ by more than their "
    "classes (Wald's test, patients resampled); it is of one facet and one row, and not corrected for the others."
)


def strata_part(strata: Strata) -> Part:
    """Return what is said of a comparison group's strata."""
    patients = (_patients(strata),) if strata.patients else ()
    return Part(TITLE, READING, (*(_table(strata, facet) for facet in strata.facets), *patients))


def _table(strata: Strata, facet: Facet) -> PartTable:
    """Return a facet's table: a line for each stratum, and a last one with the tests."""
    shown = strata.names[:MOST_ROWS]
    grouped = strata.rows[0].first.record.data.grouped
    head = [facet.title, "images", *(["patients"] if grouped else []), *shown]
    lines = []
    for k, name in enumerate(facet.names):
        first = facet.rows[0].strata[k]
        sizes = [str(first.images), *([str(first.clusters)] if grouped else [])]
        lines.append([name, *sizes, *(_cell(stratified.strata[k]) for stratified in facet.rows[: len(shown)])])
    tests = ["" if stratified.p is None else f"p {_p(stratified.p)}" for stratified in facet.rows[: len(shown)]]
    if any(tests):
        lines.append(["differ by more than their classes?", *[""] * (1 + grouped), *tests])
    if facet.unknown:
        lines.append(["not known", str(facet.unknown), *[""] * (len(head) - 2)])
    return PartTable(head, lines, (facet.title,), f"Recall by {facet.title}")


def _cell(stratum: Stratum) -> str:
    text = f"{stratum.recall:.3f}{in_brackets(stratum.interval)}, expected {stratum.expected:.3f}"
    if stratum.missed is not None and stratum.missed_interval is not None:
        text += f"; missed {stratum.missed:.3f}{in_brackets(stratum.missed_interval)}"
    return text


def _patients(strata: Strata) -> PartTable:
    head = ["row", "all slices right", "some", "none", "worst read"]
    lines = [[name, *_patient_cells(each)] for name, each in zip(strata.names, strata.patients, strict=True)]
    return PartTable(head, lines, ("row", "worst read"), "How whole patients are read", "By patient")


def _patient_cells(read: ByPatient) -> list[str]:
    worst = [f"{each.patient} ({each.class_name}, {each.wrong:.3g} of {each.images} wrong)" for each in read.worst]
    return [str(read.right), str(read.mixed), str(read.wrong), "; ".join(worst)]


def _p(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"
