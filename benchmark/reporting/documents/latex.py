"""The leaderboard as LaTeX tables (booktabs), for a paper."""

from collections.abc import Sequence

from benchmark.records.record import DataFacts
from benchmark.reporting.board.board import Board, BoardRow
from benchmark.reporting.board.column import Column, Kind
from benchmark.reporting.board.columns import in_output
from benchmark.reporting.board.phrases import DISCLAIMER, block_notes, data_notes, rank_text, seed_notes
from benchmark.reporting.documents.published import PUBLISHED_NOTE, published_table
from benchmark.reporting.summary.doubts import Level, doubts
from benchmark.text import plain

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "-": "{-}",  # two of them are two, not a dash
    **{character: f"\\{character}" for character in "&%$#_{}"},
}
_PREAMBLE = r"""% \documentclass{article}
% \usepackage[T1]{fontenc}
% \usepackage{textcomp,booktabs,xcolor,graphicx}
% \begin{document}\input{leaderboard}\end{document}"""


def escaped(text: object) -> str:
    """Return text that LaTeX sets as it is, on one line; what a Latin font has no letter for becomes a box."""
    return "".join(_character(character) for character in plain(str(text)))


def _character(character: str) -> str:
    if character in _SPECIAL:
        return _SPECIAL[character]
    return character if ord(character) < 0x80 or character in _LATIN else r"\fbox{?}"


_LATIN = frozenset("ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿŒœŠšŽž±·§©")


def latex(board: Board) -> str:
    """Return one table for each comparison group, and one of published results where there are any.

    Needs the packages that its first lines name; compiles with pdfLaTeX.
    """
    parts = [f"% Made by TumorBoard. {DISCLAIMER} To be compiled so:", _PREAMBLE]
    for rows in board.comparison_groups():
        shown = [row for row in rows if row.values["n_runs"]]
        if shown:
            parts.append(_table(shown, board))
            parts += _published(shown[0].first.record.data)
    return "\n\n".join(parts) + "\n"


def _table(rows: Sequence[BoardRow], board: Board) -> str:
    data = rows[0].first.record.data
    columns = in_output("latex", data)
    head = [_heading(column) for column in columns]
    lines = []
    for block in dict.fromkeys(row.block.name for row in rows):
        members = [row for row in rows if row.block.name == block]
        lines.append(f"\\multicolumn{{{len(head)}}}{{l}}{{\\emph{{{escaped(members[0].block.place)}}}}} \\\\")
        lines += [" & ".join(_cell(row, column) for column in columns) + r" \\" for row in members]
    serious = [each.text for each in doubts(board, rows) if each.level is Level.SERIOUS and each.about != "patients"]
    meaning = [
        "Rank: from 1 + the rows of the block that are significantly better to all less those that are "
        "significantly worse; the test images do not tell which rank between these a row has.",
        "fn: images of a class that are not predicted as it.",
        *(["missed: tumours predicted as the class without a tumour."] if data.negative_class else []),
    ]
    notes = [*data_notes(rows), *block_notes(board.judged(rows), seed_notes), *serious, *meaning]
    caption = " ".join([f"{rows[0].block.comparison_group_name}.", *notes])
    return _float(caption, f"rll{'r' * (len(head) - 3)}", head, lines)


def _heading(column: Column) -> str:
    """Return a column's heading; those of counts stand upright, to be narrow."""
    if column.kind is Kind.COUNT:
        return rf"\rotatebox{{90}}{{{escaped(column.title)}}}"
    title = column.title[:1].upper() + column.title[1:]
    return escaped(title) + (r" (95\,\% CI)" if column.kind is Kind.SCORE else "")


def _cell(row: BoardRow, column: Column) -> str:
    """Return a value, with its interval where it is a score, or a rank. A minus sign is none of a hyphen."""
    if column.name == "rank":
        return rank_text(row).replace("-", "--")
    text = column.text(row.line.get(column.name))
    if column.kind in (Kind.TEXT, Kind.TRUTH):
        return escaped(text)
    ends = column.ends(row.intervals.get(column.name), "\u2013") if column.kind is Kind.SCORE else ""
    shown = text + (f" ({ends})" if ends else "")
    return shown.replace("-", "$-$").replace("\u2013", "--")


def _published(data: DataFacts) -> list[str]:
    """Return a table of what is published on the same data, in grey; empty where nothing is."""
    _, results = published_table(data)
    if not results:
        return []
    lines = []
    for result, (work, source, model, _, protocol, level, *scores) in results:
        cells = (work, source, model + "*" * bool(result.caveat), protocol, level, *scores[:2])
        lines.append(" & ".join(rf"\textcolor{{gray}}{{{escaped(cell)}}}" for cell in cells) + r" \\")
    head = ["Work", "Source", "Model", "Protocol", "Patients", "Accuracy", "Macro-F1"]
    marked = (
        " Of results with * there is more to know: see leaderboard.md." if any(r.caveat for r, _ in results) else ""
    )
    return [_float(PUBLISHED_NOTE + marked, "lllllrr", head, lines)]


def _float(caption: str, columns: str, head: Sequence[str], lines: Sequence[str]) -> str:
    """Return a table that is as wide as the text at most."""
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering\small",
            f"\\caption{{{escaped(caption)}}}",
            r"\par\smallskip",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            f"\\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            " & ".join(head) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
        ]
    )
