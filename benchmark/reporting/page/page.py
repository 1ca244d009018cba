"""``leaderboard.html``: one file that works offline, with all it needs inside."""

import base64
import json
import re
from collections.abc import Sequence
from functools import partial
from importlib.resources import files
from typing import Any

from benchmark.evaluation.intervals import Interval
from benchmark.records.outcomes import Outcome
from benchmark.records.record import DataFacts
from benchmark.reporting.board.audit_summary import HEAD, audit_block
from benchmark.reporting.board.board import Board, BoardRow
from benchmark.reporting.board.column import Column, Kind, Values
from benchmark.reporting.board.columns import all_columns, in_output
from benchmark.reporting.board.phrases import (
    DISCLAIMER,
    block_notes,
    data_notes,
    rank_notes,
    seed_notes,
)
from benchmark.reporting.board.published import LEVELS, PUBLISHED_NOTE, Published, published_results
from benchmark.reporting.board.row_notes import marks, row_notes
from benchmark.reporting.figures.labels import telling_columns
from benchmark.reporting.page.cams import cam_table
from benchmark.reporting.page.data import Thumbnails, page_data

_SCRIPTS = ("base", "plots", "images", "comparison_group")  # one script in the page, cut by what its parts do
_PARTS = re.compile(r"[^/_:]+[/_:]*|[/_:]+")  # of a name, between which a line may break


def page(board: Board, thumbnails: Thumbnails) -> str:
    """Return the page. Every name in it is escaped; every library is inside.

    Args:
        thumbnails: JPEGs by fingerprint and image id, as far as there are any.
    """
    from jinja2 import Environment, StrictUndefined

    static = files("benchmark.reporting.page") / "static"
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((static / "leaderboard.html.jinja").read_text(encoding="utf-8"))
    return template.render(
        disclaimer=DISCLAIMER,
        audit_head=HEAD,
        published_note=PUBLISHED_NOTE,
        tables=[_table(number, rows, board) for number, rows in enumerate(board.comparison_groups())],
        notes=board.notes,
        problems=board.problems,
        data=script_json(page_data(board, thumbnails)),
        style=(static / "leaderboard.css").read_text(encoding="utf-8"),
        script="\n".join((static / f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS),
        plotly=(files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8"),
        tables_style=(files("itables") / "html" / "dt_bundle.css").read_text(encoding="utf-8"),
        tables_script=base64.b64encode((files("itables") / "html" / "dt_bundle.js").read_bytes()).decode("ascii"),
    )


def script_json(value: Any) -> str:
    """Return JSON that can stand in a script element: nothing in it ends the element or starts a comment."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, default=str)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _table(number: int, rows: Sequence[BoardRow], board: Board) -> dict[str, Any]:
    """Return what the template needs of a comparison group.

    Args:
        number: the position of the comparison group on the board, from 0.
    """
    data = rows[0].first.record.data
    notes = row_notes(rows)
    places = {row.block.place: row.block.name for row in rows}
    judged = {place: board.statistics[name] for place, name in places.items() if name in board.statistics}
    ranking = block_notes(judged, partial(rank_notes, data=data))
    published = published_results(data)
    lines = [_line(row) for row in rows]
    reported = [_reported(result) for result in published]
    columns = _columns(board, data, [*lines, *reported])
    shown = set(board.columns) or _front(rows, data, published=bool(published))
    counted = {"rows": len(notes), "intervals and ranks": len(ranking)}
    return {
        "number": number,
        "name": rows[0].block.comparison_group_name,
        "synthetic": data.synthetic,
        "warnings": [*data_notes(rows), *block_notes(judged, seed_notes)],
        "notes": [note.text for note in notes],
        "rank_notes": ranking,
        "notes_summary": f"Notes: {', '.join(f'{count} on {what}' for what, count in counted.items() if count)}",
        "audit": audit_block(rows),
        "columns": [
            {
                "title": column.title,
                "help": column.tooltip,
                "shown": column.name in shown,
                "words": column.kind is Kind.TEXT
                or any(isinstance(line.get(column.name), str | bool) for line in lines),
            }
            for column in columns
        ],
        "rows": [
            {
                "key": row.first.row_key,
                "scored": bool(row.values["n_runs"]),
                "published": False,
                "marks": marked,
                "cells": [_cell(column, line.get(column.name), row.intervals.get(column.name)) for column in columns],
            }
            for row, line, marked in zip(rows, lines, marks(notes, len(rows)), strict=True)
        ]
        + [
            {
                "key": "",
                "scored": False,
                "published": True,
                "marks": [],
                "cells": [_cell(column, line.get(column.name), digits=4) for column in columns],
            }
            for line in reported
        ],
        "published": [
            f"{result.model} ({result.work}), {result.protocol}: {LEVELS[result.level]}"
            + (f"; {result.caveat}." if result.caveat else ".")
            for result in published
        ],
        "cams": cam_table([row for row in rows if row.values["n_runs"]]),
    }


def _reported(result: Published) -> Values:
    """Return what is published of a result by column name; its protocol as its block."""
    return {
        "backbone": f"{result.model} ({result.work})",
        "weights": "pretrained" if result.pretrained else "none",
        "block": f"published, {result.protocol}",
        **result.values,
    }


def _columns(board: Board, data: DataFacts, lines: Sequence[Values]) -> list[Column]:
    """Return the columns of a table: those that were asked for, then the others of the page that have a value."""
    offered = in_output("page", data)
    names = [column.name for column in offered]
    offered.insert(names.index("recipe"), offered.pop(names.index("block")))  # behind what tells the row
    with_values = [column for column in offered if any(line.get(column.name) is not None for line in lines)]
    chosen = [all_columns(board.class_names, board.tumour_names)[name] for name in board.columns]
    return [*chosen, *(column for column in with_values if column.name not in board.columns)]


def _front(rows: Sequence[BoardRow], data: DataFacts, *, published: bool) -> set[str]:
    """Return the names of the columns that are shown where none were asked for.

    Args:
        published: whether published results stand below the rows.
    """
    front = {column.name for column in in_output("front", data)}
    telling = set(telling_columns(rows))
    if published or telling - front:
        front.remove("peak_memory_mb")  # to fit a laptop
    if not any(row.rank for row in rows):
        front.remove("rank")
    if published or len({row.block.place for row in rows}) > 1:
        front.add("block")
    return front | telling | ({"accuracy"} if published else set())


def _line(row: BoardRow) -> Values:
    """Return what the page shows of a row by column name; its block is its place in the comparison group."""
    failed = row.values["status"] != Outcome.OK
    why = f": {row.values['status']}, {row.values.get('reason', '')}" if failed else ""
    return {**row.line, "block": f"{row.block.place}{why}"}


def _cell(column: Column, value: Any, interval: Interval | None = None, digits: int | None = None) -> dict[str, Any]:
    """Return what a cell shows, by what it is sorted, and its interval.

    Args:
        digits: significant digits of a published figure, which is shown as it was printed.
    """
    text = f"{value:.{digits}g}" if digits and isinstance(value, float) else column.text(value)
    is_text = value is None or isinstance(value, str | bool)
    return {
        "name": column.name,
        "text": text,
        "parts": _PARTS.findall(text),
        "order": text if is_text else repr(float(value)),
        "interval": "" if value is None else column.ends(interval, "–"),  # noqa: RUF001
    }
