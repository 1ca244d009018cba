"""What the interactive leaderboard needs of a board, as JSON-ready data."""

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.evaluation.calibration import reliability
from benchmark.grouping import grouped
from benchmark.reporting.board.board import Board, BoardRow
from benchmark.reporting.board.drawn_rows import MOST_DRAWN, drawn_note, drawn_rows
from benchmark.reporting.board.image_cases import LABEL_ERRORS, Cases, first_seed
from benchmark.reporting.board.pairs import row_pairs, sentence, sentences_across
from benchmark.reporting.board.reproduce import command_of
from benchmark.reporting.board.rows import Result
from benchmark.reporting.figures.speed import pareto_front
from benchmark.reporting.figures.style import FRAMEWORK_MARKERS, library_colours
from benchmark.reporting.page.cams import MAP_BYTES, cam_data

# By fingerprint, then by image id: a JPEG that the page holds, or the address of one beside the page.
Thumbnails = Mapping[str, Mapping[str, bytes] | Mapping[str, str]]

THUMBNAIL_BYTES = 7_000_000  # of all thumbnails in one page; base64 adds a third
PREDICTION_BYTES = 8_000_000  # of all rows' predictions in one page, where there are more than a plot draws
MOST_IN_FULL = 100  # rows of a comparison group with their predictions and details
_CELL_BYTES = 4  # of a probability in thousandths
_SYMBOLS = {"o": "circle", "s": "square", "^": "triangle-up", "D": "diamond"}


def page_data(board: Board, thumbnails: Thumbnails) -> list[dict[str, Any]]:
    """Return one entry for each comparison group of a board."""
    groups = [rows for rows in board.comparison_groups() if any(row.values["n_runs"] for row in rows)]
    budgets = THUMBNAIL_BYTES // max(1, len(groups)), MAP_BYTES // max(1, len(groups))
    data_sets = [rows[0].first.record.data.fingerprint for rows in groups]
    made = [
        _comparison_group(rows, board, thumbnails.get(data_set, {}), budgets)
        for rows, data_set in zip(groups, data_sets, strict=True)
    ]
    for place, (group, data_set) in enumerate(zip(made, data_sets, strict=True)):
        first = data_sets.index(data_set)
        if first < place:
            _share_pictures(group, made[first], first)
    return made


def _share_pictures(group: dict[str, Any], first: dict[str, Any], place: int) -> None:
    """Leave out pictures that another comparison group of the same images holds; numbers there take their place.

    Args:
        first: that group.
        place: its number on the page.
    """
    numbers = {name: number for number, name in enumerate(first["images"]) if number in first["thumbnails"]}
    group["pictures_of"] = place
    group["thumbnails"] = {
        number: numbers.get(group["images"][number], picture) for number, picture in group["thumbnails"].items()
    }


def rows_in_full(rows: Sequence[BoardRow]) -> list[BoardRow]:
    """Return the rows of a comparison group whose predictions and details are in the page; all stand in its table."""
    scored = [row for row in rows if row.values["n_runs"]]
    if not scored:
        return []
    data = scored[0].first.record.data
    bytes_of_row = _CELL_BYTES * max(1, int(scored[0].values["n_test"])) * (1 + len(data.class_names))
    return drawn_rows(scored, max(MOST_DRAWN, min(MOST_IN_FULL, PREDICTION_BYTES // bytes_of_row)))


def _comparison_group(
    rows: Sequence[BoardRow],
    board: Board,
    pictures: Mapping[str, bytes] | Mapping[str, str],
    budgets: tuple[int, int],
) -> dict[str, Any]:
    data = rows[0].first.record.data
    every = Cases.of(rows)
    cases = every.only(rows_in_full(rows))
    colours = library_colours([row.values["library"] for row in cases.rows])
    cams, lesions = cam_data(cases, budgets[1])
    drawn = {id(row) for row in drawn_rows(cases.rows)}
    gallery = [*every.gallery(), (LABEL_ERRORS, every.likely_label_errors())]
    return {
        "name": rows[0].block.comparison_group_name,
        "classes": list(data.class_names),
        "negative": cases.negative,
        "synthetic": data.synthetic,
        "images": cases.image_ids,
        "labels": cases.labels.tolist(),
        "groups": cases.groups,
        "copies": cases.copies,
        "thumbnails": _thumbnails(cases.image_ids, every.wrong.sum(axis=0), pictures, budgets[0]),
        "gallery": [{"title": title, "images": numbers.tolist()} for title, numbers in gallery if len(numbers)],
        "lesions": lesions,
        "rows": [{**_row(cases, number, colours), "cam": cams[number]} for number in range(len(cases.rows))],
        "drawn": [number for number, row in enumerate(cases.rows) if id(row) in drawn],
        "drawn_note": drawn_note(every.rows),
        "pairs": _pairs(cases, board),
        "fronts": _fronts(cases.rows),
    }


def _pairs(cases: Cases, board: Board) -> dict[str, str]:
    """Return what is said of each pair of rows that can be compared, by their numbers, the smaller first."""
    place = {id(row): number for number, row in enumerate(cases.rows)}
    sentences = {f"{first},{second}": text for (first, second), text in sentences_across(cases.rows).items()}
    for block in dict.fromkeys(row.block.name for row in cases.rows):
        for pair in row_pairs(board, block).among(cases.rows):
            first, second = sorted(place[id(row)] for row in pair.rows)
            sentences[f"{first},{second}"] = sentence(pair)
    return sentences


def _row(cases: Cases, number: int, colours: Mapping[str, str]) -> dict[str, Any]:
    row = cases.rows[number]
    runs = first_seed(row)
    interval = row.intervals.get("macro_f1")
    record = runs[0].record
    scored = [result for result in row.results if result.scores is not None]
    return {
        "key": row.first.row_key,
        "name": cases.names[number],
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
        "predicted": cases.predicted[number].tolist(),
        "probabilities": np.round(cases.probabilities[number] * 1000).astype(int).tolist(),
        "reliability": _reliability(runs),
        "history": [
            {
                "label": f"seed {result.record.seed}",
                "epochs": [epoch.epoch for epoch in result.record.history],
                "train": [_or_gap(epoch.train_loss) for epoch in result.record.history],
                "validation": [_or_gap(epoch.val_loss) for epoch in result.record.history],
                "f1": [_or_gap(epoch.val_macro_f1) for epoch in result.record.history],
            }
            for result in scored
        ],
        "runs": [
            {
                "seed": result.record.seed,
                "fold": result.record.data.fold,
                "macro_f1": result.values["macro_f1"],
                "val_macro_f1": result.values.get("val_macro_f1"),
            }
            for result in scored
        ],
        "details": _details(row),
    }


def _or_gap(value: float) -> float | None:
    """Return a measure of an epoch, ``None`` where it was not finite: JSON has no NaN, and a plot has a gap there."""
    return value if math.isfinite(value) else None


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


def _details(row: BoardRow) -> dict[str, Any]:
    record = row.first.record
    network = None if record.network is None else record.network.model_dump(mode="json")
    return {
        "command": command_of(row),
        "run": {"key": record.key, "device": record.device, "best epoch": record.best_epoch},
        "same network, two frameworks": row.values.get("parity"),
        "weights": record.weights.model_dump(mode="json"),
        "recipe": record.identity.get("recipe"),
        "tuning": [trial.model_dump(mode="json") for trial in record.trials] or None,
        "network": network,
        "data": record.data.model_dump(mode="json"),
        "data audit": None if record.audit is None else record.audit.model_dump(mode="json", exclude={"references"}),
        "grad-cam": None if record.cam is None else record.cam.model_dump(mode="json", exclude={"randomized"}),
        "timings": record.timings.model_dump(mode="json"),
        "provenance": record.provenance,
    }


def _fronts(rows: Sequence[BoardRow]) -> dict[str, list[tuple[float, float]]]:
    """Return the Pareto front of throughput and macro-F1 for each set of comparable speeds."""
    points = grouped(
        (row.values.get("speed_block", ""), (float(row.values["infer_images_per_s"]), row.macro_f1))
        for row in rows
        if "infer_images_per_s" in row.values and not math.isnan(row.macro_f1)
    )
    return {name: pareto_front(points_of_block) for name, points_of_block in points.items()}


def _thumbnails(
    images: Sequence[str],
    errors: npt.NDArray[np.int64],
    pictures: Mapping[str, bytes] | Mapping[str, str],
    budget: int,
) -> dict[int, str]:
    """Return JPEGs by number of image, as base64 or as addresses; where not all fit into the page, those that most
    rows get wrong.
    """
    kept: dict[int, str] = {}
    for number in np.argsort(-errors, kind="stable").tolist():
        picture = pictures.get(images[number])
        if isinstance(picture, str):
            kept[number] = picture
        elif picture is not None and len(picture) <= budget:
            budget -= len(picture)
            kept[number] = base64.b64encode(picture).decode("ascii")
    return kept
