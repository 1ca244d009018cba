"""``report.md``: a reporting checklist, filled in from the records.

The items are those of CLAIM that a benchmark can answer, with their numbers (Mongan, Moy & Kahn 2020, Checklist for
Artificial Intelligence in Medical Imaging, Radiology: Artificial Intelligence 2(2), e200029). What the records do not
tell is said not to be recorded: authors must add it.
"""

from collections.abc import Sequence

from benchmark.evaluation.bootstrap import RESAMPLES
from benchmark.reporting.board.board import Board, BoardRow
from benchmark.reporting.board.columns import in_output
from benchmark.reporting.board.phrases import DISCLAIMER, rank_notes, seed_notes
from benchmark.reporting.board.reproduce import command_of
from benchmark.reporting.documents import claim_answers as answers
from benchmark.reporting.documents.markdown_cells import cell, escaped, table

_INTRODUCTION = f"""# Reporting checklist

{DISCLAIMER} Filled in from the records of the runs; the numbers are those of CLAIM 2020 (Mongan, Moy & Kahn, \
Radiology: Artificial Intelligence 2020;2(2):e200029). Where it says *{answers.NOT_RECORDED}*, the records do not \
tell it: the authors must add it."""


def report(board: Board) -> str:
    """Return the checklist of every comparison group (data, split and image set) as Markdown."""
    parts = [_INTRODUCTION]
    for rows in board.comparison_groups():
        shown = [row for row in rows if row.values["n_runs"]]
        parts.append(f"## {escaped(rows[0].block.comparison_group_name)}")
        parts += _comparison_group(shown, rows, board) if shown else ["No run has a score."]
    return "\n\n".join(parts) + "\n"


def _comparison_group(shown: Sequence[BoardRow], rows: Sequence[BoardRow], board: Board) -> list[str]:
    data = shown[0].first.record.data
    notes = [
        note
        for name in dict.fromkeys(row.block.name for row in shown)
        if name in board.statistics
        for note in (*rank_notes(board.statistics[name], data), *seed_notes(board.statistics[name]))
    ]
    failed = [row for row in rows if not row.values["n_runs"]]
    unfinished = f"{len(failed)} of {len(rows)} rows have no score: see leaderboard.md." if failed else "None."
    sections = {
        "Data": [
            ("7", "Data source", answers.source(shown)),
            ("8", "Eligibility, setting, dates", ""),
            ("9", "Preprocessing", answers.by_row(shown, answers.preprocessing)),
            ("12", "De-identification", ""),
            ("14", "Reference standard", f"The source's labels: {', '.join(data.class_names)}."),
            ("16-18", "Annotators, tools, agreement", ""),
        ],
        "Partitions": [
            ("19", "Sample size", answers.sizes(shown)),
            ("20", "How images were assigned", answers.assignment(shown)),
            ("21", "Level at which parts are disjoint", answers.level(data)),
            ("21", "Leakage audit", answers.leakage(shown)),
            ("34", "Classes in each part", answers.balance(shown)),
            ("34", "Demographic and clinical characteristics", ""),
        ],
        "Model": [
            ("22", "Networks", answers.by_row(shown, answers.network)),
            ("23", "Software", answers.by_row(shown, answers.software)),
            ("24", "Initialisation", answers.by_row(shown, answers.weights)),
        ],
        "Training": [
            ("25", "Choices", answers.by_row(shown, answers.training)),
            ("25", "Device and time", answers.by_row(shown, answers.hardware)),
            ("26", "Selection of the final model", answers.by_row(shown, answers.selection)),
            ("27", "Ensembles", "None."),
        ],
        "Evaluation": [
            ("28", "Metrics", "As in the table below; definitions in leaderboard.md."),
            ("29", "Uncertainty", _uncertainty(notes)),
            ("30", "Robustness", _seeds(shown)),
            ("31", "Where the networks look", answers.by_row(shown, answers.explained)),
            ("32", "External data", ""),
            ("33", "Runs that did not finish", unfinished),
            ("37", "Failure analysis", answers.failures(shown)),
            ("38", "Limitations", answers.limitations(shown, [note for note in notes if "models, not" in note])),
        ],
    }
    parts = []
    for title, items in sections.items():
        lines = [
            [number, escaped(item), escaped(answer) if answer else f"*{answers.NOT_RECORDED}*"]
            for number, item, answer in items
        ]
        parts += [f"### {title}", table(("CLAIM", "item", "answer"), lines)]
    parts += ["### Metrics with 95 % intervals", _metrics(shown)]
    return [*parts, "### To do it again", _commands(shown)]


def _uncertainty(notes: Sequence[str]) -> str:
    method = (
        f"95 % intervals by a bootstrap of clusters ({RESAMPLES} resamples, Student's t, logit scale), counts by "
        f"Wilson's interval on the effective number of images, AUROC by its influences."
    )
    return " ".join(dict.fromkeys([method, *notes]))


def _seeds(rows: Sequence[BoardRow]) -> str:
    seeds = sorted({result.record.seed for row in rows for result in row.results})
    folds = {result.record.data.fold for row in rows for result in row.results} - {None}
    seeds_used = f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''} ({', '.join(map(str, seeds))})"
    return seeds_used + (f", {len(folds)} folds." if folds else ".")


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
