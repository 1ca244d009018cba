"""After the board is written: each kept model gets its row's figures, and of those held for ``best`` one is left."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from benchmark.atomic_files import write_atomically
from benchmark.errors import UserError
from benchmark.models.card import card
from benchmark.models.description import CARD, BoardFigures, Model, Score
from benchmark.models.keep import kept_models, remove_model
from benchmark.reporting.board.board import Board, BoardRow
from benchmark.reporting.board.columns import in_section
from benchmark.reporting.board.rows import Result, absent

_FURTHER = ("ece", "brier", "sensitivity_at_95", "specificity_at_95", "patient_macro_f1", "patient_accuracy")


def settle_models(out: Path, board: Board) -> list[Path]:
    """Write what the board says into each kept model; remove those held for ``best`` whose row is not the best.

    Models that were kept because the user keeps all stay, and so do those whose run is not on the board.

    Args:
        out: the results folder.
        board: of all its records.

    Returns:
        The folders of the best rows' models, one for each comparison group that has one; none where no row may be
        called the best, as none is shown to be better than guessing.

    Raises:
        OSError: a folder can't be written.
    """
    rows = {result.record.key: row for row in (*board.rows, *board.hidden) for result in row.results}
    best_rows = [best_row(group) for group in _groups(board)]
    kept: dict[str, tuple[Path, Model]] = {}
    for folder in kept_models(out):
        with contextlib.suppress(UserError):  # another version's, or damaged: left alone
            model = Model.read(folder)
            kept[model.key] = folder, model
    chosen = {}
    for row in filter(None, best_rows):
        of_row = [result for result in row.results if result.record.key in kept and result.scores is not None]
        if of_row:
            chosen[min(of_row, key=_standing).record.key] = row
    # where no model of the best row is there, those of others are better than none
    settled = {row.block.comparison_group for row in chosen.values()}
    for key, (folder, model) in kept.items():
        if key not in rows:
            continue
        if model.keeps == "best" and key not in chosen and rows[key].block.comparison_group in settled:
            remove_model(folder)
            continue
        described = model.model_copy(update={"board": figures(rows[key], board)})
        described.write(folder)
        write_atomically(folder / CARD, card(described))
    return [kept[key][0] for key, row in chosen.items() if row.eligible]


def onnx_latencies(folders: Sequence[Path]) -> dict[str, dict[str, float]]:
    """Return the column of the latency of kept models' ONNX files, by the keys of their runs.

    Of several files of a model, the one that takes normalised input is taken: it computes what the network does.

    Raises:
        UserError: no kept model has such a file.
    """
    latencies: dict[str, dict[str, float]] = {}
    for folder in (kept for out in folders for kept in kept_models(out)):
        with contextlib.suppress(UserError):
            model = Model.read(folder)
            files = sorted((each for each in model.exports if each.target == "onnx"), key=lambda each: each.whole)
            if files and files[0].latency_p50_ms is not None:
                latencies[model.key] = {"onnx_latency_p50_ms": files[0].latency_p50_ms}
    if not latencies:
        raise UserError(
            "--onnx-latency: no kept model here has an ONNX file; python -m benchmark export MODEL --to onnx makes "
            "and measures one."
        )
    return latencies


def best_row(rows: Sequence[BoardRow]) -> BoardRow | None:
    """Return the row of a comparison group with the highest macro-F1, of those that may be called the best where
    there are any, as the board's answer does; else of the ranked ones, else of all.
    """
    scored = [row for row in rows if any(result.scores is not None for result in row.results)]
    ranked = [row for row in scored if row.rank is not None]
    eligible = [row for row in scored if row.eligible]
    return max(eligible or ranked or scored, key=lambda row: row.macro_f1, default=None)


def figures(row: BoardRow, board: Board) -> BoardFigures:
    """Return what the board says of a row."""
    data = row.first.record.data
    names = [column.name for section in ("scores", "calibration") for column in in_section(section, data)]
    scores = {}
    for name in dict.fromkeys((*names, *_FURTHER)):
        value = row.values.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and not absent(value):
            interval = row.intervals.get(name)
            ends = {} if interval is None else {"low": interval.low, "high": interval.high}
            scores[name] = Score(value=float(value), **ends)
    return BoardFigures(
        block=row.block.name,
        rank=row.rank,
        unranked=", ".join(row.block.unranked),
        rows=len(board.ranked(row.block.name)),
        runs=len([result for result in row.results if result.scores is not None]),
        scores=scores,
    )


def _groups(board: Board) -> list[list[BoardRow]]:
    groups: dict[str, list[BoardRow]] = {}
    for row in (*board.rows, *board.hidden):
        groups.setdefault(row.block.comparison_group, []).append(row)
    return list(groups.values())


def _standing(result: Result) -> tuple[float, float, int]:
    """Return by what the model of a row is chosen: validation images alone."""
    assert result.scores is not None
    losses = [line.val_loss for line in result.record.history if line.epoch == result.record.best_epoch]
    return -result.scores.val_macro_f1, losses[0] if losses else 0.0, result.record.seed
