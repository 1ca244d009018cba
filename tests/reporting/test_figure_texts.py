"""No text of a figure is cut off at its edges, however long it is."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axis import Tick
from matplotlib.text import Text
from simulated import TWELVE, Study

from benchmark.records.store import RecordStore
from benchmark.reporting.board.board import Board
from benchmark.reporting.figures import plots
from benchmark.reporting.figures.fonts import make_drawable
from benchmark.reporting.figures.speed import draw_speed
from benchmark.reporting.figures.style import explain, figure, fitted, set_title
from benchmark.reporting.leaderboard import read_board

DEVICE = "Intel(R) Xeon(R) Platinum 8370C CPU @ 2.80GHz"
SENTENCE = "A sentence that says at some length what is to be seen above it, and what is not to be seen. "


def cut_off(made: Any) -> list[str]:
    """Return the texts of a figure that leave it at a side, but for ticks: axes have some beyond their ends."""
    make_drawable(made)
    made.canvas.draw()
    width = made.bbox.width
    ticks = {id(text) for tick in made.findobj(Tick) for text in (tick.label1, tick.label2)}
    boxes = [
        (text.get_text(), text.get_window_extent())
        for text in made.findobj(Text)
        if text.get_visible() and text.get_text().strip() and id(text) not in ticks
    ]
    return [text for text, box in boxes if box.x0 < -1 or box.x1 > width + 1]


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Board:
    out = tmp_path_factory.mktemp("out")
    study = Study(patients=12, slices=2, device=DEVICE)
    for number in range(30):
        kind = TWELVE[number % len(TWELVE)]
        RecordStore(out).write(*study.run(replace(kind, name=f"{kind.name}_{number:03d}")))
    return read_board(out)


def test_no_text_of_a_plot_is_cut_off(board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, list[str]] = {}

    def watched(made: Any, draw: plots.Draw, **of: Any) -> None:
        draw_one(made, draw, **of)
        found[draw.__name__] = cut_off(made)

    draw_one = plots._draw
    monkeypatch.setattr(plots, "_draw", watched)
    plots.write_plots(board, tmp_path)
    assert found == {draw.__name__: [] for draw in (draw_speed, *plots.PER_COMPARISON_GROUP.values())}


def test_long_sentences_are_broken_and_short_ones_are_not() -> None:
    with figure() as made:
        made.subplots()
        set_title(made, 3 * SENTENCE)
        explain(made, 3 * SENTENCE)
        assert cut_off(made) == []
        assert fitted(made, "one line\nand another", 7) == "one line\nand another"
        lines = fitted(made, 3 * SENTENCE, 7).split("\n")
        assert len(lines) > 3
        assert " ".join(lines) == 3 * SENTENCE
        made.suptitle(3 * SENTENCE)
        assert cut_off(made) == [3 * SENTENCE], "which is what this test would see"
