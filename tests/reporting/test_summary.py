"""The board's answer and its doubts: what the page, leaderboard.md and the terminal say first."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from all_tables import write_tables
from simulated import CLASSES, FOUR, TWELVE, Reader, Study

from benchmark.evaluation.label_errors import likely_label_errors
from benchmark.records.record import Predictions, Record
from benchmark.reporting.board.board import Board
from benchmark.reporting.board.pairs import row_pairs
from benchmark.reporting.leaderboard import read_board
from benchmark.reporting.summary.answers import across_blocks, answer_lines, answers
from benchmark.reporting.summary.doubts import Level, doubts

REAL = replace(Study(patients=60), name="clinic", synthetic=False)


@pytest.fixture
def board(results: Callable[[Any], Path]) -> Board:
    slow_twin = replace(TWELVE[10], name="timm/slow", infer=20.0)
    scratch_twin = replace(TWELVE[10], skill=2.0, pretrained=False)
    return read_board(results(REAL.run(reader) for reader in (*FOUR, slow_twin, scratch_twin)))


def told(board: Board) -> dict[str, str]:
    return {answer.question: answer.text for answer in answers(board, board.rows)}


def test_the_answer_follows_from_the_rows(board: Board) -> None:
    said = told(board)
    best = max(board.rows, key=lambda row: row.macro_f1)
    assert said["Best row"].startswith(str(best.values["backbone"]))
    assert f"macro-F1 {best.macro_f1:.3f}" in said["Best row"]
    near = [row for row in board.rows if row.macro_f1 >= best.macro_f1 - 0.02]
    fastest = max(near, key=lambda row: row.values["infer_images_per_s"])
    named = str(fastest.values["backbone"]) if fastest is not best else "the best row itself"
    assert named in said["Fastest within 0.02 of the best"]
    tumours = ("glioma", "meningioma", "pituitary")
    least = min(sum(row.values[f"missed_{name}"] for name in tumours) for row in board.rows)
    assert f" {least} of 225" in said["Fewest missed tumours"]
    scratch = max((row for row in board.rows if not row.block.pretrained), key=lambda row: row.macro_f1)
    assert str(scratch.values["backbone"]) in said["Best from scratch"]
    tied = [pair for pair in row_pairs(board, scratch.block.name).of(scratch) if not pair.better]
    assert len(tied) == 1
    assert f"Not significantly worse: {tied[0].names[1]} (" in said["Best from scratch"]
    assert "Simulated images" not in said


def test_pretraining_is_asked_of_one_network_where_it_stands_in_both_blocks(board: Board) -> None:
    said = told(board)["Did pretraining pay?"]
    first, second = (
        next(row for row in board.rows if row.values["backbone"] == TWELVE[10].name and row.block.pretrained is which)
        for which in (True, False)
    )
    compared = across_blocks(first, second)
    assert compared is not None
    assert compared.difference == pytest.approx(first.macro_f1 - second.macro_f1)
    assert f"has {compared.difference:.3f} more macro-F1 than" in said
    assert f"95 % interval {compared.interval.low:.3f} to {compared.interval.high:.3f}" in said
    assert said.endswith("One network, from two kinds of weights.")
    assert said.startswith("yes")


def test_simulated_images_are_no_ground_to_choose_by(results: Callable[[Any], Path]) -> None:
    lines = answer_lines(read_board(results(Study().run(reader) for reader in FOUR)))
    assert lines[0] == "Simulated images: this is a demonstration; do not choose a backbone by it."


def blind(reader: Reader, seed: int) -> tuple[Record, Predictions]:
    """Return a run whose answers have nothing to do with the images."""
    record, predictions = REAL.run(reader)
    assert predictions is not None
    draws = np.random.default_rng(seed).dirichlet(np.ones(len(CLASSES)), len(predictions.labels))
    return record, replace(predictions, probabilities=draws.astype(np.float32))


def test_where_every_row_guesses_none_is_named(results: Callable[[Any], Path]) -> None:
    out = results([blind(FOUR[0], 0), blind(FOUR[3], 2)])
    board = read_board(out)
    assert all(row.guessed for row in board.rows)
    assert answer_lines(board) == ["Best row: none; no row is shown to be better than guessing."]
    write_tables(board, out)
    first = (out / "leaderboard.md").read_text().partition("\n## ")[0]
    assert "**Best row** none; no row is shown to be better than guessing." in first
    assert not any(reader.name in first for reader in FOUR)


def test_rows_that_can_not_be_ranked_are_no_answer_and_say_why(results: Callable[[Any], Path]) -> None:
    record, predictions = REAL.run(FOUR[0])
    fell = record.model_copy(update={"weights": record.weights.model_copy(update={"fell_back": True})})
    (line,) = answer_lines(read_board(results([(fell, predictions), blind(FOUR[3], 2)])))
    assert line == (
        "Best row: none. Better than guessing, but not to be ranked: torch/baseline_cnn (the pretrained "
        "weights could "
        "not be had)."
    )


def test_the_answer_of_a_leaking_split_says_so_first(results: Callable[[Any], Path]) -> None:
    leaking = replace(REAL, leaks=("90 test images are of 12 patients who have training images too",))
    lines = answer_lines(read_board(results([leaking.run(FOUR[0])])))
    assert lines[0].startswith("Leaking split: ")
    assert "all scores here are too high" in lines[0]
    assert "(from random weights; the split leaks)" in lines[2]


def test_a_light_for_each_doubt(board: Board, results: Callable[[Any], Path]) -> None:
    levels = {doubt.about: doubt.level for doubt in doubts(board, board.rows)}
    assert list(levels) == ["patients", "copies", "shortcuts", "seeds", "calibration", "test set"]
    assert levels["patients"] is Level.GOOD
    assert levels["copies"] is levels["shortcuts"] is Level.UNKNOWN  # nothing was audited
    assert levels["seeds"] is Level.CAUTION
    unknown = read_board(results([replace(REAL, name="slices", grouped=False).run(FOUR[0])]))
    rows = next(rows for rows in unknown.comparison_groups() if rows[0].values["data"] == "slices")
    assert doubts(unknown, rows)[0].level is Level.SERIOUS


def test_labels_that_were_swapped_are_found_and_right_ones_are_left() -> None:
    draws = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), 50)
    logits = draws.normal(0, 0.5, (200, 4))
    logits[np.arange(200), truth] += 4
    swapped = [3, 77, 140]
    logits[swapped, truth[swapped]] += 2  # beyond the thresholds, which are means
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = truth.copy()
    labels[swapped] = (labels[swapped] + 1) % 4
    assert sorted(likely_label_errors(labels, probabilities).tolist()) == swapped
    assert likely_label_errors(truth, probabilities).tolist() == []
    assert likely_label_errors(np.zeros(0, dtype=np.int64), np.zeros((0, 4))).tolist() == []
