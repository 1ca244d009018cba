"""The leaderboard as LaTeX tables (booktabs), for a paper."""

from collections.abc import Sequence

from benchmark.plain import plain
from benchmark.reporting.board import Board, BoardRow
from benchmark.reporting.words import DISCLAIMER, count, data_notes, number

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def escaped(text: object) -> str:
    """Return text that LaTeX sets as it is, on one line."""
    return "".join(_SPECIAL.get(character, character) for character in plain(str(text)))


def latex(board: Board) -> str:
    """Return one table for each arena; needs ``\\usepackage{booktabs}``."""
    tables = [_table([row for row in rows if row.values["n_runs"]]) for rows in board.arenas()]
    head = f"% Made by TumorBoard. {DISCLAIMER} Needs \\usepackage{{booktabs}}."
    return "\n\n".join([head, *(table for table in tables if table)]) + "\n"


def _table(rows: Sequence[BoardRow]) -> str:
    if not rows:
        return ""
    data = rows[0].first.record.data
    tumours = [name for name in data.class_names if data.negative_class not in (None, name)]
    counts = [("fn", name) for name in data.class_names] + [("missed", name) for name in tumours]
    head = ["Rank", "Backbone", "Framework", "Macro-F1 (95\\,\\% CI)"]
    head += [escaped(f"{kind} {name}") for kind, name in counts]
    head += ["Img/s", "Params (M)"]
    lines = []
    for block in dict.fromkeys(row.block.name for row in rows):
        members = [row for row in rows if row.block.name == block]
        lines.append(f"\\multicolumn{{{len(head)}}}{{l}}{{\\emph{{{escaped(members[0].block.place)}}}}} \\\\")
        lines += [" & ".join(_cells(row, counts)) + r" \\" for row in members]
    caption = " ".join([f"{rows[0].block.arena_name}.", *data_notes(rows)])
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering\small",
            f"\\caption{{{escaped(caption)}}}",
            f"\\begin{{tabular}}{{rll{'r' * (len(head) - 3)}}}",
            r"\toprule",
            " & ".join(head) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _cells(row: BoardRow, counts: Sequence[tuple[str, str]]) -> list[str]:
    interval = row.intervals.get("macro_f1")
    ends = "" if interval is None else f" ({interval.low:.3f}--{interval.high:.3f})"
    numbers = [row.values.get(f"{kind}_{name}") for kind, name in counts]
    sizes = [row.values.get(name) for name in ("infer_images_per_s", "params_m")]
    return [
        "" if row.rank is None else str(row.rank),
        escaped(row.values["backbone"]),
        escaped(row.values["framework"]),
        f"{row.macro_f1:.3f}{ends}",
        *("" if value is None else count(float(value)) for value in numbers),
        *("" if value is None else number(float(value)) for value in sizes),
    ]
