"""Which models are left when the board is written, and what their cards then say."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmark.errors import UserError
from benchmark.models.best import settle_models
from benchmark.models.description import Model
from benchmark.models.keep import kept_models
from benchmark.models.load import find_model
from benchmark.records.record import Record
from benchmark.records.store import RecordStore
from benchmark.reporting.board.board import Board
from benchmark.reporting.leaderboard import read_board
from tests.models.described import a_model
from tests.reporting.simulated import TWELVE, Study

WEAK, STRONG = TWELVE[7], TWELVE[4]  # both from random weights


def kept(out: Path, record: Record, keeps: str = "best") -> Path:
    """Put a model of a run into a results folder."""
    folder = out / "models" / f"{record.backbone.name.replace('/', '-')}-{record.key[:8]}"
    folder.mkdir(parents=True)
    a_model(folder, key=record.key, identity=record.identity, backbone=record.backbone, data=record.data, keeps=keeps)
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Record]:
    """A weak row and a strong one, of two seeds each, stored."""
    made = [Study().run(reader, seed) for reader in (WEAK, STRONG) for seed in (0, 1)]
    for record, predictions in made:
        RecordStore(tmp_path).write(record, predictions)
    return [record for record, _ in made]


def board(out: Path) -> Board:
    return read_board(out)


def test_one_model_of_the_best_row_is_left_chosen_on_validation(tmp_path: Path, runs: list[Record]) -> None:
    folders = {record.key: kept(tmp_path, record) for record in runs}
    made = board(tmp_path)
    (best,) = settle_models(tmp_path, made)
    assert kept_models(tmp_path) == [best]
    row = next(row for row in made.rows if row.rank == 1)
    by_validation = {r.record.key: r.scores.val_macro_f1 for r in row.results if r.scores is not None}
    assert best == folders[max(by_validation, key=lambda key: by_validation[key])]
    figures = Model.read(best).board
    assert figures is not None
    assert (figures.rank, figures.rows, figures.runs) == (1, 2, 2)
    assert figures.scores["macro_f1"].value == pytest.approx(row.macro_f1)
    text = (best / "README.md").read_text()
    assert "It was chosen as the best of 2 on these very images" in text
    assert "Scores are means of 2 runs" in text


def test_models_that_the_user_keeps_stay(tmp_path: Path, runs: list[Record]) -> None:
    folders = [kept(tmp_path, record, "all") for record in runs]
    (best,) = settle_models(tmp_path, board(tmp_path))
    assert kept_models(tmp_path) == sorted(folders)
    assert find_model(tmp_path) == best
    assert all(Model.read(folder).board is not None for folder in folders)


def test_where_the_best_row_has_none_the_others_stay(tmp_path: Path, runs: list[Record]) -> None:
    weak = kept(tmp_path, runs[0])
    assert settle_models(tmp_path, board(tmp_path)) == []
    assert kept_models(tmp_path) == [weak]


def test_none_is_called_the_best_where_no_row_is_better_than_guessing(tmp_path: Path) -> None:
    record, predictions = Study().run(WEAK)
    assert predictions is not None
    draws = np.random.default_rng(0).dirichlet(np.ones(4), len(predictions.labels))
    RecordStore(tmp_path).write(record, replace(predictions, probabilities=draws.astype(np.float32)))
    folder = kept(tmp_path, record)
    made = board(tmp_path)
    assert [row.guessed for row in made.rows] == [True]
    assert settle_models(tmp_path, made) == []
    assert kept_models(tmp_path) == [folder]


def test_a_model_of_another_version_or_of_no_run_of_the_board_is_left_alone(
    tmp_path: Path, runs: list[Record]
) -> None:
    strange = tmp_path / "models" / "strange"
    strange.mkdir(parents=True)
    (strange / "model.json").write_text('{"format": 99}')
    stray, _ = Study(name="others").run(WEAK)
    folder = kept(tmp_path, stray)
    best = kept(tmp_path, runs[2])
    assert settle_models(tmp_path, board(tmp_path)) == [best]
    assert kept_models(tmp_path) == sorted([strange, folder, best])


def test_models_that_were_not_compared_must_be_named(tmp_path: Path, runs: list[Record]) -> None:
    for record in runs[:2]:
        kept(tmp_path, record)
    with pytest.raises(UserError, match="holds several models"):
        find_model(tmp_path)
