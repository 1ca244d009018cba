"""Strata for people, as tables of Markdown and of the page."""

from typing import Any

from benchmark.evaluation.intervals import in_brackets
from benchmark.evaluation.strata import Stratum
from benchmark.reporting.breakdown.strata import ByPatient, Facet, Strata
from benchmark.reporting.breakdown.strata_figure import MOST_ROWS
from benchmark.reporting.documents.markdown_cells import text_table

TITLE = "What is read worse: recall by stratum"
READING = (
    "Recall is the share of a stratum's images that are read as their class; in brackets its 95 % interval for "
    "other patients. Expected is the recall that it would have if each class were read there as well as in all "
    "images: a stratum may hold more of an easy class. Missed is the share of its tumours that are called healthy. "
    "The strata that the best row reads worst stand first. p asks whether the strata differ by more than their "
    "classes (Wald's test, patients resampled); it is of one facet and one row, and not corrected for the others."
)


def strata_markdown(strata: Strata | None, picture: str) -> list[str]:
    """Return the section of a comparison group in ``leaderboard.md``, nothing where nothing is known.

    Args:
        picture: the name of its figure without suffix, empty where there is none.
    """
    if strata is None:
        return []
    parts = [f"### {TITLE}", READING]
    parts += [text_table(*_table(strata, facet), left=(facet.title,)) for facet in strata.facets]
    parts += [f"![{TITLE}]({picture}.png)"] if picture else []
    if strata.patients:
        parts += ["#### By patient", text_table(*_patients(strata), left=("row", "worst read"))]
    return parts


def strata_page(strata: Strata | None) -> dict[str, Any] | None:
    """Return what the page's template needs of a comparison group, ``None`` where nothing is known."""
    if strata is None:
        return None
    tables = [dict(zip(("head", "lines"), _table(strata, facet), strict=True)) for facet in strata.facets]
    patients = dict(zip(("head", "lines"), _patients(strata), strict=True)) if strata.patients else None
    return {"title": TITLE, "reading": READING, "tables": tables, "patients": patients}


def _table(strata: Strata, facet: Facet) -> tuple[list[str], list[list[str]]]:
    """Return a facet's head and lines: one a stratum, and a last one with the tests."""
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
    return head, lines


def _cell(stratum: Stratum) -> str:
    text = f"{stratum.recall:.3f}{in_brackets(stratum.interval)}, expected {stratum.expected:.3f}"
    if stratum.missed is not None and stratum.missed_interval is not None:
        text += f"; missed {stratum.missed:.3f}{in_brackets(stratum.missed_interval)}"
    return text


def _patients(strata: Strata) -> tuple[list[str], list[list[str]]]:
    head = ["row", "all slices right", "some", "none", "worst read"]
    return head, [[name, *_patient_cells(each)] for name, each in zip(strata.names, strata.patients, strict=True)]


def _patient_cells(read: ByPatient) -> list[str]:
    worst = [f"{each.patient} ({each.class_name}, {each.wrong:.3g} of {each.images} wrong)" for each in read.worst]
    return [str(read.right), str(read.mixed), str(read.wrong), "; ".join(worst)]


def _p(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"
