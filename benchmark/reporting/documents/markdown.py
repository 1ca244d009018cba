"""The leaderboard as Markdown, for people."""

from collections.abc import Mapping, Sequence
from functools import partial
from statistics import fmean

from benchmark.evaluation.decisions.net_benefit import THRESHOLDS, of_all
from benchmark.records.outcomes import Outcome
from benchmark.reporting.board.audit_summary import HEAD, audit_summary
from benchmark.reporting.board.board import NAMED_BY, Board, BoardRow
from benchmark.reporting.board.cam_scores import CAM_STEM, RANDOMIZED
from benchmark.reporting.board.column import Column, Section
from benchmark.reporting.board.columns import all_columns, in_section, named
from benchmark.reporting.board.drawn_rows import MOST_DRAWN
from benchmark.reporting.board.folds import fold_scores, split_label
from benchmark.reporting.board.pairs import pair_tables
from benchmark.reporting.board.phrases import (
    BENEFIT_READING,
    CAM_READING,
    DEPENDENCE_READING,
    DISCLAIMER,
    RANDOMIZED_READING,
    SELECTIVE_READING,
    block_notes,
    data_notes,
    notes_beside_doubts,
    one_class,
    rank_notes,
    rank_text,
    standing,
)
from benchmark.reporting.board.row_notes import marks, row_notes
from benchmark.reporting.breakdown.breakdowns import Breakdowns
from benchmark.reporting.breakdown.cross_tables import cross_markdown
from benchmark.reporting.documents.markdown_cells import bullets, cell, escaped, table, text_table, who
from benchmark.reporting.documents.published import PUBLISHED_NOTE, published_table
from benchmark.reporting.summary.answers import answers
from benchmark.reporting.summary.cam_tables import Cell, cam_tables, coarse_notes
from benchmark.reporting.summary.doubts import doubts
from benchmark.reporting.summary.outside_head import outside_head
from benchmark.reporting.summary.sections import table_sections
from benchmark.text import last_lines


def markdown(board: Board, plots: Mapping[str, Sequence[str]], breakdowns: Breakdowns) -> str:
    """Return the whole leaderboard as Markdown.

    Args:
        plots: for each comparison group, the names (without suffix) of the PNG files beside it.
        breakdowns: the cross matrix, the strata, what spoilt images cost, and tuned rows.
    """
    parts = ["# TumorBoard leaderboard", DISCLAIMER]
    parts += [escaped(note) for note in board.notes]
    for rows in board.comparison_groups():
        if rows[0].first.record.data.external is None:  # what is crossed stands in its matrix
            parts += _answered(board, rows)
    parts += cross_markdown(breakdowns.matrices)
    for rows in board.comparison_groups():
        group = rows[0].block.comparison_group
        parts += _comparison_group(rows, board, plots.get(group, ()))
        for each in breakdowns.of(group):
            parts += each.part.markdown(each.picture(board, group))
    if board.problems:
        parts += ["## Records with a problem", bullets(board.problems)]
    parts.append(_READING)
    return "\n\n".join(parts) + "\n"


_READING = """## How to read this

- **rank**, such as 1-3: the row may be first, second or third of its block, and the test images do not tell which. \
The first number is 1 + the rows of the block that are significantly better, the last is all rows less those that \
are significantly worse. With 95 % confidence this holds for all rows at once. A row that answers one class for \
every image has none and is compared with no other. A block is the same data, split, test images, and pretrained or \
scratch weights. Rows that fell back to random weights, failed in part, or whose split leaks have no rank. All pairs \
are in `comparisons.csv`.
- **macro-F1** is the unweighted mean of the classes' F1 on the test images. In brackets: 95 % interval for other \
patients. ± is the standard deviation over seeds (by fold: over folds), not the uncertainty of the test set.
- **Folds** of a cross-validation are one row: counts and scores are of all images, each read once by the network \
that had not seen it; AUROC is the mean of folds.
- **fn** counts images of a class that are not predicted as that class. **missed** counts tumours that are \
predicted as the class without a tumour.
- **sensitivity** is the share of tumours that are found when the question is "tumour or not". The threshold is \
chosen on validation images: 95 % of those without a tumour lie below it. Beside it stands the specificity that the \
same threshold reaches on test images. The interval of the **calibration error** may reach far below it: with few \
images some error is measured even where all probabilities are right.
- Speeds are images per second (inference: the forward pass alone) and compare only on one device, at one \
precision and batch size. Memory is the device's peak (on a CPU: of the process)."""


def _answered(board: Board, rows: Sequence[BoardRow]) -> list[str]:
    """Return the board's answer on a comparison group, under its name where there are several."""
    lines = [f"- **{escaped(each.question)}** {escaped(each.text)}" for each in answers(board, rows)]
    name = f"**{escaped(rows[0].block.comparison_group_name)}**"
    return [*([name] if len(board.comparison_groups()) > 1 else []), "\n".join(lines)] if lines else []


def _doubted(board: Board, rows: Sequence[BoardRow]) -> list[str]:
    """Return a line for each doubt, with how grave it is."""
    lines = [[f"**{each.level}**", each.about, escaped(each.text)] for each in doubts(board, rows)]
    return [table(["level", "about", "doubt"], lines, left=["level", "about", "doubt"])] if lines else []


def _comparison_group(rows: Sequence[BoardRow], board: Board, plots: Sequence[str]) -> list[str]:
    data = rows[0].first.record.data
    limit = "" if data.limit is None else f", limited to {data.limit} images"
    split = split_label(rows[0].results, rows[0].results)
    parts = [f"## {escaped(data.name)}, split {escaped(split)}{limit}"]
    shown = [row for row in rows if row.values["n_runs"]]
    parts.append(bullets(notes_beside_doubts(rows) if shown else data_notes(rows)))
    parts += _doubted(board, rows)
    notes = row_notes(rows)
    marked: dict[int, Sequence[int]] = dict(zip(map(id, rows), marks(notes, len(rows)), strict=True))
    references = board.references.get(rows[0].block.comparison_group, ()) if shown else ()
    marked |= dict.fromkeys(map(id, references), ())
    for section in table_sections(shown, references):
        block = section.rows[0].block.name
        scores = _chosen(section.rows, board) if board.columns else _scores(section.rows, board, marked)
        if section.folded:
            head = f"<summary>{escaped(section.heading)} ({len(section.rows)}): {escaped(section.why)}</summary>"
            parts += [f"### {escaped(section.heading)}", f"<details>\n{head}", scores, "</details>"]
        else:
            parts += [f"### {escaped(block)}", scores]
    ranking = block_notes(board.judged(shown), partial(rank_notes, data=data))
    if notes or ranking:
        numbered = "\n".join(f"{number}. {escaped(note.text)}" for number, note in enumerate(notes, 1))
        parts += ["### Notes", *filter(None, (numbered, bullets(ranking)))]
    if shown:
        parts += pair_tables(board, list(dict.fromkeys(row.block.name for row in shown)))
        parts += _by_fold(shown)
        parts += ["### False negatives", _false_negatives(shown, "errors"), *_by_patient(shown)]
        parts.append("Every missed image, and what each row says of it: [gallery.md](gallery.md).")
        parts += [
            "### Calibration and tumour or not",
            _section(shown, "calibration"),
            *_dependence(shown),
            "### If unsure answers are left to a radiologist",
            SELECTIVE_READING,
            _section(shown, "selective"),
            *_net_benefit(shown),
            "### Speed and size",
            *_speeds(shown),
        ]
        parts += _same_networks(rows)
        parts += _where_it_looks(shown, [stem for stem in plots if stem.startswith(CAM_STEM)])
    audited, audit_notes = audit_summary(rows)
    parts += ["### Audit of the images", text_table(HEAD, audited), bullets(audit_notes)] if audited else []
    pictures = [
        f"![{escaped(stem.replace('_', ' '))}]({stem}.png)" for stem in plots if not stem.startswith(CAM_STEM)
    ]
    if pictures:
        parts += ["### Figures", "\n\n".join(pictures)]
    parts += _published(rows)
    failures = [row for row in rows if row.values["status"] != Outcome.OK]
    if failures:
        parts += ["### Runs without a score", _failures(failures)]
    return parts


def _scores(rows: Sequence[BoardRow], board: Board, marked: Mapping[int, Sequence[int]]) -> str:
    """Return the table of scores.

    Args:
        marked: the numbers of each row's notes, by its identity.
    """
    columns = in_section("scores")
    head = ["rank", *NAMED_BY, "runs", *(column.title for column in columns)]
    noted = any(marked[id(row)] for row in rows)
    lines = [
        [_ranked(row, board), *who(row), str(row.values["n_runs"])]
        + [cell(row, column) for column in columns]
        + ([", ".join(map(str, marked[id(row)]))] if noted else [])
        for row in rows
    ]
    return table([*head, *(["notes"] if noted else [])], lines)


def _ranked(row: BoardRow, board: Board) -> str:
    """Return a row's rank and what it says, such as ``1-3, tied for best``; empty where it has none."""
    ranks = rank_text(row)
    meaning = standing(row, board.statistics[row.block.name]) if ranks else ""
    return f"{ranks}, {meaning}" if meaning else ranks


def _by_fold(rows: Sequence[BoardRow]) -> list[str]:
    """Return macro-F1 in each fold, and its mean with the spread between folds; nothing without folds."""
    scores = {id(row): fold_scores(row.results) for row in rows}
    numbers = sorted({number for folds in scores.values() for number in folds})
    if not numbers:
        return []
    lines = []
    for row in rows:
        by_number = {number: line["macro_f1"] for number, line in scores[id(row)].items() if "macro_f1" in line}
        spread = f" ± {row.spread['macro_f1_fold']:.3f}" if "macro_f1_fold" in row.spread else ""
        mean = f"{fmean(by_number.values()):.3f}{spread}" if by_number else ""
        lines.append([*who(row), *(f"{by_number[n]:.3f}" if n in by_number else "" for n in numbers), mean])
    return ["### By fold", table([*NAMED_BY, *(f"fold {number}" for number in numbers), "mean ± sd"], lines)]


def _chosen(rows: Sequence[BoardRow], board: Board) -> str:
    """Return a table of the columns that were asked for."""
    columns = [all_columns(board.class_names, board.tumour_names)[name] for name in board.columns]
    lines = [[escaped(column.text(row.line.get(column.name))) for column in columns] for row in rows]
    return table(board.columns, lines)


def _by_patient(rows: Sequence[BoardRow]) -> list[str]:
    """Return the false negatives by patient where patients are known."""
    if "patients" not in rows[0].values:
        return []
    pooled = (
        "The same by patient, all slices of one pooled (mean probability; a patient has the tumour of any slice):"
    )
    return [pooled, _false_negatives(rows, "patient errors")]


def _same_networks(rows: Sequence[BoardRow]) -> list[str]:
    """Return what certificates of parity say of the rows, each sentence once."""
    sentences = dict.fromkeys(str(row.values["parity"]) for row in rows if "parity" in row.values)
    return ["### Same network, two frameworks", bullets(sentences)] if sentences else []


def _published(rows: Sequence[BoardRow]) -> list[str]:
    """Return what is published on the same data, in italics for want of grey."""
    head, lines = published_table(rows[0].first.record.data)
    if not lines:
        return []
    cells = [
        [*(f"*{escaped(text)}*" if text else "" for text in texts), escaped(result.caveat)] for result, texts in lines
    ]
    return ["### Published results", PUBLISHED_NOTE, table(head, cells)]


def _dependence(rows: Sequence[BoardRow]) -> list[str]:
    """Return how wide the interval of macro-F1 may be where patients are unknown; nothing where they are known."""
    columns = _known_columns(rows, "dependence")
    if not columns:
        return []
    tables = _columns(rows, [*named("macro_f1"), *columns])
    return ["### If more images depend on each other", DEPENDENCE_READING, tables]


def _net_benefit(rows: Sequence[BoardRow]) -> list[str]:
    """Return what acting on the rows is worth, beside acting on everybody; nothing without a healthy class."""
    if not rows[0].first.record.data.tumour_names:
        return []
    everybody = ", ".join(f"{of_all(threshold):.3f} at {100 * threshold:.0f} %" for threshold in THRESHOLDS)
    text = f"{BENEFIT_READING} Acting on everybody is worth {everybody}; on nobody, 0."
    return ["### Net benefit of tumour or not", text, _section(rows, "net benefit")]


def _section(rows: Sequence[BoardRow], section: Section) -> str:
    """Return the columns of a section that a row has, as a table."""
    return _columns(rows, _known_columns(rows, section))


def _known_columns(rows: Sequence[BoardRow], section: Section) -> list[Column]:
    """Return the columns of a section that a row has."""
    return [column for column in in_section(section) if any(column.name in row.values for row in rows)]


def _columns(rows: Sequence[BoardRow], columns: Sequence[Column]) -> str:
    """Return a table of columns, a line for each row."""
    lines = [[*who(row), *(cell(row, column) for column in columns)] for row in rows]
    return table([*NAMED_BY, *(column.title for column in columns)], lines)


def _false_negatives(rows: Sequence[BoardRow], section: Section) -> str:
    columns, values = in_section(section, rows[0].first.record.data), rows[0].values
    supports = [f"{'patient_' * column.patients}support_{column.class_name}" for column in columns]
    titles = [
        f"{column.title} (of {values.get(support, 0)})" for column, support in zip(columns, supports, strict=True)
    ]
    lines = []
    for row in rows:
        remarks = [one_class(column, row) for column in columns]
        cells = [
            cell(row, column) + (f" ({escaped(remark)})" if remark else "")
            for column, remark in zip(columns, remarks, strict=True)
        ]
        lines.append([*who(row), *cells])
    return table([*NAMED_BY, *titles], lines)


def _where_it_looks(rows: Sequence[BoardRow], pictures: Sequence[str]) -> list[str]:
    """Return what Grad-CAM says of the rows: scores beside their baselines where masks exist, and pictures."""
    explained = [row for row in rows if row.first.record.cam is not None]
    if not explained:
        return []
    parts = []
    tables = cam_tables(rows)
    if tables:
        parts.append(CAM_READING)
        for each in tables:
            lines = [[_cam_cell(cell, line.reference) for cell in line.cells] for line in each.lines]
            parts += [each.caption, table(each.head, lines)]
        parts += [bullets(notes)] if (notes := coarse_notes(rows)) else []
        if any(RANDOMIZED in row.values for row in rows):
            parts.append(RANDOMIZED_READING)
    elif any(row.first.cams is not None for row in explained):
        parts.append("The heat maps have no scores: no lesion is known on the images that are explained.")
    outside = outside_head(rows)
    if outside is not None:
        parts += outside.texts()
    if pictures:
        links = ", ".join(f"[{escaped(stem.removeprefix(CAM_STEM).strip('_'))}]({stem}.png)" for stem in pictures)
        whose = "each row" if len(rows) <= MOST_DRAWN else f"the best {MOST_DRAWN} rows, as far as they have maps"
        parts += [f"![where a row looks]({pictures[0]}.png)", f"Of {whose}: {links}."]
    without = [
        f"- {' '.join(who(row)[:2])}: {escaped(row.first.record.cam.reason)}"
        for row in explained
        if row.first.record.cam is not None and row.first.record.cam.reason
    ]
    parts += ["Without maps:\n\n" + "\n".join(without)] if without else []
    return ["### Where it looks", *parts] if parts else []


def _cam_cell(cell: Cell, reference: bool) -> str:
    """Return a cell with its interval; in italics where it is of a map that no network made."""
    text = escaped(cell.text) + (f" ({cell.interval})" if cell.interval else "")
    return f"*{text}*" if reference and text else text


def _speeds(rows: Sequence[BoardRow]) -> list[str]:
    conditions = list(dict.fromkeys(row.values["speed_block"] for row in rows if "speed_block" in row.values))
    marks = {name: f" ({chr(ord('a') + i % 26)})" for i, name in enumerate(conditions)}
    columns = _known_columns(rows, "speed")
    lines = []
    for row in rows:
        mark = marks.get(row.values.get("speed_block", ""), "") if len(marks) > 1 else ""
        cells = [cell(row, column) + mark * (column.averaged and column.name in row.values) for column in columns]
        lines.append([*who(row), *cells])
    taken = "; ".join(escaped(name) + (marks[name] if len(marks) > 1 else "") for name in conditions)
    only = " Only speeds with the same letter can be compared." if len(marks) > 1 else ""
    return [
        table([*NAMED_BY, *(column.title for column in columns)], lines),
        *([f"Measured on: {taken}.{only}"] if conditions else []),
    ]


def _failures(rows: Sequence[BoardRow]) -> str:
    failed = [(row, result) for row in rows for result in row.results if result.scores is None]
    lines = [
        [
            *who(row),
            str(result.record.seed),
            str(result.status),
            escaped(result.reason),
            escaped(result.record.outcome.advice),
            "<br>".join(escaped(line) for line in last_lines(result.record.provenance, _LOG_LINES)),
        ]
        for row, result in failed
    ]
    return table([*NAMED_BY, "seed", "status", "reason", "what to do", "last lines of the log"], lines)


_LOG_LINES = 5
