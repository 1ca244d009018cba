"""A board of more rows than a picture has room for: all are ranked and in the tables, and what is drawn says so."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from all_tables import write_tables
from simulated import TWELVE, Study

from benchmark.evaluation.many_rows.kept_statistics import KeptStatistics
from benchmark.records.store import RecordStore, short
from benchmark.reporting.board.board import Board
from benchmark.reporting.board.drawn_rows import MOST_DRAWN, drawn_note, drawn_rows
from benchmark.reporting.documents.gallery import write_gallery
from benchmark.reporting.figures import plots
from benchmark.reporting.figures.kept_figures import KeptFigures
from benchmark.reporting.figures.plots import SPEED, write_plots
from benchmark.reporting.figures.speed import draw_speed
from benchmark.reporting.figures.style import figure
from benchmark.reporting.leaderboard import read_board
from benchmark.reporting.page.page import page
from benchmark.reporting.summary.answers import answer_lines

ROWS = 156


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    study = Study(patients=16, slices=1, grouped=False)
    for number in range(ROWS):
        kind = TWELVE[number % len(TWELVE)]
        reader = replace(kind, name=f"{kind.name}_{number:03d}", skill=kind.skill - 0.01 * number)
        RecordStore(folder).write(*study.run(reader))
    return folder


@pytest.fixture(scope="module")
def board(out: Path) -> Board:
    return read_board(out)


def test_the_rows_that_are_drawn_are_the_best_of_each_block_and_it_is_said(board: Board) -> None:
    rows = [row for row in board.rows if row.values["n_runs"]]
    shown = drawn_rows(rows)
    assert len(shown) == MOST_DRAWN
    blocks = {row.block.place for row in rows}
    assert len(blocks) == 2
    for place in blocks:
        left_out = [row.macro_f1 for row in rows if row.block.place == place and row not in shown and not row.guessed]
        assert min(row.macro_f1 for row in shown if row.block.place == place) >= max(left_out)
    assert f"{MOST_DRAWN} of {ROWS} rows" in drawn_note(rows)
    assert drawn_rows(rows[:MOST_DRAWN]) == rows[:MOST_DRAWN]
    assert drawn_note(rows[:MOST_DRAWN]) == ""


def test_the_tables_have_every_row_and_every_pair_and_the_text_the_best(board: Board, tmp_path: Path) -> None:
    write_tables(board, tmp_path)
    assert (pd.read_csv(tmp_path / "leaderboard.csv")["n_runs"] > 0).sum() == ROWS
    pairs = pd.read_csv(tmp_path / "comparisons.csv")
    assert len(pairs) == sum(len(statistics.pairs) for statistics in board.statistics.values()) > 3000
    assert (pairs["p_adjusted"] >= pairs["p"]).all()
    text = (tmp_path / "leaderboard.md").read_text()
    assert f"The {MOST_DRAWN} rows with the highest macro-F1 of" in text
    assert max(len(line) for line in text.splitlines() if line.startswith("|")) < 2000  # no table of rows by rows
    tied = next(line for line in answer_lines(board) if line.startswith("Tied"))
    assert re.search(r" and \d+ more", tied)


@pytest.mark.slow
def test_pictures_and_gallery_say_which_rows_they_show(board: Board, tmp_path: Path) -> None:
    paths = write_plots(board, tmp_path)
    drawn = {path.stem: path.read_text() for path in paths if path.suffix == ".svg"}
    for stem, text in drawn.items():
        named = re.findall(r">([\w/]*_\d{3})(?:: [\d.]+)?<", text)  # a legend may have a score beside it
        assert 0 < len(set(named)) <= 2 * MOST_DRAWN, stem
        # the points are of all rows; what shows the best says nothing that another row changes
        of_all = stem.startswith(SPEED)
        assert (f"Shown: {MOST_DRAWN} rows" in text) != of_all, stem
        assert (f"{ROWS} rows" in text) == of_all, stem
    write_gallery(board, {}, tmp_path)
    gallery = (tmp_path / "gallery.md").read_text()
    assert f"Shown: {MOST_DRAWN} of {ROWS} rows" in gallery
    assert f"by at least one of {ROWS} rows" in gallery


@pytest.mark.slow
def test_a_row_that_is_added_and_not_drawn_has_nothing_drawn_anew_but_the_points(
    board: Board, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []

    def watched(made: Any, draw: Any, **of: Any) -> None:
        drawn.append(draw.__name__)
        draw_one(made, draw, **of)

    draw_one = plots._draw
    monkeypatch.setattr(plots, "_draw", watched)
    kept = KeptFigures(KeptStatistics(tmp_path))
    worst = min((row for row in board.rows if row.values["n_runs"]), key=lambda row: row.macro_f1)
    fewer = tmp_path / "fewer"
    shutil.copytree(out, fewer)
    shutil.rmtree(RecordStore(fewer).folder / short(worst.results[0].record.key))
    before = write_plots(read_board(fewer), tmp_path, kept)
    assert len(set(drawn)) > 5
    drawn.clear()
    after = write_plots(board, tmp_path, kept)
    assert after == before
    assert set(drawn) == {draw_speed.__name__}


def test_the_page_has_all_rows_in_its_table_and_details_of_the_best(board: Board) -> None:
    text = page(board, {})
    rows_at_once = len(re.findall(r'<tr data-key="', text))
    further = json.loads(re.findall(r'<script type="application/json" id="further-0">(.*?)</script>', text, re.S)[0])
    assert (rows_at_once, rows_at_once + len(further)) == (100, ROWS + sum(map(len, board.references.values())))
    data = json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[0])[0]
    assert len(data["rows"]) == 100
    assert len(data["drawn"]) == MOST_DRAWN
    assert f"of 100 of its {ROWS} rows" in text
    assert f"{MOST_DRAWN} of {ROWS} rows" in data["drawn_note"]
    opened = set(re.findall(r'class="pick" data-key="(\w+)"', text))
    opened |= {key for key, _, cells in further if any("pick" in shown for _, shown in cells)}
    assert opened == {row["key"] for row in data["rows"]}


def test_one_row_alone_in_its_look_is_a_point_among_many(board: Board) -> None:
    rows = [row for row in board.rows if row.values["library"] == "timm" and row.values["n_runs"]][:MOST_DRAWN]
    other = max((row for row in board.rows if row.values["library"] == "keras_cv"), key=lambda row: -row.macro_f1)
    device = {"speed_block": "cpu", "infer_images_per_s": 1.0}  # the slowest, so that it is not on the front
    with figure() as made:
        draw_speed(made, [*rows, replace(other, values={**other.values, **device})])
    points = [collection for collection in made.axes[0].collections if len(collection.get_offsets()) == 1]
    assert any(collection.get_offsets()[0, 0] == 1.0 for collection in points)
