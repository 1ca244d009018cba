"""``leaderboard.html``: one file that works offline, with all it needs inside."""

import base64
import gzip
import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from benchmark.package_files import files
from benchmark.records.outcomes import Outcome
from benchmark.records.record import DataFacts
from benchmark.reporting.board.audit_summary import HEAD, audit_summary
from benchmark.reporting.board.board import Board, BoardRow
from benchmark.reporting.board.cam_scores import RANDOMIZED
from benchmark.reporting.board.column import Column, Kind, Values
from benchmark.reporting.board.columns import all_columns, in_output
from benchmark.reporting.board.phrases import (
    CAM_READING,
    DISCLAIMER,
    RANDOMIZED_READING,
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
from benchmark.reporting.breakdown.cross_tables import cross_page
from benchmark.reporting.documents.published import PUBLISHED_NOTE, published_table
from benchmark.reporting.figures.labels import telling_columns
from benchmark.reporting.page.data import Thumbnails, page_data, rows_in_full
from benchmark.reporting.summary.answers import answers
from benchmark.reporting.summary.cam_tables import cam_tables, coarse_notes
from benchmark.reporting.summary.doubts import doubts
from benchmark.reporting.summary.outside_head import outside_head
from benchmark.reporting.summary.sections import WITHOUT, table_sections
from benchmark.text import shown

_SCRIPTS = (
    "base",
    "plots",
    "images",
    "table",
    "comparison_group",
)  # one script in the page, cut by what its parts do
AT_ONCE = 100  # rows of a large table that stand in the page as such; a script adds the others, one hundred at a time
_PARTS = re.compile(r"[^/_:]+[/_:]*|[/_:]+")  # of a name, between which a line may break


def page(
    board: Board,
    thumbnails: Thumbnails,
    breakdowns: Breakdowns = Breakdowns(),  # noqa: B008 - frozen
    *,
    guide: str = "",
) -> str:
    """Return the page. Every name in it is escaped; every library is inside.

    Args:
        thumbnails: JPEGs by fingerprint and image id, or their addresses beside the page (``images/...``), as far as
            there are any.
        breakdowns: the cross matrix, the strata, what spoilt images cost, and tuned rows.
        guide: the name of the file beside the page that says what lies there; empty without one.
    """
    from jinja2 import Environment, StrictUndefined

    static = files("benchmark.reporting.page") / "static"
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_as_text
    )
    template = environment.from_string((static / "leaderboard.html.jinja").read_text(encoding="utf-8"))
    return template.render(
        disclaimer=DISCLAIMER,
        guide=guide,
        audit_head=HEAD,
        published_note=PUBLISHED_NOTE,
        cam_reading=CAM_READING,
        randomized_reading=RANDOMIZED_READING,
        cross=cross_page(breakdowns.matrices),
        tables=[_table(number, rows, board, breakdowns) for number, rows in enumerate(board.comparison_groups())],
        notes=board.notes,
        problems=board.problems,
        data=script_json(page_data(board, thumbnails)),
        style=(static / "leaderboard.css").read_text(encoding="utf-8"),
        script="\n".join((static / f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS),
        plotly=packed((files("plotly") / "package_data" / "plotly.min.js").read_bytes()),
        tables_style=(files("itables") / "html" / "dt_bundle.css").read_text(encoding="utf-8"),
        tables_script=packed((files("itables") / "html" / "dt_bundle.js").read_bytes()),
    )


def packed(script: bytes) -> str:
    """Return a library as text that the page unpacks: gzip, without a date, in base64. A third of its size."""
    return base64.b64encode(gzip.compress(script, mtime=0)).decode("ascii")


def script_json(value: Any) -> str:
    """Return JSON that can stand in a script element: nothing in it ends the element or starts a comment.

    Text in it is as :func:`~benchmark.text.shown` leaves it.
    """
    text = json.dumps(_all_as_text(value), separators=(",", ":"), allow_nan=False, default=str)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _as_text(value: Any) -> Any:
    """Return a value for the page; text without what turns the order of letters, markup of our own as it is."""
    return shown(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


_NO_TEXT = {int, float, bool, type(None)}


def _all_as_text(value: Any) -> Any:
    """Return nested values with all text in them as :func:`_as_text` leaves it."""
    if isinstance(value, Mapping):
        return {_as_text(name): _all_as_text(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        if set(map(type, value)) <= _NO_TEXT:  # most of a page are lists of probabilities
            return value
        return [_all_as_text(inner) for inner in value]
    return _as_text(value)


def _table(number: int, rows: Sequence[BoardRow], board: Board, breakdowns: Breakdowns) -> dict[str, Any]:
    """Return what the template needs of a comparison group.

    Args:
        number: the position of the comparison group on the board, from 0.
    """
    data = rows[0].first.record.data
    notes, scored = row_notes(rows), [row for row in rows if row.values["n_runs"]]
    ranking = block_notes(board.judged(rows), partial(rank_notes, data=data))
    references = board.references.get(rows[0].block.comparison_group, ()) if scored else ()
    sections = table_sections(rows, references)
    marked = {id(row): numbers for row, numbers in zip(rows, marks(notes, len(rows)), strict=True)}
    marked |= {id(row): [] for row in references}
    lines = {id(row): _line(row) for row in (*rows, *references)}
    columns = _columns(board, data, list(lines.values()))
    visible = set(board.columns) or _front(rows, data)
    in_full = rows_in_full(rows)
    opened = {id(row) for row in in_full}
    counted = {"rows": len(notes), "intervals and ranks": len(ranking)}
    lines_shown = [
        {
            "key": row.first.row_key,
            "scored": id(row) in opened and section.heading != WITHOUT,
            "section": place,
            "marks": marked[id(row)],
            "cells": [_cell(column, row, lines[id(row)], board) for column in columns],
        }
        for place, section in enumerate(sections)
        for row in section.rows
    ]
    at_once = AT_ONCE if len(lines_shown) > 1.5 * AT_ONCE else len(lines_shown)
    return {
        "number": number,
        "name": rows[0].block.comparison_group_name,
        "in_full": _IN_FULL.format(full=len(in_full), rows=len(scored)) if len(in_full) < len(scored) else "",
        "synthetic": data.synthetic,
        "answers": answers(board, rows),
        "doubts": doubts(board, rows),
        "warnings": notes_beside_doubts(rows) if scored else data_notes(rows),
        "notes": [note.text for note in notes],
        "rank_notes": ranking,
        "notes_summary": f"Notes: {', '.join(f'{count} on {what}' for what, count in counted.items() if count)}",
        "audit": audit_summary(rows),
        "columns": [
            {
                "name": column.name,
                "title": column.title,
                "help": column.tooltip,
                "better": column.better,
                "shown": column.name in visible,
                "words": column.kind in (Kind.TEXT, Kind.TRUTH)
                or any(isinstance(line.get(column.name), str | bool) for line in lines.values()),
            }
            for column in columns
        ],
        "sections": [
            {"heading": section.heading, "why": section.why, "folded": section.folded, "count": len(section.rows)}
            for section in sections
        ],
        "rows": lines_shown[:at_once],
        "further": lines_shown[at_once:],
        "told": [
            {"heading": shown(each.heading), "why": shown(each.why), "folded": "1" if each.folded else ""}
            for each in sections
        ],
        "published": _published(data),
        "breakdowns": [each.part for each in breakdowns.of(rows[0].block.comparison_group)],
        "cams": cam_tables(scored, "–"),  # noqa: RUF001
        "cam_notes": coarse_notes(scored),
        "cams_checked": any(RANDOMIZED in row.values for row in scored),
        "outside": outside_head(scored),
    }


_IN_FULL = (
    "Plots, images and details on this page are of {full} of its {rows} rows, those with the highest macro-F1 of "
    "each block: their names can be chosen. Others have them on a page of their own: python -m benchmark leaderboard "
    "DIR --filter CONDITION."
)


def _published(data: DataFacts) -> dict[str, Any] | None:
    """Return the table of what is published on the same images; ``None`` where nothing is known."""
    head, lines = published_table(data)
    shown = [{"cells": [*cells, result.caveat], "differs": result.level != "patient"} for result, cells in lines]
    return {"head": head, "lines": shown} if shown else None


def _columns(board: Board, data: DataFacts, lines: Sequence[Values]) -> list[Column]:
    """Return the columns of a table: those that were asked for, then the others of the page that have a value."""
    offered = in_output("page", data)
    names = [column.name for column in offered]
    offered.insert(names.index("recipe"), offered.pop(names.index("block")))  # behind what tells the row
    with_values = [column for column in offered if any(line.get(column.name) is not None for line in lines)]
    chosen = [all_columns(board.class_names, board.tumour_names)[name] for name in board.columns]
    return [*chosen, *(column for column in with_values if column.name not in board.columns)]


def _front(rows: Sequence[BoardRow], data: DataFacts) -> set[str]:
    """Return the names of the columns that are shown where none were asked for."""
    front = {column.name for column in in_output("front", data)}
    telling = set(telling_columns(rows))
    if telling - front:
        front.remove("peak_memory_mb")  # to fit a laptop
    if not any(row.rank for row in rows):
        front.remove("rank")
    return front | telling


def _line(row: BoardRow) -> Values:
    """Return what the page shows of a row by column name; its block is its place in the comparison group."""
    failed = row.values["status"] != Outcome.OK
    why = f": {row.values['status']}, {row.values.get('reason', '')}" if failed else ""
    return {**row.line, "block": f"{row.block.place}{why}"}


def _cell(column: Column, row: BoardRow, line: Values, board: Board) -> dict[str, Any]:
    """Return what a cell shows, by what it is sorted and filtered, and what stands below it in small letters."""
    value = line.get(column.name)
    text, interval = column.text(value), row.intervals.get(column.name)
    below = "" if value is None else column.ends(interval, "–")  # noqa: RUF001
    if column.name == "rank" and row.block.name in board.statistics:
        text = rank_text(row, "–")  # noqa: RUF001
        below = standing(row, board.statistics[row.block.name])
    plain = "" if value is None else repr(float(value)) if isinstance(value, float) else str(value)
    return {
        "name": column.name,
        "text": text,
        "parts": _PARTS.findall(text),
        "order": plain,
        "below": below,
        "remark": one_class(column, row),
    }
