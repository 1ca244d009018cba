"""``report.md``: reporting checklists, filled in from the records.

All 44 items of CLAIM 2024 with their numbers (Tejani, Klontzas, Gatti, Mongan, Moy, Park & Kahn 2024, "Checklist for
Artificial Intelligence in Medical Imaging (CLAIM): 2024 update", Radiology: Artificial Intelligence 6(4), e240300),
and of TRIPOD+AI those on clusters, imbalance and subgroups (Collins et al. 2024, BMJ 385, e078378). What the records
do not tell is left to the authors, and said so.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmark.evaluation.bootstrap import RESAMPLES
from benchmark.records.record import Record
from benchmark.reporting.board.board import Board, BoardRow
from benchmark.reporting.board.columns import in_output
from benchmark.reporting.board.phrases import DISCLAIMER, rank_notes, seed_notes
from benchmark.reporting.board.reproduce import command_of
from benchmark.reporting.breakdown.breakdowns import Breakdowns
from benchmark.reporting.breakdown.corruptions import Robustness
from benchmark.reporting.breakdown.strata import Strata
from benchmark.reporting.documents import claim_answers as answers
from benchmark.reporting.documents import claim_training as of_training
from benchmark.reporting.documents.claim_training import Runs
from benchmark.reporting.documents.frequent_errors import frequent_errors
from benchmark.reporting.documents.markdown_cells import cell, escaped, table
from benchmark.reporting.summary.doubts import Level, doubts

_INTRODUCTION = f"""# Reporting checklist

{DISCLAIMER} Filled in from the records of the runs; the numbers are those of CLAIM 2024 (Tejani et al., Radiology: \
Artificial Intelligence 2024;6(4):e240300) and of TRIPOD+AI (Collins et al., BMJ 2024;385:e078378). Where it says \
*{answers.NOT_RECORDED}*, the records do not \
tell it: the authors must add it."""


@dataclass(frozen=True)
class _Group:
    """A comparison group.

    Args:
        rows: those with scores.
        all_rows: all of them.
        notes: what is said of its ranks.
        doubts: what could make its scores say less than they seem to.
        strata: recall by stratum, where anything is known.
        spoilt: what spoilt images cost, where a row read some.
    """

    rows: Sequence[BoardRow]
    all_rows: Sequence[BoardRow]
    notes: Sequence[str]
    doubts: Sequence[str]
    strata: Strata | None
    spoilt: Robustness | None


_Answer = Callable[[_Group], str]


def _rows(tell: Callable[[Sequence[BoardRow]], str]) -> _Answer:
    return lambda group: tell(group.rows)


def _runs(tell: Callable[[Runs], str]) -> _Answer:
    return lambda group: of_training.by_row(group.rows, tell)


def _each(tell: Callable[[Record], str]) -> _Answer:
    return _runs(of_training.each_run(tell))


def _text(text: str) -> _Answer:
    return lambda group: text


def _uncertainty(group: _Group) -> str:
    method = (
        f"95 % intervals by a bootstrap of clusters ({RESAMPLES} resamples, Student's t, logit scale), counts by "
        "Wilson's interval on the effective number of images (0 of n by Clopper and Pearson's), AUROC by its "
        "influences; pairs by Romano and Wolf's step-down, guessing by a permutation of labels among clusters."
    )
    return " ".join(dict.fromkeys([method, *group.notes]))


_NOBODY = _text("")
_CLAIM: dict[str, tuple[tuple[str, str, _Answer], ...]] = {
    "Title, abstract, introduction": (
        ("1", "Identification as a study of AI methodology", _NOBODY),
        ("2", "Summary of design, methods, results, conclusions", _NOBODY),
        ("3", "Background, intended use and role", _NOBODY),
        ("4", "Aims, objectives, hypotheses", _NOBODY),
    ),
    "Study design": (
        ("5", "Prospective or retrospective", _rows(answers.design)),
        ("6", "Study goal", _text("Comparison of networks under one training and one evaluation.")),
    ),
    "Data": (
        ("7", "Data sources", _rows(answers.source)),
        ("8", "Inclusion and exclusion criteria", _NOBODY),
        ("9", "Preprocessing", _each(of_training.preprocessing)),
        ("10", "Selection of data subsets", _rows(answers.subsets)),
        ("11", "De-identification", _NOBODY),
        ("12", "Missing data", _rows(answers.missing)),
        ("13", "Image acquisition protocol", _NOBODY),
    ),
    "Reference standard": (
        ("14", "Definition of the reference standard", _rows(answers.reference_standard)),
        ("15", "Rationale for it", _NOBODY),
        ("16", "Source of annotations", _NOBODY),
        ("17", "Annotation of the test set", _rows(answers.annotation)),
        ("18", "Variability between and within annotators", _NOBODY),
    ),
    "Data partitions": (
        ("19", "How data were assigned to partitions", _rows(answers.assignment)),
        ("20", "Level at which partitions are disjoint", _rows(answers.level)),
        ("20", "Leakage audit", _rows(answers.leakage)),
    ),
    "Testing data": (("21", "Intended sample size", _rows(answers.intended_size)),),
    "Model": (
        ("22", "Description of the model", _each(of_training.network)),
        ("23", "Software", _each(of_training.software)),
        ("24", "Initialization of parameters", _each(of_training.weights)),
    ),
    "Training": (
        ("25", "Details of the training approach", _runs(of_training.training)),
        ("25", "Device and time", _runs(of_training.hardware)),
        ("26", "Selection of the final model", _runs(of_training.selection)),
        ("27", "Ensembling", _rows(answers.ensembling)),
    ),
    "Evaluation": (
        ("28", "Metrics of performance", _text("As in the table below; definitions in columns.csv.")),
        ("29", "Statistical significance and uncertainty", _uncertainty),
        ("30", "Robustness or sensitivity analysis", lambda group: answers.robustness(group.rows, group.spoilt)),
        ("31", "Explainability", _runs(of_training.explained)),
        ("32", "Evaluation on internal data", _rows(answers.internal_data)),
        ("33", "Testing on external data", _rows(answers.external_data)),
        ("34", "Clinical trial registration", _text("Not applicable: no trial.")),
    ),
    "Results": (
        ("35", "Numbers included and excluded", _rows(answers.flow)),
        ("36", "Demographic and clinical characteristics by partition", _NOBODY),
        ("36", "Classes in each partition", _rows(answers.balance)),
        ("37", "Performance and its uncertainty", _text("The table below.")),
        ("38", "Diagnostic performance and its precision", _rows(answers.diagnostic)),
        ("39", "Failure analysis", _rows(frequent_errors)),
        ("39", "Runs that did not finish", lambda group: answers.unfinished(group.all_rows)),
    ),
    "Discussion": (
        ("40", "Limitations", lambda group: answers.limitations(group.rows, group.doubts)),
        ("41", "Implications for practice", _text(DISCLAIMER)),
    ),
    "Other information": (
        ("42", "Protocol or further technical details", _text("The commands below; each record's provenance.")),
        ("43", "Availability of software, model, data", _NOBODY),
        ("44", "Funding", _NOBODY),
    ),
}
_TRIPOD: tuple[tuple[str, str, _Answer], ...] = (
    ("12d, 23b", "Heterogeneity across clusters", lambda group: answers.clusters(group.rows, group.strata)),
    ("13", "Class imbalance", _rows(answers.imbalance)),
    ("14, 23a", "Fairness, subgroups", lambda group: answers.subgroups(group.rows, group.strata)),
)


def report(board: Board, breakdowns: Breakdowns) -> str:
    """Return the checklist of every comparison group (data, split and image set) as Markdown."""
    parts = [_INTRODUCTION]
    for rows in board.comparison_groups():
        shown = [row for row in rows if row.values["n_runs"]]
        parts.append(f"## {escaped(rows[0].block.comparison_group_name)}")
        parts += _comparison_group(shown, rows, board, breakdowns) if shown else ["No run has a score."]
    return "\n\n".join(parts) + "\n"


def _comparison_group(
    shown: Sequence[BoardRow], rows: Sequence[BoardRow], board: Board, breakdowns: Breakdowns
) -> list[str]:
    data = shown[0].first.record.data
    notes = [
        note
        for statistics in board.judged(shown).values()
        for note in (*rank_notes(statistics, data), *seed_notes(statistics))
    ]
    name = rows[0].block.comparison_group
    doubted = [doubt.text for doubt in doubts(board, rows) if doubt.level is not Level.GOOD]
    group = _Group(shown, rows, notes, doubted, breakdowns.strata.get(name), breakdowns.robustness.get(name))
    parts = []
    for title, items in _CLAIM.items():
        parts += [f"### {title}", table(("CLAIM", "item", "answer"), _lines(items, group))]
    parts += ["### Of TRIPOD+AI", table(("TRIPOD+AI", "item", "answer"), _lines(_TRIPOD, group))]
    parts += ["### Metrics with 95 % intervals", _metrics(shown)]
    return [*parts, "### To do it again", _commands(shown)]


def _lines(items: Sequence[tuple[str, str, _Answer]], group: _Group) -> list[list[str]]:
    answered = [(number, item, answer(group)) for number, item, answer in items]
    return [
        [number, escaped(item), escaped(text) if text else f"*{answers.NOT_RECORDED}*"]
        for number, item, text in answered
    ]


def _metrics(rows: Sequence[BoardRow]) -> str:
    data, values = rows[0].first.record.data, rows[0].values
    head = ["metric", *(f"{row.values['backbone']}, {row.values['recipe']}, {row.values['weights']}" for row in rows)]
    lines = []
    for column in in_output("checklist", data):
        of = f" (of {values.get(f'support_{column.class_name}', 0)})" if column.class_name else ""
        if column.class_name or any(column.name in row.values for row in rows):
            lines.append([escaped(column.title + of), *(cell(row, column) for row in rows)])
    return table(head, lines)


def _commands(rows: Sequence[BoardRow]) -> str:
    commands = dict.fromkeys(command for command in map(command_of, rows) if command)
    return "\n".join(f"    {command}" for command in commands) if commands else f"*{answers.NOT_RECORDED}*"
