"""The leaderboard as Markdown, for people."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.evaluation.saliency import POINTING
from benchmark.outcomes import Outcome
from benchmark.plain import last_lines, plain
from benchmark.reporting.board import Board, BoardRow
from benchmark.reporting.cam_scores import CAM_STEM, IMAGES, RANDOMIZED, cam_source, shared_baselines
from benchmark.reporting.cam_scores import TITLES as CAM_TITLES
from benchmark.reporting.labels import full_names
from benchmark.reporting.lines import row_lines
from benchmark.reporting.rows import SPEEDS
from benchmark.reporting.words import DISCLAIMER, count, data_notes, number, rank_notes

_SPECIAL = re.compile(r"[\\`*\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")  # an underscore within a word is plain


def escaped(text: object) -> str:
    """Return text that Markdown and the HTML made of it show as it is, on one line."""
    safe = plain(str(text)).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\g<0>", safe)


def markdown(board: Board, plots: Mapping[str, Sequence[str]]) -> str:
    """Return the whole leaderboard as Markdown.

    Args:
        plots: for each arena, the names (without suffix) of the PNG files beside it.
    """
    parts = ["# TumorBoard leaderboard", DISCLAIMER]
    parts += [escaped(note) for note in board.notes]
    for rows in board.arenas():
        parts += _arena(rows, board, plots.get(rows[0].block.arena, ()))
    if board.problems:
        parts += ["## Records with a problem", "\n".join(f"- {escaped(text)}" for text in board.problems)]
    parts.append(_READING)
    return "\n\n".join(parts) + "\n"


_READING = """## How to read this

- **rank** is 1 + the number of rows of the block that are significantly better: rows that can't be told apart \
share a rank. A block is the same data, split, test images, and pretrained or scratch weights. Rows that fell \
back to random weights, failed in part, or whose split leaks have no rank. All pairs are in `comparisons.csv`.
- **macro-F1** is the unweighted mean of the classes' F1 on the test images. In brackets: 95 % interval for other \
patients. ± is the standard deviation over runs (seeds or folds), not the uncertainty of the test set.
- **fn** counts images of a class that are not predicted as that class. **missed** counts tumours that are \
predicted as the class without a tumour.
- **sensitivity** is of "tumour or not" at the threshold that leaves 95 % of the validation images without a tumour \
unreported; beside it the specificity that this reaches on test images.
- Speeds are images per second (inference: the forward pass alone) and compare only on one device, at one \
precision and batch size. Memory is the device's peak (on a CPU: of the process)."""


def _arena(rows: Sequence[BoardRow], board: Board, plots: Sequence[str]) -> list[str]:
    statistics, data = board.statistics, rows[0].first.record.data
    limit = "" if data.limit is None else f", limited to {data.limit} images"
    parts = [f"## {escaped(data.name)}, split {escaped(rows[0].first.split)}{limit}"]
    parts.append("\n".join(f"- {escaped(note)}" for note in data_notes(rows)))
    shown = [row for row in rows if row.values["n_runs"]]
    for name in dict.fromkeys(row.block.name for row in shown):
        members = [row for row in shown if row.block.name == name]
        parts += [f"### {escaped(name)}", _chosen(members, board.columns) if board.columns else _scores(members)]
        if name in statistics:
            parts.append(" ".join(escaped(note) for note in rank_notes(statistics[name], data)))
    if shown:
        parts += ["### False negatives", _false_negatives(shown, ""), *_by_patient(shown)]
        parts.append("Every missed image, and what each row gave it: [gallery.md](gallery.md).")
        parts += ["### Calibration and tumour or not", _further(shown), "### Speed and size", *_speeds(shown)]
        parts += _where_it_looks(shown, [stem for stem in plots if stem.startswith(CAM_STEM)])
    pictures = [
        f"![{escaped(stem.replace('_', ' '))}]({stem}.png)" for stem in plots if not stem.startswith(CAM_STEM)
    ]
    if pictures:
        parts += ["### Figures", "\n\n".join(pictures)]
    failures = [row for row in rows if row.values["status"] != Outcome.OK]
    if failures:
        parts += ["### Runs without a score", _failures(failures)]
    return parts


def _scores(rows: Sequence[BoardRow]) -> str:
    names = ("macro_f1", "accuracy", "balanced_accuracy", "mcc", "auroc", "val_macro_f1")
    head = ["rank", *_WHO, "runs", "macro-F1", "accuracy", "balanced accuracy", "MCC", "AUROC", "validation macro-F1"]
    lines = [
        ["" if row.rank is None else str(row.rank), *_who(row), str(row.values["n_runs"])]
        + [_score(row, name) for name in names]
        for row in rows
    ]
    return _table(head, lines)


def _chosen(rows: Sequence[BoardRow], names: Sequence[str]) -> str:
    """Return a table of the columns that were asked for."""
    return _table(names, [[_any(value) for value in (line.get(name) for name in names)] for line in row_lines(rows)])


def _any(value: Any) -> str:
    return "" if value is None else number(value) if isinstance(value, float) else escaped(value)


def _by_patient(rows: Sequence[BoardRow]) -> list[str]:
    """Return the false negatives by patient where patients are known."""
    if "patients" not in rows[0].values:
        return []
    pooled = (
        "The same by patient, all slices of one pooled (mean probability; a patient has the tumour of any slice):"
    )
    return [pooled, _false_negatives(rows, "patient_")]


def _further(rows: Sequence[BoardRow]) -> str:
    names = ("ece", "brier", "sensitivity_at_95", "specificity_at_95", "patient_macro_f1")
    head = ["calibration error (ECE)", "Brier", "sensitivity", "specificity reached", "macro-F1 by patient"]
    return _table([*_WHO, *head], [[*_who(row), *(_score(row, name) for name in names)] for row in rows])


def _false_negatives(rows: Sequence[BoardRow], prefix: str) -> str:
    data, supports = rows[0].first.record.data, rows[0].values
    tumours = [name for name in data.class_names if data.negative_class not in (None, name)]
    columns = [("fn", name) for name in data.class_names] + [("missed", name) for name in tumours]
    head = [
        *_WHO,
        *(f"{kind} {name} (of {number(supports.get(f'{prefix}support_{name}', 0))})" for kind, name in columns),
    ]
    return _table(
        head, [[*_who(row), *(_count(row, f"{prefix}{kind}_{name}") for kind, name in columns)] for row in rows]
    )


def _where_it_looks(rows: Sequence[BoardRow], pictures: Sequence[str]) -> list[str]:
    """Return what Grad-CAM says of the rows: scores beside their baselines where masks exist, and pictures."""
    explained = [row for row in rows if row.first.record.cam is not None]
    if not explained:
        return []
    parts = ["### Where it looks"]
    scored = {name: row for name, row in zip(full_names(rows), rows, strict=True) if POINTING in row.values}
    if scored:
        checked = any(RANDOMIZED in row.values for row in rows)
        head = [*_WHO, *CAM_TITLES.values(), "images", "map", *(["left when randomised"] if checked else [])]
        lines = [
            [*_who(row), *(_score(row, name) for name in CAM_TITLES), number(row.values[IMAGES]), cam_source(row)]
            + ([_score(row, RANDOMIZED)] if checked else [])
            for row in scored.values()
        ]
        baselines = shared_baselines({name: row.first.cam_scores for name, row in scored.items()})
        for name, means, images in baselines:
            cells = [f"{means[score]:.3f}" for score in CAM_TITLES]
            lines.append([f"*{escaped(name)}*", *[""] * 3, *cells, str(images), *[""] * (1 + checked)])
        parts += [_CAM_READING, _table(head, lines)]
        if checked:
            parts.append(_RANDOMIZED_READING)
    if pictures:
        links = ", ".join(f"[{escaped(stem.removeprefix(CAM_STEM).strip('_'))}]({stem}.png)" for stem in pictures)
        parts += [f"![where the best row looks]({pictures[0]}.png)", f"Of each row: {links}."]
    without = [
        f"- {' '.join(_who(row)[:2])}: {escaped(row.first.record.cam.reason)}"
        for row in explained
        if row.first.record.cam is not None and row.first.record.cam.reason
    ]
    return [*parts, *(["Without maps:\n\n" + "\n".join(without)] if without else [])]


_CAM_READING = (
    "Grad-CAM of the predicted class against the lesion's mask, on test images with a lesion: whether the map's "
    "highest point lies in it, the share of the map inside it, and its overlap with as many of the highest points as "
    "the lesion has. The last lines are maps that know nothing of the image: what does not beat them says little."
)
_RANDOMIZED_READING = (
    "**left when randomised** is the rank correlation of the maps with those of the same network after all its "
    "trained weights were drawn anew (Adebayo et al. 2018): near 1, the maps do not show what it has learned."
)


def _speeds(rows: Sequence[BoardRow]) -> list[str]:
    conditions = list(dict.fromkeys(row.values["speed_block"] for row in rows if "speed_block" in row.values))
    marks = {name: f" ({chr(ord('a') + i % 26)})" for i, name in enumerate(conditions)}
    head = [*_WHO, "training img/s", "inference img/s", "pipeline img/s", "latency p50 ms", "latency p95 ms"]
    head += ["peak memory MB", "parameters M", "GMACs"]
    lines = []
    for row in rows:
        mark = marks.get(row.values.get("speed_block", ""), "") if len(marks) > 1 else ""
        speeds = (_cell(row, name) for name in SPEEDS)
        lines.append(
            [
                *_who(row),
                *(speed + mark if speed else "" for speed in speeds),
                *(_cell(row, name) for name in ("params_m", "gmacs")),
            ]
        )
    taken = "; ".join(escaped(name) + (marks[name] if len(marks) > 1 else "") for name in conditions)
    only = " Only speeds with the same letter can be compared." if len(marks) > 1 else ""
    return [_table(head, lines), *([f"Measured on: {taken}.{only}"] if conditions else [])]


def _failures(rows: Sequence[BoardRow]) -> str:
    failed = [(row, result) for row in rows for result in row.results if result.scores is None]
    lines = [
        [
            *_who(row),
            str(result.record.seed),
            str(result.status),
            escaped(result.reason),
            escaped(result.record.outcome.advice),
            "<br>".join(escaped(line) for line in last_lines(result.record.provenance, _LOG_LINES)),
        ]
        for row, result in failed
    ]
    return _table([*_WHO, "seed", "status", "reason", "what to do", "last lines of the log"], lines)


_LOG_LINES = 5
_WHO = ("backbone", "framework", "weights", "recipe")


def _who(row: BoardRow) -> list[str]:
    return [escaped(row.values.get(name, "")) for name in _WHO]


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table; columns of words to the left, of numbers to the right."""
    words = {*_WHO, "status", "reason", "block", "library", "data", "split", "device", "speed_block", "note", "key"}
    rule = [":--" if name in words else "--:" for name in head]
    return "\n".join(f"| {' | '.join(line)} |" for line in ([escaped(name) for name in head], rule, *lines))


def _score(row: BoardRow, name: str) -> str:
    if name not in row.values:
        return ""
    spread = f" ± {row.spread[name]:.3f}" if name in row.spread else ""
    interval = row.intervals.get(name)
    ends = f" ({interval.low:.3f}-{interval.high:.3f})" if interval else ""
    return f"{row.values[name]:.3f}{spread}{ends}"


def _count(row: BoardRow, name: str) -> str:
    if name not in row.values:
        return ""
    interval = row.intervals.get(name)
    return count(row.values[name]) + (f" ({interval.low:.1f}-{interval.high:.1f})" if interval else "")


def _cell(row: BoardRow, name: str) -> str:
    return number(row.values[name]) if name in row.values else ""
