"""What the interactive leaderboard needs of a board, as JSON-ready data."""

import base64
import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.evaluation.calibration import reliability
from benchmark.evaluation.scoring import decide
from benchmark.reporting.board import Board, BoardRow
from benchmark.reporting.labels import full_names
from benchmark.reporting.plot_speed import pareto_front
from benchmark.reporting.rows import Result
from benchmark.reporting.style import FRAMEWORK_MARKERS, library_colours
from benchmark.reporting.words import data_notes, rank_notes

Thumbnails = Mapping[str, Mapping[str, bytes]]  # by fingerprint, then by image id

THUMBNAIL_BYTES = 7_000_000  # of all thumbnails in one page; base64 adds a third
_SYMBOLS = {"o": "circle", "s": "square", "^": "triangle-up", "D": "diamond"}


def page_data(board: Board, thumbnails: Thumbnails) -> list[dict[str, Any]]:
    """Return one entry for each arena of a board."""
    arenas = [rows for rows in board.arenas() if any(row.values["n_runs"] for row in rows)]
    budget = THUMBNAIL_BYTES // max(1, len(arenas))
    return [_arena(rows, board, thumbnails.get(rows[0].first.record.data.fingerprint, {}), budget) for rows in arenas]


def _arena(rows: Sequence[BoardRow], board: Board, pictures: Mapping[str, bytes], budget: int) -> dict[str, Any]:
    data = rows[0].first.record.data
    scored = sorted((row for row in rows if row.values["n_runs"]), key=lambda row: -row.macro_f1)
    images, labels, groups = _images(scored)
    names = full_names(scored)
    colours = library_colours([row.values["library"] for row in scored])
    shown = [_row(row, name, colours, images, len(data.class_names)) for row, name in zip(scored, names, strict=True)]
    wrong = np.array([[said != truth for said, truth in zip(row["said"], labels, strict=True)] for row in shown])
    return {
        "name": rows[0].block.arena_name,
        "classes": list(data.class_names),
        "negative": None if data.negative_class is None else data.class_names.index(data.negative_class),
        "synthetic": data.synthetic,
        "notes": data_notes(rows),
        "ranks": {
            name: rank_notes(board.statistics[name], data)
            for name in dict.fromkeys(row.block.name for row in scored)
            if name in board.statistics
        },
        "images": images,
        "labels": labels,
        "groups": groups,
        "thumbnails": _thumbnails(images, wrong.sum(axis=0), pictures, budget),
        "rows": shown,
        "fronts": _fronts(scored),
    }


def _images(rows: Sequence[BoardRow]) -> tuple[list[str], list[int], list[str]]:
    """Return ids, labels and groups of all test images of an arena, over its folds."""
    found: dict[str, tuple[int, str]] = {}
    for row in rows:
        for result in _first_seed(row):
            if result.predictions is not None:
                test = result.predictions.part("test")
                for name, label, group in zip(test.image_ids, test.labels, test.groups, strict=True):
                    found.setdefault(str(name), (int(label), str(group)))
    ids = sorted(found)
    return ids, [found[name][0] for name in ids], [found[name][1] for name in ids]


def _first_seed(row: BoardRow) -> list[Result]:
    """Return for each fold the scored run of the lowest seed."""
    folds: dict[str, Result] = {}
    for result in sorted(row.results, key=lambda result: result.record.seed):
        if result.scores is not None:
            folds.setdefault(result.record.data.split_hash, result)
    return list(folds.values())


def _row(row: BoardRow, name: str, colours: Mapping[str, str], images: Sequence[str], classes: int) -> dict[str, Any]:
    runs = _first_seed(row)
    place = {image: number for number, image in enumerate(images)}
    said = np.full(len(images), -1, dtype=np.int64)
    chances = np.zeros((len(images), classes))
    for run in runs:
        if run.predictions is not None:
            test = run.predictions.part("test")
            at = [place[str(image)] for image in test.image_ids]
            said[at], chances[at] = decide(test.probabilities), test.probabilities
    interval = row.intervals.get("macro_f1")
    record = runs[0].record
    return {
        "key": row.first.row_key,
        "name": name,
        "rank": row.rank,
        "block": row.block.name,
        "library": row.values["library"],
        "framework": row.values["framework"],
        "pretrained": row.block.pretrained,
        "colour": colours[row.values["library"]],
        "symbol": _SYMBOLS[FRAMEWORK_MARKERS.get(row.values["framework"], "D")],
        "macro_f1": row.macro_f1,
        "interval": None if interval is None else [interval.low, interval.high],
        "speed": row.values.get("infer_images_per_s"),
        "speed_block": row.values.get("speed_block"),
        "memory": row.values.get("peak_memory_mb"),
        "seeds": len(row.results) // max(1, len(runs)),
        "seed": record.seed,
        "said": said.tolist(),
        "chances": np.round(chances * 1000).astype(int).tolist(),
        "reliability": _reliability(runs),
        "history": [
            {
                "label": f"seed {result.record.seed}",
                "epochs": [epoch.epoch for epoch in result.record.history],
                "train": [epoch.train_loss for epoch in result.record.history],
                "validation": [epoch.val_loss for epoch in result.record.history],
                "f1": [epoch.val_macro_f1 for epoch in result.record.history],
            }
            for result in row.results
            if result.scores is not None
        ],
        "details": _details(row, record.provenance.get("command")),
    }


def _reliability(runs: Sequence[Result]) -> dict[str, Any]:
    tests = [run.predictions.part("test") for run in runs if run.predictions is not None]
    labels = np.concatenate([test.labels for test in tests])
    diagram = reliability(labels, np.concatenate([test.probabilities for test in tests]))
    filled = diagram.counts > 0
    return {
        "confidence": diagram.confidence[filled].tolist(),
        "accuracy": diagram.accuracy[filled].tolist(),
        "counts": diagram.counts[filled].tolist(),
        "error": diagram.error,
    }


def _details(row: BoardRow, command: Any) -> dict[str, Any]:
    record = row.first.record
    network = None if record.network is None else record.network.model_dump(mode="json")
    return {
        "command": shlex.join(map(str, command)) if isinstance(command, list | tuple) else str(command or ""),
        "run": {"key": record.key, "device": record.device, "best epoch": record.best_epoch},
        "weights": record.weights.model_dump(mode="json"),
        "recipe": record.identity.get("recipe"),
        "tuning": [trial.model_dump(mode="json") for trial in record.trials] or None,
        "network": network,
        "data": record.data.model_dump(mode="json"),
        "timings": record.timings.model_dump(mode="json"),
        "provenance": record.provenance,
    }


def _fronts(rows: Sequence[BoardRow]) -> dict[str, list[tuple[float, float]]]:
    """Return the Pareto front of throughput and macro-F1 for each set of comparable speeds."""
    points: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        speed = row.values.get("infer_images_per_s")
        if speed is not None and not math.isnan(row.macro_f1):
            points.setdefault(row.values.get("speed_block", ""), []).append((float(speed), row.macro_f1))
    return {name: pareto_front(found) for name, found in points.items()}


def _thumbnails(
    images: Sequence[str], errors: npt.NDArray[np.int64], pictures: Mapping[str, bytes], budget: int
) -> dict[int, str]:
    """Return JPEGs as base64 by number of image; where not all fit, those that most rows get wrong."""
    kept: dict[int, str] = {}
    for number in np.argsort(-errors, kind="stable").tolist():
        picture = pictures.get(images[number])
        if picture is not None and len(picture) <= budget:
            budget -= len(picture)
            kept[number] = base64.b64encode(picture).decode("ascii")
    return kept
