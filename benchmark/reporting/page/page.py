"""``leaderboard.html``: one file that works offline, with all it needs inside."""

import base64
import json
import re
from collections.abc import Sequence
from functools import partial
from importlib.resources import files
from typing import Any

from benchmark.reporting.board.audit_summary import HEAD, audit_block
from benchmark.reporting.board.board import Board, BoardRow
from benchmark.reporting.board.flat_rows import row_lines
from benchmark.reporting.board.phrases import (
    DISCLAIMER,
    block_notes,
    count,
    data_notes,
    number,
    rank_notes,
    seed_notes,
)
from benchmark.reporting.board.published import LEVELS, PUBLISHED_NOTE, Published, published_rows
from benchmark.reporting.board.row_notes import marks, row_notes
from benchmark.reporting.figures.labels import telling_columns
from benchmark.reporting.page.cams import cam_table
from benchmark.reporting.page.data import Thumbnails, page_data

_SCRIPTS = ("base", "plots", "images", "comparison_group")  # one script in the page, cut by what its parts do
_SHOWN = (
    "rank",
    "backbone",
    "framework",
    "macro_f1",
    "infer_images_per_s",
    "peak_memory_mb",
)
_WORDS = (
    "block",
    "backbone",
    "framework",
    "library",
    "weights",
    "recipe",
    "seed",
    "status",
    "reason",
    "device",
    "note",
    "parity",
)
_PARTS = re.compile(r"[^/_:]+[/_:]*|[/_:]+")  # of a name, between which a line may break
_COUNTS = ("fn_", "missed_", "patient_fn_", "patient_missed_")
_TITLES = {
    "macro_f1": "macro-F1",
    "mcc": "MCC",
    "auroc": "AUROC",
    "val_macro_f1": "validation macro-F1",
    "n_runs": "runs",
    "train_images_per_s": "training img/s",
    "infer_images_per_s": "inference img/s",
    "pipeline_images_per_s": "pipeline img/s",
    "latency_p50_ms": "latency p50 (ms)",
    "latency_p95_ms": "latency p95 (ms)",
    "peak_memory_mb": "memory (MB)",
    "params_m": "parameters (M)",
    "gmacs": "GMACs",
    "ece": "ECE",
    "sensitivity_at_95": "sensitivity",
    "specificity_at_95": "specificity reached",
    "cost": "expected cost",
}


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
        number: of the comparison group on the board.
    """
    data, chosen = rows[0].first.record.data, board.columns
    notes = row_notes(rows)
    places = {row.block.place: row.block.name for row in rows}
    judged = {place: board.statistics[name] for place, name in places.items() if name in board.statistics}
    told = block_notes(judged, partial(rank_notes, data=data))
    tumours = [name for name in data.class_names if data.negative_class not in (None, name)]
    counts = [f"fn_{name}" for name in data.class_names] + [f"missed_{name}" for name in tumours]
    columns = [
        *(
            "rank",
            "backbone",
            "framework",
            "library",
            "weights",
            "recipe",
            "block",
            "seed",
            "n_runs",
            "status",
            "reason",
        ),
        *("macro_f1", "accuracy", "balanced_accuracy", "mcc", "auroc", "val_macro_f1"),
        *counts,
        *("train_images_per_s", "infer_images_per_s", "pipeline_images_per_s", "latency_p50_ms", "latency_p95_ms"),
        *("peak_memory_mb", "params_m", "gmacs", "ece", "brier", "sensitivity_at_95", "specificity_at_95", "device"),
        *("parity", *(["cost"] if any("cost" in row.values for row in rows) else [])),
    ]
    columns = [*chosen, *(name for name in columns if name not in chosen)]
    published = published_rows(data)
    telling = set(telling_columns(rows))
    further = (["block"] if len(places) > 1 or published else []) + (["accuracy"] if published else [])
    usual = {*_SHOWN, *telling, *counts, *further}
    if published or telling - set(_SHOWN):
        usual.remove("peak_memory_mb")  # to fit a laptop
    shown = set(chosen) or (usual if any(row.rank for row in rows) else usual - {"rank"})
    counted = {"rows": len(notes), "intervals and ranks": len(told)}
    return {
        "number": number,
        "name": rows[0].block.comparison_group_name,
        "synthetic": data.synthetic,
        "warnings": [*data_notes(rows), *block_notes(judged, seed_notes)],
        "notes": [note.text for note in notes],
        "rank_notes": told,
        "notes_summary": f"Notes: {', '.join(f'{count} on {what}' for what, count in counted.items() if count)}",
        "audit": audit_block(rows),
        "columns": [
            {
                "title": _title(name),
                "shown": name in shown,
                "words": name in _WORDS or any(isinstance(row.values.get(name), str | bool) for row in rows),
            }
            for name in columns
        ],
        "rows": [
            {
                "key": row.first.row_key,
                "scored": bool(row.values["n_runs"]),
                "published": False,
                "marks": marked,
                "cells": [_cell(row, name) for name in columns],
            }
            for row, marked in zip(rows, marks(notes, len(rows)), strict=True)
        ]
        + [
            {
                "key": "",
                "scored": False,
                "published": True,
                "marks": [],
                "cells": [_plain_cell(name, _reported(result).get(name)) for name in columns],
            }
            for result in published
        ],
        "published": [
            f"{result.model} ({result.work}), {result.protocol}: {LEVELS[result.level]}"
            + (f"; {result.caveat}." if result.caveat else ".")
            for result in published
        ],
        "cams": cam_table([row for row in rows if row.values["n_runs"]]),
    }


def _reported(result: Published) -> dict[str, Any]:
    """Return what is published of a result by column name; its protocol as its block."""
    return {
        "backbone": f"{result.model} ({result.work})",
        "weights": "pretrained" if result.pretrained else "none",
        "block": f"published, {result.protocol}",
        "accuracy": result.accuracy,
        "macro_f1": result.macro_f1,
        **{f"fn_{name}": count for name, count in result.false_negatives.items()},
        **{f"missed_{name}": count for name, count in result.missed.items()},
    }


def _plain_cell(name: str, value: Any) -> dict[str, Any]:
    """Return a cell without an interval: a published figure with the digits that were printed."""
    if value is None:
        return {"text": "", "order": "", "interval": "", "name": name}
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    order = repr(float(value)) if isinstance(value, int | float) else text
    return {"text": text, "order": order, "interval": "", "name": name}


def _title(name: str) -> str:
    return _TITLES.get(name, name.replace("_", " ", 1) if name.startswith(_COUNTS) else name.replace("_", " "))


def _cell(row: BoardRow, name: str) -> dict[str, Any]:
    """Return what a cell shows, by what it is sorted, and its interval."""
    value = row.block.place if name == "block" else row_lines([row])[0].get(name)
    interval = row.intervals.get(name)
    if name == "block" and row.values["status"] != "ok":
        value = f"{value}: {row.values['status']}, {row.values.get('reason', '')}"
    if value is None:
        return {"text": "", "order": "", "interval": "", "name": name}
    if name in _WORDS or isinstance(value, str | bool):
        text = str(value)
        return {"text": text, "order": text, "interval": "", "name": name, "parts": _PARTS.findall(text)}
    if name in ("rank", "n_runs"):
        text = str(value)
    elif name.startswith(_COUNTS):
        text = count(float(value))
    else:
        fraction = interval is not None or name in (
            "val_macro_f1",
            "ece",
            "brier",
            "sensitivity_at_95",
            "specificity_at_95",
            "cost",
        )
        text = f"{value:.3f}" if fraction else number(float(value))
    digits = 1 if name.startswith(_COUNTS) else 3
    ends = "" if interval is None else f"{interval.low:.{digits}f}–{interval.high:.{digits}f}"  # noqa: RUF001
    return {"text": text, "order": repr(float(value)), "interval": ends, "name": name}
